//! A run is opened: found with its state, begun, or begun again after damage.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migrations::Migrations;
use super::on_damage::{FellBack, OnDamage, Rescue, rescue};
use super::remove::{finish_removal, forget_end, refuse_gone};
use super::schema::{Known, Renewed, read_as, schema_for, schema_of};
use super::state::{self, Stored};
use super::valid::write_valid;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{RunRecord, TypeVersion, Versioned, run_key};
use crate::position::Position;
use crate::record::{Chunked, Payload};
use crate::store::{Plan, Read, Store, Table, View};

/// A run as it was found or begun.
pub(super) struct Picked<S> {
    pub(super) record: RunRecord,
    pub(super) state: S,
    pub(super) large: Option<Arc<Chunked>>,
    pub(super) renewed: Option<Renewed>,
    pub(super) fell_back: Option<FellBack>,
}

/// The state that a run begins with, if it may begin at all. It is made once, however often the
/// opening has to look again.
pub(super) struct First<'a, S> {
    init: Option<Box<dyn FnOnce() -> S + 'a>>,
    made: Option<S>,
}

impl<'a, S> First<'a, S> {
    pub(super) fn of(init: Option<Box<dyn FnOnce() -> S + 'a>>) -> Self {
        Self { init, made: None }
    }

    fn take(&mut self, name: &RunName) -> Result<S> {
        let made = self.made.take().or_else(|| self.init.take().map(|init| init()));
        made.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no run \"{name}\" in this store: give `open_run` an `init` to begin it. \
                     Nothing was changed"
                ),
            )
        })
    }

    fn put_back(&mut self, state: S) {
        self.made = Some(state);
    }
}

/// Reads the run, or begins it, and writes down who has it. When it returns, that is durable. The
/// caller holds the run's name.
///
/// A migrated state is written with the next step: until then the program before this one can still
/// go on with the run.
pub(super) fn pick_up<S>(
    store: &Store,
    name: &RunName,
    on_damage: OnDamage,
    migrations: &Migrations,
    mut first: First<'_, S>,
) -> Result<Picked<S>>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    let key = run_key(name);
    finish_removal(store, name)?;
    loop {
        let view = store.view()?;
        let row = view.get(Table::Runs, &key)?;
        let found = Found::of(&view, name, row.as_deref(), on_damage, migrations, &mut first)?;
        let known = Known::of(&TypeVersion::of::<S>())?;
        let Found { state, origin } = found;
        let begins = matches!(origin, Origin::Begins { .. });
        let (written, joined) = view.join(|plan| {
            // What is restored from quarantine meanwhile is seen by the next attempt.
            if plan.get(Table::Runs, &key)? != row {
                return Ok(None);
            }
            refuse_gone(plan, name)?;
            forget_end(plan, name)?;
            origin.write(plan, name, on_damage, &known)
        })?;
        if let Some(Written { record, large, renewed, fell_back }) = written {
            store.wait(joined)?;
            return Ok(Picked { record, state, large, renewed, fell_back });
        }
        if begins {
            first.put_back(state);
        }
    }
}

/// A run before it is picked up, with its state as the type that was asked for.
struct Found<S> {
    state: S,
    origin: Origin,
}

/// Where a run goes on from.
enum Origin {
    Stored { record: RunRecord, stored: Stored, migrated: Option<Payload> },
    FallsBack { rescue: Rescue, migrated: Option<Payload> },
    Begins { rescue: Option<Rescue>, state: Payload },
}

/// A run as it was written when it was picked up.
struct Written {
    record: RunRecord,
    large: Option<Arc<Chunked>>,
    renewed: Option<Renewed>,
    fell_back: Option<FellBack>,
}

