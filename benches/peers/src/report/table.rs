//! The columns of a case, and the table on the terminal.

use super::Row;
use super::number::shown;
use crate::Result;
use std::io::Write as _;

/// A column: its head, and what it shows of a row.
pub(super) type Column = (&'static str, fn(&Row) -> Option<f64>);

/// What there is to say about a case depends on the case.
pub(super) fn columns(case: &str) -> Vec<Column> {
    let size: [Column; 2] =
        [("peak MiB", |row| row.peak_rss_mib), ("file MiB", |row| row.file_mib)];
    let cost: [Column; 3] = [
        ("fsyncs/step", |row| row.fsyncs_per_step),
        ("bytes/step", |row| row.bytes_per_step),
        ("disk B/step", |row| row.device_bytes_per_step),
    ];
    let mut columns: Vec<Column> = Vec::new();
    if case.starts_with("reopen/") {
        columns.push(("open ms", |row| row.open_ms));
        columns.push(("× best peer", |row| row.ratio_to_best_peer));
        columns.push(("× redb", |row| row.ratio_to_redb));
        columns.push(("÷ same file", |row| row.open_to_redb_same_file));
        columns.push(("fsyncs", |row| row.fsyncs_per_step));
        columns.push(("bytes", |row| row.bytes_per_step));
        columns.extend(size);
        return columns;
    }
    if let Some(what) = case.strip_prefix("state/") {
        columns.push(("saves/s", |row| row.steps_per_s));
        match what {
            "chunking" => columns.push(("MB/s", |row| row.mb_per_s)),
            "history" => {
                columns.push(("÷ states", |row| row.store_to_logical));
                columns.push(("latest µs", |row| row.latest_us));
                columns.push(("page µs", |row| row.page_us));
            }
            "slow-closures" => columns.push(("× one run", |row| row.ratio_to_one)),
            "1k" => columns.push(("× 8 bytes", |row| row.ratio_to_fixed)),
            _ => {
                columns.push(("× best peer", |row| row.ratio_to_best_peer));
                columns.push(("× changed", |row| row.times_changed));
                columns.push(("p50 µs", |row| row.p50_us));
            }
        }
        if what != "chunking" {
            columns.extend(cost);
        }
        columns.extend(size);
        return columns;
    }
    let rate = if case.starts_with("lookup/") { "look-ups/s" } else { "steps/s" };
    columns.push((rate, |row| row.steps_per_s));
    columns.push(("× best peer", |row| row.ratio_to_best_peer));
    columns.push(("× batched", |row| row.ratio_to_best_batched));
    columns.push(("p50 µs", |row| row.p50_us));
    columns.push(("p99 µs", |row| row.p99_us));
    if case.starts_with("scale/") {
        columns.push(("random/s", |row| row.random_steps_per_s));
        columns.push(("open ms", |row| row.open_ms));
        columns.push(("÷ same file", |row| row.open_to_redb_same_file));
    } else if case.starts_with("churn/") {
        columns.push(("late/early", |row| row.late_to_early));
        columns.push(("live MiB", |row| row.live_mib));
    }
    if !case.starts_with("lookup/") {
        columns.extend(cost);
    }
    columns.extend(size);
    columns
}

pub(super) fn print(about: &str, rows: &[Row]) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let columns = columns(&first.case);
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}: {about}", first.case)?;
    write!(out, "{:<22}", "engine")?;
    for (head, _) in &columns {
        write!(out, "{head:>13}")?;
    }
    writeln!(out)?;
    for row in rows {
        write!(out, "{:<22}", row.engine)?;
        for (_, value) in &columns {
            write!(out, "{:>13}", shown(value(row)))?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}
