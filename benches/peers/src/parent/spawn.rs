//! One measured child: started with the shim, read one line from, killed.

use crate::Result;
use crate::child::{Report, Spec};
use crate::measure::Shim;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Filling ten million rows, or repairing them, takes minutes on a slow disk; no engine hangs.
const PATIENCE: Duration = Duration::from_secs(900);

/// Runs a task and ends the process by SIGKILL once it has reported, so that nothing is closed
/// that the task did not close.
pub(super) fn run(spec: &Spec, shim: &Shim) -> Result<Report> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(serde_json::to_string(spec)?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    shim.attach(&mut command)?;
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or("stdout is piped")?;
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // The receiver is gone only when patience was lost.
        let _ = send.send(read.map(|_| line));
    });
    let line = receive.recv_timeout(PATIENCE + Duration::from_secs_f64(spec.seconds));
    child.kill()?;
    child.wait()?;
    let line = line.map_err(|_| "no report in time")??;
    if line.is_empty() {
        return Err("ended without a report; its message stands above".into());
    }
    Ok(serde_json::from_str(&line)?)
}
