//! The command line. Its help is where each number is defined.

use crate::engines::EngineName;
use clap::Parser;
use std::path::PathBuf;

/// Milepost measured beside raw redb, SQLite, fjall, LMDB and the files kit.
///
/// Every number is the median over the rounds. Engines named `-batch100` are batched by hand: 100
/// steps a commit, none durable before all are.
#[derive(Parser, Debug)]
#[command(version, after_help = NUMBERS)]
pub(crate) struct Args {
    /// Only cases whose name starts so (`step`, `step/one`, `reopen`); may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub(crate) case: Vec<String>,

    /// Only these engines; may be given several times, or separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) engine: Vec<EngineName>,

    /// How often each engine runs each case, interleaved (`churn` runs once)
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,

    /// How long one measurement takes, in seconds, after a fifth of that to warm up (`scale`: half
    /// of it for keys in order, half for random ones)
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,

    /// How long `churn` runs, in seconds
    #[arg(long, default_value_t = 20.0)]
    pub(crate) churn_seconds: f64,

    /// The largest store of `scale`, in rows
    #[arg(long, value_name = "ROWS", default_value_t = 10_000_000)]
    pub(crate) scale_max: u64,

    /// Delays every flush by so many microseconds, to stand for a disk that really flushes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) slow_fsync_us: u64,

    /// One JSON object a line instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// Writes the tables as Markdown; a file with the lines `<!-- bench:begin -->` and
    /// `<!-- bench:end -->` keeps what stands around them
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// Draws SVG plots into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,

    /// Where the stores are put; must be on the disk to be measured (default: beside this binary)
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// For the child processes of this program
    #[arg(long, hide = true)]
    pub(crate) child: Option<String>,
}

const NUMBERS: &str = "\
Fields of --json:
  steps_per_s         durable steps a second; in lookup/* look-ups a second, in reopen/* openings a
                      second (1000 / open_ms)
  p50_us, p99_us      from handing a step over to its acknowledgement; in reopen/* of the openings
  fsyncs_per_step     requests that wait for the disk, counted by a preloaded shim for all engines
                      alike: fsync, fdatasync, msync(MS_SYNC), sync, writes through O_DSYNC
                      descriptors; in reopen/* for one opening
  bytes_per_step      bytes written: wchar of /proc/self/io (no engine here writes through a map);
                      in reopen/* for one opening
  device_bytes_per_step
                      bytes the block device wrote meanwhile, for whomever: whole pages, the file
                      system's journal included; true on a machine that is otherwise quiet
  ratio_to_best_peer  rate / rate of the best peer (redb, sqlite, fjall, lmdb, files) that waits
                      for each step, in the same case: the median of the ratios within each round
  ratio_to_redb, ratio_to_best_batched
                      the same against raw redb, and against the best peer batched by hand
  peak_rss_mib        the most memory the child had resident (VmHWM); lmdb's includes its map
  file_mib            blocks on disk at the end
  open_ms             opening the store, reading the run's position and one key
  open_to_redb_same_file
                      milepost's open_ms / that of raw redb on the same file (engine
                      redb-on-milepost-file, which does nothing else)
  random_steps_per_s  in scale/*: the rate with random keys
  live_mib, series    in churn/*: size of the keys and outcomes alive at the end, and every second
                      [seconds, steps/s, file MiB]; late_to_early: rate of the last third / rate of
                      the third before it
  state/*             steps_per_s are saves a second; times_changed: bytes written / bytes changed;
                      ratio_to_fixed: rate with 1 KiB / rate with 8 bytes; ratio_to_one: rate of 8
                      runs whose closures take 1 ms / rate of one; mb_per_s: cut and hashed
                      on one core; store_to_logical: blocks on disk / the sum of the states;
                      latest_us, page_us: to find the newest checkpoint, to list the newest 50

The page cache cannot be dropped without root, so openings read from memory.
Tables show a bench of this machine on this day; compare within one run only.";
