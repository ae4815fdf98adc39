//! Moments as text: ISO 8601, as Python's `isoformat` and Go's RFC 3339 have it.

use milepost::Timestamp;

const DAY_S: i128 = 86_400;
const NS_PER_S: i128 = 1_000_000_000;
const NS_PER_MS: u32 = 1_000_000;

/// A moment with all digits that its text has, to the nanosecond: the order of two within a
/// millisecond is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    /// What comes to it, below a millisecond.
    ns: u32,
}

impl Moment {
    pub(super) fn of(at: Timestamp) -> Self {
        Self { at, ns: 0 }
    }

    /// A microsecond later, which is what Python keeps.
    pub(super) fn next(self) -> Self {
        let ns = self.ns + 1_000;
        let at = Timestamp::from_ms(self.at.as_ms().saturating_add(u64::from(ns / NS_PER_MS)));
        Self { at, ns: ns % NS_PER_MS }
    }

    /// As text that sorts in the order of moments.
    pub(super) fn in_order(self) -> String {
        format!("{:020}{:06}", self.at.as_ms(), self.ns)
    }
}

/// The moment, without a time zone in UTC; `None` for what is no such text, or before 1970. Minutes,
/// seconds and what comes behind may be missing, as `isoformat` leaves them out when it is asked to.
pub(super) fn parse_time(text: &str) -> Option<Moment> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let date: Vec<&str> = date.split('-').collect();
    let [year, month, day] = date.as_slice() else { return None };
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let (clock, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
    let is_one = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_one {
        return None;
    }
    let days = i128::from(days_from_1970(year, month, day));
    let ns = days * DAY_S * NS_PER_S + clock_ns(clock, 61)? - offset_ns(zone)?;
    let ns = u128::try_from(ns).ok()?;
    let at = Timestamp::from_ms(u64::try_from(ns / u128::from(NS_PER_MS)).ok()?);
    Some(Moment { at, ns: u32::try_from(ns % u128::from(NS_PER_MS)).ok()? })
}

/// The moment as Python's `isoformat` has it: microseconds only where there are some.
pub(super) fn format_moment(moment: Moment) -> String {
    let us = moment.at.as_ms() % 1_000 * 1_000 + u64::from(moment.ns / 1_000);
    let seconds = format_time(moment.at).replace('Z', "");
    if us == 0 { format!("{seconds}+00:00") } else { format!("{seconds}.{us:06}+00:00") }
}

/// The moment, to the second: `2026-01-07T19:25:00Z`.
pub(super) fn format_time(at: Timestamp) -> String {
    let seconds = at.as_ms() / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from the 1st of March, so that the odd one comes last in its year; there are
    // 146,097 in four centuries.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A number of just so many digits.
fn digits(text: &str, len: usize) -> Option<i64> {
    let is_number = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Hours, and what there is of minutes, seconds and a fraction of one, with colons or without.
fn clock_ns(clock: &str, seconds_below: i64) -> Option<i128> {
    let (whole, fraction) = match clock.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (clock, None),
    };
    let plain = if whole.contains(':') {
        if whole.split(':').any(|part| part.len() != 2) {
            return None;
        }
        whole.replace(':', "")
    } else {
        whole.to_owned()
    };
    if !matches!(plain.len(), 2 | 4 | 6) || (fraction.is_some() && plain.len() != 6) {
        return None;
    }
    let part = |from: usize| plain.get(from..from + 2).map_or(Some(0), |part| digits(part, 2));
    let (hour, minute, second) = (part(0)?, part(2)?, part(4)?);
    if hour >= 24 || minute >= 60 || second >= seconds_below {
        return None;
    }
    let fraction_ns = match fraction {
        None => 0,
        Some(fraction)
            if !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            digits(&format!("{:0<9}", fraction.get(..9).unwrap_or(fraction)), 9)?
        }
        Some(_) => return None,
    };
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(i128::from(seconds) * NS_PER_S + i128::from(fraction_ns))
}

fn offset_ns(zone: &str) -> Option<i128> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    match zone.split_at_checked(1)? {
        ("+", zone) => clock_ns(zone, 60),
        ("-", zone) => clock_ns(zone, 60).map(|ns| -ns),
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    // The leap days before this year, less those before 1970.
    let before = year - 1;
    let leaps = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 477;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    (year - 1970) * 365 + leaps + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_was_written() {
        let ms = |text: &str| parse_time(text).map(|moment| moment.at.as_ms());
        assert_eq!(ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ms("2026-02-17T09:00:00+00:00"), Some(1_771_318_800_000));
        assert_eq!(ms("2026-02-17T11:30:00.5+02:30"), Some(1_771_318_800_500));
        assert_eq!(ms("2026-02-17 09:00:00.123456789Z"), Some(1_771_318_800_123));
        assert_eq!(ms("2024-02-29T00:00:00"), Some(1_709_164_800_000));
        for none in [
            "",
            "2026-02-17",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "2026-02-17T09:00:00 CET",
            "2026-02-17T24:00:00Z",
            "2026-02-17T09:00:00+1",
            "2026-02-17T09:00:00+01:60",
            "2026-02-17T09:00.5",
            "2026-02-17T9:00:00",
            "2026-02-17T09:0:00",
            "2026-002-7T09:00:00",
            "2026-02-17T09:00:00.",
            "2026-02-17T09:00:00.x",
            "2026-02-17T",
        ] {
            assert_eq!(ms(none), None, "{none}");
        }
    }

    #[test]
    fn what_python_leaves_out_is_nought_and_an_offset_may_have_seconds() {
        let wanted = parse_time("2026-03-05T04:00:00Z").unwrap();
        for same in [
            "2026-03-05T04:00+00:00",
            "2026-03-05T04",
            "2026-03-05T0400Z",
            "2026-03-05T09:53:28+05:53:28",
            "2026-03-05T09:53:28.500000+05:53:28.500000",
            "2026-03-05T03:30-0030",
            "2026-03-05T05:00:00+01",
        ] {
            assert_eq!(parse_time(same), Some(wanted), "{same}");
        }
    }

    /// Against: two checkpoints of one millisecond, of which the older is taken as the newest.
    #[test]
    fn what_is_below_a_millisecond_counts_and_is_written() {
        let of = |fraction: &str| parse_time(&format!("2026-03-01T00:00:00.{fraction}Z")).unwrap();
        assert!(of("123100") < of("1239") && of("123999999") < of("124"));
        assert!(of("1231").in_order() < of("1239").in_order());
        assert_eq!(format_moment(of("1231")), "2026-03-01T00:00:00.123100+00:00");
        assert_eq!(format_moment(of("0")), "2026-03-01T00:00:00+00:00");
        assert_eq!(of("999999").next(), parse_time("2026-03-01T00:00:01Z").unwrap());
        assert_eq!(parse_time(&format_moment(of("123456"))), Some(of("123456")));
    }

    #[test]
    fn a_moment_that_is_written_is_the_same_when_it_is_read() {
        for day in 0..60_000 {
            let at = Timestamp::from_ms(day * 86_400_000 + day % 86_400 * 1_000);
            assert_eq!(parse_time(&format_time(at)), Some(Moment::of(at)));
        }
    }
}
