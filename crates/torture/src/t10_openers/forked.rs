//! Children that are forked and call no `exec`: they inherit every handle. Whatever they call, drop or
//! end, the parent goes on unharmed; and when it is killed, they hold the store for nobody.

use std::path::Path;

use super::{Opener, PATIENCE, small_store, steps_are, winner_of};

/// So many children of one holder.
const CHILDREN: u64 = 4;
/// So many steps the holder makes while they live.
pub(super) const STEPS: u64 = 20;

/// Children that call, drop and end while their parent steps.
pub(super) fn forked_children(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    holder.0.tell("fork")?;
    let mut seen = Seen::default();
    while seen.ended < CHILDREN || seen.steps < 1 + STEPS {
        seen.take(&holder.0.expect_line(PATIENCE)?)?;
    }
    super::refused(path, holder.0.pid())?;
    holder.must_say("step", &format!("stepped {}", 2 + STEPS))?;
    holder.must_say("close", "closed")?;
    steps_are(path, 2 + STEPS)
}

/// The parent is killed among its steps, and its children live on for a while.
pub(super) fn killed_beside_its_children(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    holder.0.tell("fork")?;
    let mut seen = Seen::default();
    while seen.steps < 1 + STEPS / 2 {
        seen.take(&holder.0.expect_line(PATIENCE)?)?;
    }
    holder.0.kill()?;
    // What it had said by then, and what its children say when they end.
    while seen.ended < CHILDREN {
        seen.take(&holder.0.expect_line(PATIENCE)?)?;
    }
    // The step that was under way may be there, and was not acknowledged.
    let acknowledged = seen.steps;
    steps_are(path, acknowledged).or_else(|_| steps_are(path, acknowledged + 1))?;
    winner_of(path)
}

/// What a holder and its children have said.
#[derive(Default)]
struct Seen {
    steps: u64,
    ended: u64,
}

impl Seen {
    fn take(&mut self, said: &str) -> Result<(), String> {
        if let Some(n) = said.strip_prefix("stepped ") {
            self.steps = n.parse().map_err(|_| format!("no number: {said}"))?;
        } else if said == "refused" {
            self.ended += 1;
        } else if said != "forked" {
            return Err(format!("I8: beside forked children: {said}"));
        }
        Ok(())
    }
}

#[cfg(unix)]
pub(super) use here::fork;

#[cfg(not(unix))]
pub(super) fn fork(_: &milepost::Store) -> milepost::Result<()> {
    Err(milepost::Error::abort("forks are only known for Unix here"))
}

#[cfg(unix)]
mod here {
    use std::time::{Duration, Instant};

    use milepost::{ErrorKind, Store};
    use nix::unistd::ForkResult;

    use super::super::super::child::say;
    use super::super::super::work::{RUN, Tour, take_step};
    use super::{CHILDREN, STEPS};

    /// Forks, makes steps meanwhile, and says each.
    pub(in super::super) fn fork(store: &Store) -> milepost::Result<()> {
        let failed = |error: String| milepost::Error::abort(error);
        let mut run = store.run::<Tour>(RUN)?;
        for nth in 0..CHILDREN {
            #[expect(
                unsafe_code,
                reason = "there is no safe fork; this process has one thread, which is copied"
            )]
            let forked = unsafe { nix::unistd::fork() };
            if let ForkResult::Child = forked.map_err(|error| failed(error.to_string()))? {
                let told = child(store, &mut run, nth).err();
                let _ = say(told.as_deref().unwrap_or("refused"));
                if nth % 2 == 0 {
                    // Ends without a destructor; the others drop what they have, and end as `main` does.
                    std::process::abort();
                }
                drop((store.clone(), run));
                std::process::exit(0);
            }
        }
        say("forked").map_err(failed)?;
        for _ in 0..STEPS {
            let n = take_step(&mut run)?;
            say(format_args!("stepped {n}")).map_err(failed)?;
        }
        Ok(())
    }

    /// Calls what it has inherited for a while; each call has to be refused.
    fn child(store: &Store, run: &mut milepost::Run<Tour>, nth: u64) -> Result<(), String> {
        let end = Instant::now() + Duration::from_millis(50 * nth);
        loop {
            let calls = [
                take_step(run).map(drop),
                store.run::<Tour>("another").map(drop),
                store.claim::<u64>("forked", nth.to_string(), &nth).map(drop),
                store.verify().map(drop),
                store.recovery().map(drop),
                store.flush(),
                store.remove_run(RUN),
                store.clone().close(),
            ];
            for (call, done) in calls.into_iter().enumerate() {
                match done {
                    Err(error) if error.kind() == ErrorKind::Forked => {}
                    Err(error) => return Err(format!("call {call}: {:?}", error.kind())),
                    Ok(()) => return Err(format!("call {call} was done in a forked child")),
                }
            }
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }
}
