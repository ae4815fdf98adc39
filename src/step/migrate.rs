//! Migrating all runs of a store at once.
//!
//! Slice by slice, each slice one commit. How far it has come is nowhere written down but in the runs
//! themselves: each says which version it is. So a crash at any moment leaves runs of the one version
//! and runs of the other, all of them whole, and calling it again goes on with the rest.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use super::migrations::{Migrations, Way};
use super::schema::{Known, schema_for, schema_of};
use super::state::{self, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{RunRecord, run_key};
use crate::record::Chunked;
use crate::store::{HoldKind, Read, Store, Table, misplaced};

/// The most runs of one commit.
const SLICE_RUNS: u64 = 64;
/// The most runs that are looked at for it: nobody else plans meanwhile.
const SLICE_LOOKS: u64 = 1_024;
/// A slice with so many bytes of states is full, whatever the number of its runs.
const SLICE_BYTES: usize = 8 << 20;

/// What a migration has come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Migrated {
    /// How many runs were looked at.
    pub runs: u64,
    /// How many of them were of an older version, and are migrated, or would be.
    pub migrated: u64,
    /// Runs of a version that is newer than all the migrations know: they are left as they are.
    pub newer: Vec<RunName>,
}

/// A migration of all runs: see [`Store::migrate`].
#[must_use = "nothing is migrated before `run` is called"]
pub struct Migrate<'a> {
    store: &'a Store,
    migrations: &'a Migrations,
    progress: Box<dyn FnMut(&Migrated) + 'a>,
}

impl Store {
    /// Migrates every run at which one of the steps begins, as far as the steps lead, so that the
    /// old types can be taken out of the program. Runs of other types are left alone.
    ///
    /// ```
    /// # use milepost::{Migrations, Store, Versioned};
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct MomentumV1 { cash: u64 }
    /// # impl Versioned for MomentumV1 { const NAME: &'static str = "momentum"; const VERSION: u32 = 1; }
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Momentum { cents: u64 }
    /// # impl Versioned for Momentum { const NAME: &'static str = "momentum"; const VERSION: u32 = 2; }
    /// # let store = Store::in_memory()?;
    /// # store.run::<MomentumV1>("spy-daily")?;
    /// let migrations =
    ///     Migrations::new().step(|old: MomentumV1| Ok(Momentum { cents: old.cash * 100 }));
    /// let would = store.migrate(&migrations).dry_run()?;
    /// let done = store.migrate(&migrations).on_progress(|so_far| println!("{so_far:?}")).run()?;
    /// assert_eq!((would.migrated, done.migrated), (1, 1));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn migrate<'a>(&'a self, migrations: &'a Migrations) -> Migrate<'a> {
        Migrate { store: self, migrations, progress: Box::new(|_| ()) }
    }
}

impl<'a> Migrate<'a> {
    /// Calls `each` after each slice: what it is told is durable, unless it is a dry run.
    pub fn on_progress(mut self, each: impl FnMut(&Migrated) + 'a) -> Self {
        self.progress = Box::new(each);
        self
    }

    /// Does all of it in memory, every state through every function and `validate`, and writes
    /// nothing. Reads the durable state.
    ///
    /// # Errors
    /// Those of [`run`](Migrate::run).
    pub fn dry_run(mut self) -> Result<Migrated> {
        let rows = self.store.read()?;
        self.slices(|migrations, from, done| {
            slice(&*rows, migrations, SLICE_RUNS, from, done, |_| Ok(()), |_, _| Ok(()))
        })
    }

    /// Does it, up to 64 runs a commit, so that steps of other runs wait for no more than that. When
    /// it returns `Ok`, all of it is durable. Whatever ends it before, a crash or an error: every run
    /// is either as it was or migrated, and calling it again goes on with the rest.
    ///
    /// # Errors
    /// `Conflict` if one of the runs is open in this process; `Aborted` if one of the functions or
    /// `validate` refuses a state, or panics; `SchemaMismatch` if a type of the program is not what
    /// was stored under its version; `Invalid` if the steps branch or a state cannot be stored;
    /// `Damaged` if a run or a schema is; those of a commit. The error names the run. What earlier
    /// slices did is durable; of the slice that failed, nothing was written.
    pub fn run(mut self) -> Result<Migrated> {
        let store = self.store;
        self.slices(|migrations, from, done| commit_slice(store, migrations, from, done))
    }

    /// One slice behind the other, up to the last.
    fn slices(
        &mut self,
        mut one: impl FnMut(&Migrations, &[u8], &mut Migrated) -> Result<Option<Vec<u8>>>,
    ) -> Result<Migrated> {
        let mut done = Migrated::default();
        let mut from = Vec::new();
        loop {
            let next = one(self.migrations, &from, &mut done)?;
            (self.progress)(&done);
            let Some(next) = next else { return Ok(done) };
            from = next;
        }
    }
}

