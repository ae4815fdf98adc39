//! What is shown of the rows: JSON lines, tables for people, Markdown, plots. Knows nothing of
//! engines or processes.

mod json;
mod markdown;
mod number;
mod plot;
mod svg;
mod table;

use crate::Result;
use crate::args::Args;
use serde::Serialize;

pub(crate) use markdown::markdown;
pub(crate) use plot::plot;

/// One engine in one case; the fields are defined in the help text (`args.rs`).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) engine: String,
    pub(crate) steps_per_s: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) fsyncs_per_step: Option<f64>,
    pub(crate) bytes_per_step: Option<f64>,
    pub(crate) ratio_to_best_peer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_bytes_per_step: Option<f64>,
    pub(crate) ratio_to_redb: Option<f64>,
    pub(crate) ratio_to_best_batched: Option<f64>,
    pub(crate) peak_rss_mib: Option<f64>,
    pub(crate) file_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_to_redb_same_file: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) random_steps_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late_to_early: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) times_changed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_fixed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_one: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mb_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_to_logical: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) page_us: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) series: Vec<[f64; 3]>,
    pub(crate) rounds: usize,
}

pub(crate) fn announce(args: &Args, machine: &[String]) {
    if !args.json {
        for line in machine {
            println!("{line}");
        }
    }
}

/// One case, as soon as it is done.
pub(crate) fn print(args: &Args, about: &str, rows: &[Row]) -> Result<()> {
    if args.json { json::print(rows) } else { table::print(about, rows) }
}
