//! The supervisor: starts the exchange and the worker, kills the worker as planned, starts it
//! again, and collects what both left on disk once the market is over.

use std::error::Error;
use std::io::{self, BufReader, IsTerminal};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, fs, hint, thread};

use indicatif::{ProgressBar, ProgressStyle};

use crate::exchange::{self, Row};
use crate::lines;
use crate::plan::{Kill, Trigger};
use crate::stage::Notice;
use crate::strategy::{Fill, Strategy};
use crate::{Engine, files, worker};

/// One run over the market: what it is played with, and where.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    pub(crate) seed: u64,
    pub(crate) bars: usize,
    pub(crate) dir: PathBuf,
}

/// What a run left on disk, read back after every process of it has ended.
pub(crate) struct Played {
    pub(crate) kills: Vec<Kill>,
    pub(crate) strategy: Strategy,
    pub(crate) intents: u64,
    pub(crate) ledger: Vec<Row>,
}

/// Nothing here takes a second; a child that is silent for so long never speaks again.
const PATIENCE: Duration = Duration::from_secs(60);

impl Scene {
    /// Plays the run to its end, whatever it takes.
    pub(crate) fn play(
        &self,
        title: &'static str,
        kills: &[Kill],
        quiet: bool,
    ) -> Result<Played, Box<dyn Error>> {
        fs::create_dir(&self.dir)?;
        let progress = self.progress(title, quiet)?;
        let exchange = self.exchange()?;
        let Some(Notice::Listening(port)) = exchange.next_notice()? else {
            return Err("the exchange ended before it listened".into());
        };
        for (done, kill) in kills.iter().enumerate() {
            progress.set_message(format!("{done} kills"));
            if let Ended::Finished = self.live(port, Some(*kill), &progress)? {
                let all = kills.len();
                return Err(format!(
                    "the worker was through after {done} of {all} kills; \
                     ask for fewer kills or more bars"
                )
                .into());
            }
        }
        progress.set_message(format!("{} kills", kills.len()));
        self.live(port, None, &progress)?;
        progress.finish_and_clear();
        drop(exchange);
        self.collect(kills)
    }

    /// One life of the worker.
    fn live(
        &self,
        port: u16,
        kill: Option<Kill>,
        progress: &ProgressBar,
    ) -> Result<Ended, Box<dyn Error>> {
        let mut worker = self.worker(port, kill)?;
        let mut trigger = kill.map(Trigger::new);
        if let Some(Kill::Newborn { moment }) = kill {
            spin(moment);
            return worker.kill();
        }
        while let Some(notice) = worker.next_notice()? {
            if let Notice::Bar(bar) = notice {
                progress.set_position(bar);
            }
            if let Some(moment) = trigger.as_mut().and_then(|trigger| trigger.due(&notice)) {
                spin(moment);
                return worker.kill();
            }
        }
        worker.wait()
    }

    fn exchange(&self) -> io::Result<Actor> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("exchange").arg("--dir").arg(&self.dir);
        command.arg("--seed").arg(self.seed.to_string());
        Actor::start(&mut command)
    }

    fn worker(&self, port: u16, kill: Option<Kill>) -> io::Result<Actor> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("worker").arg("--dir").arg(&self.dir);
        command.arg("--engine").arg(self.engine.name());
        command.arg("--bars").arg(self.bars.to_string());
        command.arg("--port").arg(port.to_string());
        if let Some(Kill::Held { window, bar }) = kill {
            command.arg("--hold").arg(window.name());
            command.arg("--hold-from").arg(bar.to_string());
        }
        Actor::start(&mut command)
    }

    fn collect(&self, kills: &[Kill]) -> Result<Played, Box<dyn Error>> {
        let (strategy, intents) = match self.engine {
            Engine::Milepost => worker::left_behind(&self.dir)?,
            Engine::Files => files::left_behind(&self.dir)?,
        };
        let ledger = exchange::ledger(&self.dir)?;
        Ok(Played { kills: kills.to_vec(), strategy, intents, ledger })
    }

    /// On stderr, if that is a terminal.
    fn progress(&self, title: &'static str, quiet: bool) -> Result<ProgressBar, Box<dyn Error>> {
        if quiet || !io::stderr().is_terminal() {
            return Ok(ProgressBar::hidden());
        }
        let style = "{prefix:11} {wide_bar} {pos:>5}/{len} bars  {msg:9} {elapsed:>3}";
        let progress = ProgressBar::new(self.bars as u64).with_prefix(title);
        Ok(progress.with_style(ProgressStyle::with_template(style)?))
    }
}

impl Played {
    /// The fills at the exchange, in the order of the orders they belong to.
    pub(crate) fn fills(&self) -> Vec<Fill> {
        let mut fills: Vec<Fill> = self.ledger.iter().filter_map(Row::fill).cloned().collect();
        fills.sort();
        fills
    }
}

/// A child process: it says notices on its stdout, and ends when its stdin closes, which the
/// supervisor's own end, however violent, brings about.
struct Actor {
    child: Child,
    notices: Receiver<io::Result<Notice>>,
}

impl Actor {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        let (said, notices) = mpsc::channel();
        thread::spawn(move || {
            for notice in lines::read_all(BufReader::new(stdout)) {
                if said.send(notice).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, notices })
    }

    /// The next thing it says; `None` once it has ended.
    fn next_notice(&self) -> Result<Option<Notice>, Box<dyn Error>> {
        match self.notices.recv_timeout(PATIENCE) {
            Ok(notice) => Ok(Some(notice?)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("a child said nothing for {} s", PATIENCE.as_secs()).into())
            }
        }
    }

    /// SIGKILL: it runs no handler, flushes nothing and closes nothing of its own.
    fn kill(&mut self) -> Result<Ended, Box<dyn Error>> {
        self.child.kill()?;
        match self.child.wait()?.code() {
            None => Ok(Ended::Killed),
            Some(_) => self.wait(),
        }
    }

    /// Its own end, which must be a good one.
    fn wait(&mut self) -> Result<Ended, Box<dyn Error>> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(Ended::Finished);
        }
        Err(format!("the worker ended by itself, with {status}").into())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Already ended, or ended here: either way it is gone when this returns.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a life ended.
enum Ended {
    Killed,
    Finished,
}

/// A moment too short to sleep for, so that kills fall between notices, too.
fn spin(moment: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < moment {
        hint::spin_loop();
    }
}