impl<S> Found<S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    fn of(
        view: &View<'_>,
        name: &RunName,
        row: Option<&[u8]>,
        on_damage: OnDamage,
        migrations: &Migrations,
        first: &mut First<'_, S>,
    ) -> Result<Self> {
        let read = |schema, stored: &Payload| {
            schema_of(view, schema)
                .and_then(|schema| read_as::<S>(&schema, stored, migrations))
                .map_err(|error| error.context(format!("the state of the run \"{name}\"")))
        };
        if let Some(row) = row {
            let record = view.parse::<RunRecord>(&run_key(name), row)?;
            let stored = state::read(view, record.state.clone(), name)?;
            let (state, migrated) = read(record.schema, &stored.whole())?;
            return Ok(Self { state, origin: Origin::Stored { record, stored, migrated } });
        }
        refuse_gone(view, name)?;
        let rescue = rescue(view, name, on_damage)?;
        if let Some(rescue) = rescue {
            if let Some((record, bytes)) = &rescue.from {
                let stored = Payload::from_parts(record.codec, bytes.clone());
                let (state, migrated) = read(record.schema, &stored)?;
                return Ok(Self { state, origin: Origin::FallsBack { rescue, migrated } });
            }
            return Self::begin(view, first.take(name)?, Some(rescue));
        }
        Self::begin(view, first.take(name)?, None)
    }

    fn begin(view: &View<'_>, new: S, rescue: Option<Rescue>) -> Result<Self> {
        let state = write_valid(view, &new)?.bytes;
        Ok(Self { state: new, origin: Origin::Begins { rescue, state } })
    }
}

impl Origin {
    /// Plans it; `None` if the run would now go on from elsewhere.
    fn write(
        self,
        plan: &mut Plan<'_>,
        name: &RunName,
        on_damage: OnDamage,
        known: &Known,
    ) -> Result<Option<Written>> {
        let (mut record, stored, migrated, fell_back) = match self {
            Self::Stored { record, stored, migrated } => (record, stored, migrated, None),
            Self::FallsBack { rescue, migrated } => {
                let Some(rescue) = still(plan, name, on_damage, &rescue)? else { return Ok(None) };
                let (fell_back, record) = rescue.carry_out(plan, name)?;
                let Some(record) = record else { return Ok(None) };
                let stored = state::read(plan, record.state.clone(), name)?;
                (record, stored, migrated, Some(fell_back))
            }
            Self::Begins { rescue, state } => {
                let mut fell_back = None;
                if let Some(rescue) = &rescue {
                    let Some(rescue) = still(plan, name, on_damage, rescue)? else {
                        return Ok(None);
                    };
                    fell_back = Some(rescue.carry_out(plan, name)?.0);
                }
                return begin(plan, name, state, known, fell_back).map(Some);
            }
        };
        let schema = schema_for(plan, known)?;
        if record.epoch != plan.epoch() && plan.ended_unclean(record.epoch)? {
            record.recovery_attempts = record.recovery_attempts.saturating_add(1);
        }
        record.epoch = plan.epoch();
        record.state = stored.row;
        plan.put(&run_key(name), &record)?;
        let renewed = migrated.map(|state| Renewed { schema, state });
        Ok(Some(Written { record, large: stored.large, renewed, fell_back }))
    }
}

/// What was found before the call joined, if it is still what is to be done.
fn still(
    plan: &Plan<'_>,
    name: &RunName,
    on_damage: OnDamage,
    found: &Rescue,
) -> Result<Option<Rescue>> {
    Ok(rescue(plan, name, on_damage)?.filter(|now| now.is_same(found)))
}

fn begin(
    plan: &mut Plan<'_>,
    name: &RunName,
    state: Payload,
    known: &Known,
    fell_back: Option<FellBack>,
) -> Result<Written> {
    let schema = schema_for(plan, known)?;
    let stored = state::write(plan, None, state)?;
    let record = RunRecord {
        position: Position::Start,
        steps: 0,
        schema,
        state: stored.row,
        epoch: plan.epoch(),
        recovery_attempts: 0,
        created: plan.now(),
        changed: plan.now(),
    };
    plan.put(&run_key(name), &record)?;
    Ok(Written { record, large: stored.large, renewed: None, fell_back })
}
