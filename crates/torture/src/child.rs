//! A second process: this very program, started again to do one thing, and killed, stopped or left
//! without room while it is at it.
//!
//! What a child has done it says on its standard output, one line each; what it is told it reads
//! from its standard input, which ends when its parent does.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Says a line to the parent. Short, so that it is in the pipe whole or not at all.
pub(crate) fn say(line: impl Display) -> Result<(), String> {
    let line = format!("{line}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
}

/// What the parent says next; an error once it has gone.
pub(crate) fn hear() -> Result<String, String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) => Err("the parent has gone".to_owned()),
        Ok(_) => Ok(line.trim_end().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A running child; it is killed when it is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
}

/// What came of waiting for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Line(String),
    /// It has ended, and said nothing more.
    Ended,
    Nothing,
}

impl Child {
    /// This program, to be started with the arguments of a task.
    pub(crate) fn command(arguments: &[&str]) -> Result<Command, String> {
        let mut command = Command::new(this_program()?);
        command.arg("child").args(arguments);
        Ok(command)
    }

    /// The same behind a shell that does something first and then becomes it: `"$@"`.
    pub(crate) fn after(shell: &str, script: &str, arguments: &[&str]) -> Result<Command, String> {
        let mut command = Command::new(shell);
        let program = this_program()?;
        command.arg("-c").arg(script).arg("child").arg(program).arg("child");
        command.args(arguments);
        Ok(command)
    }

    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("starting a child: {error}"))?;
        let said = process.stdout.take().ok_or("a child without a voice")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            // A line without its end was cut by the kill, and never said.
            let mut said = BufReader::new(said);
            let mut line = String::new();
            while said.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
                line.pop();
                if send.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next thing it says.
    pub(crate) fn next(&self, patience: Duration) -> Said {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Said::Line(line),
            Err(RecvTimeoutError::Timeout) => Said::Nothing,
            Err(RecvTimeoutError::Disconnected) => Said::Ended,
        }
    }

    /// The next line, which has to come.
    pub(crate) fn expect_line(&self, patience: Duration) -> Result<String, String> {
        match self.next(patience) {
            Said::Line(line) => Ok(line),
            Said::Ended => Err("the child ended before it said what it should".to_owned()),
            Said::Nothing => Err(format!("the child said nothing for {} s", patience.as_secs())),
        }
    }

    pub(crate) fn tell(&mut self, line: &str) -> Result<(), String> {
        let ear = self.process.stdin.as_mut().ok_or("a child without an ear")?;
        ear.write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// SIGKILL: it runs no handler, flushes nothing and closes nothing of its own.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus, String> {
        self.process.kill().map_err(|error| format!("killing: {error}"))?;
        self.wait()
    }

    /// What it is told by; as long as this is kept, it and its children hear no end.
    pub(crate) fn take_ear(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    pub(crate) fn wait(&mut self) -> Result<ExitStatus, String> {
        self.process.stdin = None;
        self.process.wait().map_err(|error| format!("waiting: {error}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn this_program() -> Result<std::path::PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("finding this program: {error}"))
}
