//! Rounds to rows: medians, and ratios taken within each round before their median is, so that a
//! slow minute of the machine weighs on both sides of a ratio.

use super::Measured;
use crate::cases::{Case, Task};
use crate::engines::{EngineName, Kind};
use crate::report::Row;

pub(super) fn rows(case: &Case, engines: &[EngineName], measured: &[Measured]) -> Vec<Row> {
    let best_peer = best(measured, EngineName::is_waiting_peer);
    let best_batched = best(measured, |engine| engine.by_hand);
    let redb = best(measured, |engine| engine.is_waiting_peer() && engine.kind == Kind::Redb);
    let mut rows = Vec::new();
    for engine in engines {
        let rounds: Vec<&Measured> = measured.iter().filter(|m| m.engine == *engine).collect();
        let Some(last) = rounds.last() else { continue };
        let of = |field: fn(&Measured) -> Option<f64>| {
            median(rounds.iter().filter_map(|measured| field(measured)))
        };
        let against = |other| ratio(measured, *engine, other);
        // redb on Milepost's file was only opened: it has no rate of steps.
        let has_rate =
            engine.kind != Kind::RedbOnMilepost || matches!(case.task, Task::Open { .. });
        let rated = |value: Option<f64>| value.filter(|_| has_rate);
        rows.push(Row {
            case: case.name.clone(),
            engine: engine.to_string(),
            steps_per_s: rated(of(|m| Some(m.report.steps_per_s))),
            p50_us: rated(of(|m| m.report.p50_us)),
            p99_us: rated(of(|m| m.report.p99_us)),
            fsyncs_per_step: rated(of(|m| m.report.fsyncs_per_step)),
            bytes_per_step: rated(of(|m| m.report.bytes_per_step)),
            device_bytes_per_step: rated(of(|m| m.report.device_bytes_per_step)),
            ratio_to_best_peer: rated(against(best_peer)),
            ratio_to_redb: rated(against(redb)),
            ratio_to_best_batched: rated(against(best_batched)),
            peak_rss_mib: of(|m| m.report.peak_rss_bytes.map(mib)),
            file_mib: of(|m| Some(mib(m.file_bytes))),
            open_to_redb_same_file: (engine.kind == Kind::Milepost && case.opens())
                .then(|| open_to_redb_same_file(measured))
                .flatten(),
            open_ms: case.opens().then(|| of(|m| Some(m.report.open_ms))).flatten(),
            random_steps_per_s: of(|m| m.report.random_steps_per_s),
            live_mib: of(|m| m.report.live_bytes.map(mib)),
            times_changed: of(|m| m.report.times_changed),
            ratio_to_fixed: of(|m| Some(m.report.steps_per_s / m.report.fixed_steps_per_s?)),
            ratio_to_one: of(|m| Some(m.report.steps_per_s / m.report.one_steps_per_s?)),
            mb_per_s: of(|m| m.report.mb_per_s),
            store_to_logical: of(|m| m.report.store_to_logical),
            latest_us: of(|m| m.report.latest_us),
            page_us: of(|m| m.report.page_us),
            late_to_early: late_to_early(&last.report.series),
            series: last
                .report
                .series
                .iter()
                .map(|(s, rate, bytes)| [*s, *rate, mib(*bytes)])
                .collect(),
            rounds: rounds.len(),
        });
    }
    rows
}

/// The engine with the best median rate among those admitted.
fn best(measured: &[Measured], admits: impl Fn(EngineName) -> bool) -> Option<EngineName> {
    let mut engines: Vec<EngineName> =
        measured.iter().map(|m| m.engine).filter(|engine| admits(*engine)).collect();
    engines.sort_unstable();
    engines.dedup();
    let rate = |engine: &EngineName| {
        let rates = measured.iter().filter(|m| m.engine == *engine).map(|m| m.report.steps_per_s);
        median(rates).unwrap_or(0.0)
    };
    engines.into_iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))
}

fn ratio(measured: &[Measured], engine: EngineName, other: Option<EngineName>) -> Option<f64> {
    let other = other?;
    let rate = |engine, round| {
        let found = measured.iter().find(|m| m.engine == engine && m.round == round)?;
        Some(found.report.steps_per_s)
    };
    let rounds = measured.iter().filter(|m| m.engine == engine).map(|m| m.round);
    median(rounds.filter_map(|round| Some(rate(engine, round)? / rate(other, round)?)))
}

/// How much longer Milepost opens its file than raw redb opens the same bytes.
fn open_to_redb_same_file(measured: &[Measured]) -> Option<f64> {
    let open = |kind, round| {
        let found = measured.iter().find(|m| m.engine.kind == kind && m.round == round)?;
        Some(found.report.open_ms)
    };
    let rounds = measured.iter().filter(|m| m.engine.kind == Kind::Milepost).map(|m| m.round);
    let ratio = |round| Some(open(Kind::Milepost, round)? / open(Kind::RedbOnMilepost, round)?);
    median(rounds.filter_map(ratio))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// Whether the rate holds: the mean of the last third of the series over that of the middle one.
fn late_to_early(series: &[(f64, f64, u64)]) -> Option<f64> {
    let third = series.len() / 3;
    let mean = |part: &[(f64, f64, u64)]| {
        let total: f64 = part.iter().map(|(_, rate, _)| rate).sum();
        total
    };
    let late = series.get(series.len() - third..)?;
    let early = series.get(series.len() - 2 * third..series.len() - third)?;
    (third > 0).then(|| mean(late) / mean(early))
}

#[expect(clippy::cast_precision_loss, reason = "bytes stay far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([9.0, 1.0, 3.0].into_iter()), Some(3.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn a_rate_that_halves_shows() {
        let series: Vec<(f64, f64, u64)> =
            [10.0, 10.0, 10.0, 10.0, 5.0, 5.0].iter().map(|rate| (0.0, *rate, 0)).collect();
        assert_eq!(late_to_early(&series), Some(0.5));
    }
}
