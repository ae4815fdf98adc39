//! Moments as text: ISO 8601, as Python's `isoformat` and Go's RFC 3339 have it.

use crate::clock::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// The moment, without a time zone in UTC; `None` for what is no such text, or before 1970.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, '-')?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let is_one = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !is_one {
        return None;
    }
    let (fraction_ms, zone) = match rest.strip_prefix(['.', ',']) {
        None => (0, rest),
        Some(rest) => {
            let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, zone) = rest.split_at_checked(len)?;
            (format!("{:0<3}", digits.get(..3).unwrap_or(digits)).parse().ok()?, zone)
        }
    };
    let clock_ms = ((hour * 60 + minute) * 60 + second) * 1_000 + fraction_ms;
    let ms = days_from_1970(year, month, day) * DAY_MS + clock_ms - offset_ms(zone)?;
    u64::try_from(ms).ok().map(Timestamp::from_ms)
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

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { part.parse().ok() } else { None }
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    if parts.next().is_none() { Some(three) } else { None }
}

fn offset_ms(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("+", zone) => (1, zone),
        ("-", zone) => (-1, zone),
        _ => return None,
    };
    let digits = zone.replace(':', "");
    let is_one = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| is_one)?;
    let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
    Some(sign * minutes * 60_000)
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
        let ms = |text: &str| parse_time(text).map(Timestamp::as_ms);
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
        ] {
            assert_eq!(ms(none), None, "{none}");
        }
    }

    #[test]
    fn a_moment_that_is_written_is_the_same_when_it_is_read() {
        for day in 0..60_000 {
            let at = Timestamp::from_ms(day * 86_400_000 + day % 86_400 * 1_000);
            assert_eq!(parse_time(&format_time(at)), Some(at));
        }
    }
}
