//! Which pictures are drawn: bars of every case, and lines of what runs over sizes or time.

use super::Row;
use super::svg::{Axes, Line, bars, lines};
use crate::Result;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A picture over sizes: file name, unit, what it shows of a row.
type Picture = (&'static str, &'static str, fn(&Row) -> Option<f64>);

/// Writes the SVG files into the folder.
pub(crate) fn plot(dir: &Path, rows: &[Row]) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut cases: Vec<&str> = rows.iter().map(|row| row.case.as_str()).collect();
    cases.dedup();
    for case in cases.into_iter().filter(|case| !case.starts_with("scale/")) {
        let of_case = || rows.iter().filter(|row| row.case == case);
        let opens = case.starts_with("reopen/");
        let value = |row: &Row| if opens { row.open_ms } else { row.steps_per_s };
        let values: Vec<(String, f64)> =
            of_case().filter_map(|row| Some((row.engine.clone(), value(row)?))).collect();
        let unit = match case.split('/').next() {
            Some("reopen") => "ms to open",
            Some("lookup") => "look-ups a second",
            _ => "durable steps a second",
        };
        save(dir, &file_name(case), &bars(&format!("{case}: {unit}"), &values))?;
    }
    over_time(dir, rows)?;
    over_size(dir, rows)
}

fn over_time(dir: &Path, rows: &[Row]) -> Result<()> {
    let of = |value: fn(&[f64; 3]) -> f64| {
        let with_series = rows.iter().filter(|row| !row.series.is_empty());
        let line = |row: &Row| Line {
            name: row.engine.clone(),
            points: row.series.iter().map(|at| (at[0], value(at))).collect(),
        };
        with_series.map(line).collect::<Vec<Line>>()
    };
    let (rate, file) = (of(|at| at[1]), of(|at| at[2]));
    if rate.is_empty() {
        return Ok(());
    }
    let axes = |y, log_y| Axes { x: "seconds", y, log_x: false, log_y };
    let title = "churn/ttl: steps a second over time";
    save(dir, "churn-ttl-rate", &lines(title, &axes("steps/s", true), &rate))?;
    let title = "churn/ttl: file size over time";
    save(dir, "churn-ttl-file", &lines(title, &axes("MiB", true), &file))
}

fn over_size(dir: &Path, rows: &[Row]) -> Result<()> {
    let pictures: [Picture; 4] = [
        ("scale-rate", "steps/s, keys in order", |row| row.steps_per_s),
        ("scale-random", "steps/s, random keys", |row| row.random_steps_per_s),
        ("scale-open", "ms to open after SIGKILL", |row| row.open_ms),
        ("scale-memory", "peak MiB", |row| row.peak_rss_mib),
    ];
    for (name, unit, value) in pictures {
        let mut by_engine: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for row in rows {
            if let (Some(size), Some(value)) = (size(&row.case), value(row)) {
                by_engine.entry(&row.engine).or_default().push((size, value));
            }
        }
        if by_engine.is_empty() {
            continue;
        }
        let all: Vec<Line> = by_engine
            .into_iter()
            .map(|(engine, points)| Line { name: engine.to_owned(), points })
            .collect();
        let axes = Axes { x: "keys in the store", y: unit, log_x: true, log_y: true };
        save(dir, name, &lines(&format!("scale: {unit}"), &axes, &all))?;
    }
    Ok(())
}

fn size(case: &str) -> Option<f64> {
    match case.strip_prefix("scale/")? {
        "10k" => Some(1e4),
        "100k" => Some(1e5),
        "1m" => Some(1e6),
        "10m" => Some(1e7),
        _ => None,
    }
}

fn file_name(case: &str) -> String {
    case.replace('/', "-")
}

fn save(dir: &Path, name: &str, svg: &str) -> Result<()> {
    fs::write(dir.join(format!("{name}.svg")), svg)?;
    Ok(())
}
