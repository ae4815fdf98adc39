//! Savepoints: a checkpoint as it is carried from store to store, and how one is brought in.
//!
//! What came after a savepoint is not in it. So a run that is set to one may have sent effects that it
//! does not know: unless that can be ruled out, the store begins another life with the same commit, and
//! sends nothing before it was reconciled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::history::{Moment, newest, record_at, save};
use super::labels::Labels;
use super::on_damage::refuse_quarantined;
use super::reconcile::{has_emitted_since, set_back};
use super::remove::forget_end;
use super::retain::sweep;
use super::schema::{Known, schema_for, schema_of};
use super::state::{self, Stored};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, RunName, StoreId};
use crate::ledger::{
    CheckpointContent, CheckpointRecord, CheckpointRow, Form, Place, RunRecord, run_key,
};
use crate::position::Position;
use crate::record::{CODEC_BINCODE, CODEC_JSON, Payload};
use crate::seq::{COUNT_MAX, Epoch, Incarnation};
use crate::store::{HoldKind, Plan, Read, Store};

/// A checkpoint that stands by itself.
pub(crate) struct Savepoint {
    pub(crate) about: About,
    /// The state, as it is encoded.
    pub(crate) state: Vec<u8>,
}

/// All of a savepoint but its state: the head of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) id: CheckpointId,
    pub(crate) run: RunName,
    pub(crate) position: Position,
    pub(crate) steps: u64,
    /// The name of the state's type, and its version.
    pub(crate) schema: String,
    pub(crate) version: u32,
    pub(crate) form: Form,
    pub(crate) codec: u8,
    /// Labels that are part of the id.
    pub(crate) identifying: BTreeMap<String, String>,
    /// Labels that are not.
    pub(crate) labels: BTreeMap<String, String>,
    /// When the checkpoint was saved.
    pub(crate) at: Timestamp,
    pub(crate) automatic: bool,
    /// Which store it was exported from, in which of its lives and openings.
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: Epoch,
    /// The checkpoint's number in that store. Intents are numbered by the same count: those above it
    /// were emitted later.
    pub(crate) number: u64,
}

impl About {
    /// The id of a checkpoint that holds this and `state`.
    pub(crate) fn id_of(&self, state: &[u8]) -> CheckpointId {
        let content = CheckpointContent {
            schema: &self.schema,
            version: self.version,
            position: &self.position,
            labels: &self.identifying,
            codec: self.codec,
        };
        content.id([state])
    }

    fn labels(&self) -> Labels {
        Labels { identifying: self.identifying.clone(), beside: self.labels.clone() }
    }
}

impl Savepoint {
    /// Refuses what no store has written, whatever checksums say.
    ///
    /// # Errors
    /// `Damaged`; `TooNew` for a codec that this program does not know.
    pub(crate) fn check(&self) -> Result<()> {
        let about = &self.about;
        let damaged = |what: &str| Err(Error::damaged(format!("{what}. Nothing was changed")));
        let is_known = match (&about.form, about.codec) {
            (Form::Json, codec) => codec == CODEC_JSON,
            (Form::Lost, _) => false,
            (Form::Shape { fingerprint, shape }, codec) => {
                codec == CODEC_BINCODE && shape.is_whole() && *fingerprint == shape.fingerprint()
            }
        };
        if !matches!(about.codec, CODEC_BINCODE | CODEC_JSON) {
            return Err(Error::new(
                ErrorKind::TooNew,
                format!("its state is in codec {}: upgrade this program", about.codec),
            ));
        }
        if !is_known {
            return damaged("its state is not in the form that its schema says");
        }
        if about.schema.is_empty() || about.steps >= COUNT_MAX || about.number >= COUNT_MAX {
            return damaged("it has a schema without a name, or numbers that no store reaches");
        }
        if about.labels().check().is_err() {
            return damaged("it has labels that no checkpoint can have");
        }
        if about.id_of(&self.state) != about.id {
            return damaged("it does not hold what its id says");
        }
        Ok(())
    }
}

/// How a savepoint is to be brought in.
pub(crate) struct Import<'a> {
    pub(crate) savepoint: &'a Savepoint,
    /// Under which name.
    pub(crate) run: RunName,
    /// Whether it may take the place of a run that is there.
    pub(crate) replace: bool,
    /// Whether it was edited by hand.
    pub(crate) edited: bool,
}

/// What became of it.
pub(crate) enum Imported {
    /// The run is in that state already: nothing was written.
    Same,
    /// It is now.
    Set {
        /// The checkpoint in which the state before is kept.
        kept: Option<CheckpointId>,
        /// Whether the store has to be reconciled.
        unreconciled: bool,
    },
}