impl fmt::Debug for Migrate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrate").field("migrations", self.migrations).finish_non_exhaustive()
    }
}

/// Commits one slice; where the next one begins. The runs are held from before they are read until
/// their new states are durable, so nobody opens one in between.
fn commit_slice(
    store: &Store,
    migrations: &Migrations,
    from: &[u8],
    done: &mut Migrated,
) -> Result<Option<Vec<u8>>> {
    let view = store.view()?;
    let mut changes = Vec::new();
    let mut holds = Vec::new();
    // Each run may bring a new schema with it.
    let runs_max = (view.limits().rows_per_step as u64 / 2).clamp(1, SLICE_RUNS);
    let hold = |name: &RunName| {
        let hold = view.hold(HoldKind::Run, name.as_str().as_bytes()).ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("the run \"{name}\" is open in this process: drop its handle first"),
            )
        })?;
        holds.push(hold);
        Ok(())
    };
    let next = slice(&view, migrations, runs_max, from, done, hold, |name, change| {
        view.check_value(change.stored.len())?;
        changes.push((run_key(name), change));
        Ok(())
    })?;
    let ((), joined) = view.join(|plan| {
        for (key, Change { mut record, before, stored, schema }) in changes {
            record.schema = schema_for(plan, &schema)?;
            state::replace(plan, before.as_ref(), &stored)?;
            record.state = stored.row;
            plan.put(&key, &record)?;
        }
        Ok(())
    })?;
    store.wait(joined)?;
    Ok(next)
}

/// A run that has to change: as it is, and what its state is to be.
struct Change {
    record: RunRecord,
    /// The state as it is, if it is large.
    before: Option<Arc<Chunked>>,
    /// The state as it is to be.
    stored: Stored,
    schema: Known,
}

/// What is to be done with the runs of each schema.
struct Ways<'m> {
    migrations: &'m Migrations,
    of: BTreeMap<u32, (bool, Way<'m>)>,
}

impl<'m> Ways<'m> {
    /// Whether it is newer than all that the migrations know, and the way from it.
    fn from(&mut self, rows: &impl Read, schema: u32) -> Result<&(bool, Way<'m>)> {
        Ok(match self.of.entry(schema) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let schema = schema_of(rows, schema)?;
                let is_newer = self.migrations.is_newer(&schema.name, schema.version);
                place.insert((is_newer, self.migrations.way(&schema, None)?))
            }
        })
    }
}

/// Goes through runs from a key on, and hands on those that have to change, each after `hold` was
/// called and before it is read for that. `None` behind the last of them.
fn slice(
    rows: &impl Read,
    migrations: &Migrations,
    runs_max: u64,
    from: &[u8],
    done: &mut Migrated,
    mut hold: impl FnMut(&RunName) -> Result<()>,
    mut each: impl FnMut(&RunName, Change) -> Result<()>,
) -> Result<Option<Vec<u8>>> {
    let mut ways = Ways { migrations, of: BTreeMap::new() };
    let mut from = from.to_vec();
    let (mut runs, mut bytes) = (0, 0);
    let looks_max = done.runs + SLICE_LOOKS;
    while runs < runs_max && bytes < SLICE_BYTES && done.runs < looks_max {
        let Some((key, row)) = rows.scan(Table::Runs, &[], &from, 1)?.pop() else {
            return Ok(None);
        };
        from = [key.as_slice(), &[0]].concat();
        let mut record = rows.parse::<RunRecord>(&key, &row)?;
        let name = name_of(&key)?;
        let of_run = |error: Error| error.context(format!("the run \"{name}\""));
        done.runs += 1;
        if ways.from(rows, record.schema).map_err(of_run)?.1.end().is_some() {
            hold(&name)?;
            // Whoever had it until now may have migrated it.
            let Some(now) = rows.record::<RunRecord>(&key)? else { continue };
            record = now;
        }
        let (is_newer, way) = ways.from(rows, record.schema).map_err(of_run)?;
        if *is_newer {
            done.newer.push(name.clone());
        }
        // The chunks of a large state are read only if there is something to be done with it.
        let Some(end) = way.end() else { continue };
        let before = state::read(rows, record.state.clone(), &name)?;
        let Some(state) = way.migrate(&before.whole()).map_err(of_run)? else { continue };
        (runs, bytes) = (runs + 1, bytes + state.bytes().len());
        let schema = Known::of(end).map_err(of_run)?;
        let stored = state::ready(before.large.as_ref(), state);
        each(&name, Change { record, before: before.large, stored, schema })?;
        done.migrated += 1;
    }
    Ok(Some(from))
}

fn name_of(key: &[u8]) -> Result<RunName> {
    let name = std::str::from_utf8(key).ok().and_then(|name| RunName::new(name).ok());
    name.ok_or_else(|| misplaced(Table::Runs, key))
}
