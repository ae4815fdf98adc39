//! A store that is set back: by a copy of its file, or by a savepoint, into itself or into another
//! one. Each step sends an order; the desk remembers all of them.

use std::fs;
use std::path::Path;

use milepost::{
    Claimed, Delivery, Endpoint, Error, ErrorKind, Incarnation, Options, Result, SavepointOptions,
    Sent, Store, Topic,
};

use super::Outcome;
use super::sample::{Ledger, RUN};

pub(super) const STEPS: u64 = 6;
const TOPIC: Topic<u64, u64> = Topic::new("orders");

#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// The file of a store that was closed, while it was closed.
    ClosedCopy,
    /// The same, in the place of a store that was killed.
    CopyOfTheKilled,
    /// A savepoint, into the store it is from.
    Savepoint,
    /// A savepoint, into a new store.
    SavepointElsewhere,
}

impl Way {
    pub(super) const ALL: [Self; 4] =
        [Self::ClosedCopy, Self::CopyOfTheKilled, Self::Savepoint, Self::SavepointElsewhere];
}

/// Does what it is told, and knows under which id.
#[derive(Default)]
struct Desk {
    done: Vec<(String, u64)>,
}

impl Endpoint<u64, u64> for Desk {
    fn call(&mut self, order: &Delivery<u64>) -> Sent<u64> {
        self.done.push((order.external_id.to_string(), order.payload));
        Sent::Confirmed(order.payload)
    }
}

fn trade(store: &Store, desk: &mut Desk) -> Result<()> {
    let mut run = store.run::<Ledger>(RUN)?;
    let n = run.steps() + 1;
    run.step(format!("step-{n}"), n, |tx| {
        tx.state.steps = n;
        tx.emit(&TOPIC, &n)
    })?;
    store.relay(&TOPIC).deliver(desk)?;
    Ok(())
}

/// Makes all steps, keeps what is there after `since` of them, and puts that back.
pub(super) fn play(folder: &Path, way: Way, since: u64) -> Result<Outcome, Outcome> {
    let wrong = |what: String| Outcome::Violation(format!("{way:?} after {since} steps: {what}"));
    let mut desk = Desk::default();
    let (store, life) = match set_back(folder, way, since, &mut desk) {
        Ok(found) => found,
        Err(error) => return Err(wrong(error.to_string())),
    };
    if store.incarnation().is_ok_and(|now| now <= life) {
        return Err(wrong(format!("it goes on in its life {life}")));
    }
    let sent = desk.done.len();
    let found = go_on(&store, since, &mut desk).map_err(|error| wrong(error.to_string()))?;
    if let Some(what) = found {
        return Err(wrong(what));
    }
    let mut ids: Vec<_> = desk.done.iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    if desk.done.len() != sent + 1 || ids.len() != desk.done.len() {
        return Err(wrong(format!("an external id is used twice: {:?}", desk.done)));
    }
    Ok(Outcome::Same)
}

/// The store, set back, and in which life it was before.
fn set_back(folder: &Path, way: Way, since: u64, desk: &mut Desk) -> Result<(Store, Incarnation)> {
    let io = |error: std::io::Error| Error::abort(error);
    let path = folder.join("bot.mp");
    let (backup, savepoint) = (folder.join("backup"), folder.join("kept.savepoint"));
    let mut store = Store::create(&path)?;
    for n in 0..STEPS {
        if n == since {
            drop(store.run::<Ledger>(RUN)?);
            let checkpoints = store.checkpoints();
            let id = checkpoints.save(RUN, &milepost::Labels::new())?;
            checkpoints.export(&id, &savepoint)?;
            store.close()?;
            fs::copy(&path, &backup).map_err(io)?;
            store = Store::open(&path)?;
        }
        trade(&store, desk)?;
    }
    let options = SavepointOptions::new().replace();
    let life = store.incarnation()?;
    let store = match way {
        Way::Savepoint => {
            store.import_savepoint(&savepoint, &options)?;
            return Ok((store, life));
        }
        Way::SavepointElsewhere => {
            let store = Store::create(folder.join("other.mp"))?;
            let life = store.incarnation()?;
            store.import_savepoint(&savepoint, &options)?;
            return Ok((store, life));
        }
        Way::ClosedCopy => {
            store.close()?;
            path
        }
        Way::CopyOfTheKilled => {
            // What a kill leaves: the files as they are while the store is open.
            let killed = folder.join("killed.mp");
            fs::copy(&path, &killed).map_err(io)?;
            fs::copy(folder.join("bot.mp.lock"), folder.join("killed.mp.lock")).map_err(io)?;
            killed
        }
    };
    fs::copy(&backup, &store).map_err(io)?;
    match Store::open(&store) {
        Err(error) if error.kind() == ErrorKind::OlderCopy => {}
        other => return Err(Error::abort(format!("an older copy was opened: {other:?}"))),
    }
    Ok((Options::new().accept_older_copy().open(&store)?, life))
}

/// What is wrong with a store that was set back, if anything is; at the end it has sent one order more.
fn go_on(store: &Store, since: u64, desk: &mut Desk) -> Result<Option<String>> {
    let sent = desk.done.len();
    let steps = store.run::<Ledger>(RUN)?.steps();
    if steps != since {
        return Ok(Some(format!("it has made {steps} steps")));
    }
    let mut run = store.run::<Ledger>(RUN)?;
    run.step("another", STEPS + 1, |tx| tx.emit(&TOPIC, &(STEPS + 1)))?;
    for _ in 0..2 {
        match store.relay(&TOPIC).deliver(desk) {
            Err(error) if error.kind() == ErrorKind::Unreconciled => {}
            other => return Ok(Some(format!("the relay came to {other:?}"))),
        }
        match store.claim::<u64>("calls", "new", &1) {
            Err(error) if error.kind() == ErrorKind::Unreconciled => {}
            other => return Ok(Some(format!("a claim came to {other:?}"))),
        }
    }
    if desk.done.len() != sent {
        return Ok(Some("something was sent before anybody has looked".to_owned()));
    }
    if store.recovery()?.unreconciled.is_empty() {
        return Ok(Some("nobody is told".to_owned()));
    }
    store.reconcile("the desk was asked")?;
    store.relay(&TOPIC).deliver(desk)?;
    match store.claim::<u64>("calls", "new", &1)? {
        Claimed::Fresh(claim) => claim.complete(&1)?,
        other => return Ok(Some(format!("reconciled, a claim came to {other:?}"))),
    }
    if !store.verify()?.is_sound() {
        return Ok(Some("verify finds fault with it".to_owned()));
    }
    Ok(None)
}