impl Import<'_> {
    /// Sets the run to the savepoint, and keeps that among its checkpoints. When it returns, all of it
    /// is durable.
    ///
    /// # Errors
    /// `Conflict` if the run is open in this process, or is there and must not be replaced;
    /// `SchemaMismatch` if the store has the type in another shape; `LimitExceeded`; `Damaged` if the
    /// run is, or is in quarantine; and those of a commit.
    pub(crate) fn commit(&self, store: &Store) -> Result<Imported> {
        let name = self.run.as_str().as_bytes();
        let _hold = store.hold(HoldKind::Run, name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("the run \"{}\" is open in this process: drop that handle first", self.run),
            )
        })?;
        let retention = store.retention();
        store.commit(|plan| {
            let imported = self.plan(plan)?;
            if matches!(imported, Imported::Set { .. }) {
                sweep(plan, &self.run, retention)?;
            }
            Ok(imported)
        })
    }

    fn plan(&self, plan: &mut Plan<'_>) -> Result<Imported> {
        let about = &self.savepoint.about;
        plan.check_value(self.savepoint.state.len())?;
        let present = plan.record::<RunRecord>(&run_key(&self.run))?;
        let before = match &present {
            None => {
                refuse_quarantined(plan, &self.run)?;
                None
            }
            Some(record) => {
                let stored = state::read(plan, record.state.clone(), &self.run)?;
                if self.is_in(plan, record, &stored)? {
                    return Ok(Imported::Same);
                }
                Some((record, stored))
            }
        };
        if let (Some((record, _)), false) = (&before, self.replace) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "there is a run \"{}\" already, at {} after {} steps, and this savepoint is of \
                     {} after {} steps: import it under another name; or replace the run, whose \
                     state is kept as a checkpoint then. Nothing was changed",
                    self.run, record.position, record.steps, about.position, about.steps
                ),
            ));
        }
        let why = self.why_unreconciled(plan, present.is_some())?;
        let kept = before.as_ref().map(|(record, stored)| self.keep(plan, record, stored));
        let kept = kept.transpose()?;
        let large = before.and_then(|(_, stored)| stored.large);
        let known = Known::from_parts(&about.schema, about.version, about.form.clone());
        let schema = schema_for(plan, &known)?;
        let state = Payload::from_parts(about.codec, self.savepoint.state.clone());
        let stored = state::write(plan, large.as_ref(), state)?;
        let record = RunRecord {
            position: about.position.clone(),
            steps: about.steps,
            schema,
            state: stored.row.clone(),
            epoch: plan.epoch(),
            recovery_attempts: 0,
            created: present.map_or_else(|| plan.now(), |record| record.created),
            changed: plan.now(),
        };
        plan.put(&run_key(&self.run), &record)?;
        forget_end(plan, &self.run)?;
        let moment = Moment {
            run: &self.run,
            schema,
            position: &about.position,
            steps: about.steps,
            labels: &about.labels(),
            automatic: about.automatic,
            // Another clock than this store's may have been ahead.
            at: Some(about.at.min(plan.now())),
            number: None,
        };
        save(plan, &moment, &stored)?;
        let unreconciled = why.is_some();
        if let Some(why) = why {
            set_back(plan, why)?;
        }
        Ok(Imported::Set { kept, unreconciled })
    }

    /// Whether the run is in this very state.
    fn is_in(&self, rows: &impl Read, record: &RunRecord, stored: &Stored) -> Result<bool> {
        let about = &self.savepoint.about;
        let whole = stored.whole();
        if (record.steps, &record.position) != (about.steps, &about.position)
            || (whole.codec(), whole.bytes()) != (about.codec, self.savepoint.state.as_slice())
        {
            return Ok(false);
        }
        let schema = schema_of(rows, record.schema)?;
        Ok((&schema.name, schema.version) == (&about.schema, about.version))
    }

    /// Keeps the state that is about to go as a pinned checkpoint.
    fn keep(
        &self,
        plan: &mut Plan<'_>,
        record: &RunRecord,
        stored: &Stored,
    ) -> Result<CheckpointId> {
        let why = format!("replaced by the savepoint {}", self.savepoint.about.id);
        let moment = Moment {
            run: &self.run,
            schema: record.schema,
            position: &record.position,
            steps: record.steps,
            labels: &Labels::new().with("kept", why),
            automatic: true,
            at: None,
            number: None,
        };
        let id = save(plan, &moment, stored)?;
        if let Some((place, record)) = newest(plan, &self.run)?.filter(|(_, kept)| !kept.pinned) {
            let pinned = CheckpointRecord { pinned: true, ..record };
            plan.put_aside(&place.key(), &CheckpointRow::Checkpoint(Box::new(pinned)))?;
        }
        Ok(id)
    }

    /// Why effects may have been sent that the state of the savepoint does not know; `None` if none
    /// were.
    fn why_unreconciled(&self, plan: &Plan<'_>, replaces: bool) -> Result<Option<String>> {
        let about = &self.savepoint.about;
        let place = Place { run: about.run.clone(), sequence: about.number };
        let why = if self.edited {
            "it was edited by hand".to_owned()
        } else if (about.store, about.incarnation) != (plan.store(), plan.incarnation()) {
            format!(
                "it comes from the store {} in its life {}, which may have gone on",
                about.store, about.incarnation
            )
        } else if replaces && self.run != about.run {
            "it took the place of a run that was another one".to_owned()
        } else if record_at(plan, &place)?.is_none_or(|record| record.id != about.id) {
            "this store no longer has the checkpoint it was made of".to_owned()
        } else if has_emitted_since(plan, &about.run, about.number)? {
            "that run has emitted effects since".to_owned()
        } else {
            return Ok(None);
        };
        Ok(Some(format!(
            "a savepoint of the run \"{}\" at {} after {} steps was imported as the run \"{}\", and \
             {why}",
            about.run, about.position, about.steps, self.run
        )))
    }
}
