//! What takes the place of a record in quarantine, so that nothing is mistaken for new: a damaged key
//! counts as seen, a damaged intent is in doubt, a damaged row of the user's own is an error, the number
//! of a damaged schema and the name of a run that is gone stay taken, nobody says what became of the commits before a damaged crash, and a
//! store that was to be reconciled still is.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Fingerprint;
use crate::ledger::{
    IntentRecord, KeyRecord, KeyState, RowRecord, RunEnd, SchemaRecord, Stage, intent_key,
    intent_of_key, is_run_gone,
};
use crate::store::{
    Inspection, META_UNCLEAN, META_UNRECONCILED, Read, Table, Unclean, Unreconciled,
};

/// A record that stands in for one in quarantine.
pub(super) enum StandIn {
    Key(KeyRecord),
    Intent(Box<IntentRecord>),
    Row(RowRecord),
    Schema(SchemaRecord),
    Crash(Unclean),
    RunEnd(RunEnd),
    Unreconciled(Unreconciled),
}

/// Where the stand-in of a row goes: a key among the settled ones, an intent among the outstanding.
pub(super) fn stand_in_place(table: Table, key: &[u8]) -> Vec<u8> {
    match table {
        Table::Keys => {
            let mut place = key.to_vec();
            if let Some(settled) = place.first_mut() {
                *settled = 1;
            }
            place
        }
        Table::Intents => {
            intent_of_key(key).map_or_else(|| key.to_vec(), |id| intent_key(&id, false))
        }
        _ => key.to_vec(),
    }
}

/// The stand-in for the row that went to quarantine under `number`; none for tables in which a
/// missing row is an error by itself.
pub(super) fn stand_in(
    inspection: &Inspection,
    table: Table,
    key: &[u8],
    number: u64,
    now: Timestamp,
) -> Option<StandIn> {
    let epoch = inspection.epoch();
    match table {
        Table::Keys => Some(StandIn::Key(KeyRecord {
            state: KeyState::Lost { quarantine: number },
            request: None,
            epoch,
            changed: now,
            ttl_ms: None,
            deadline: None,
        })),
        Table::Intents => {
            let external_id = inspection.external_id(&intent_of_key(key)?)?;
            Some(StandIn::Intent(Box::new(IntentRecord {
                stage: Stage::InDoubt {
                    why: format!("its record was damaged: number {number} in quarantine"),
                },
                payload: None,
                external_id,
                fingerprint: Fingerprint::of_bytes(&[]),
                run: None,
                epoch,
                created: now,
                changed: now,
                attempts: 0,
                probed: 0,
            })))
        }
        Table::Rows => Some(StandIn::Row(RowRecord::Lost { quarantine: number })),
        Table::Schemas if key.len() == 4 => Some(StandIn::Schema(SchemaRecord::lost(now))),
        Table::Meta if key.starts_with(META_UNCLEAN) => Some(StandIn::Crash(Unclean::LOST)),
        Table::Meta if is_run_gone(key) => {
            Some(StandIn::RunEnd(RunEnd { number: 0, at: now, name_stays: true }))
        }
        Table::Meta if key == META_UNRECONCILED => {
            Some(StandIn::Unreconciled(Unreconciled::lost()))
        }
        _ => None,
    }
}

/// Whether the row at this place is nothing but the stand-in for `number`.
pub(super) fn is_stand_in(
    rows: &impl Read,
    table: Table,
    place: &[u8],
    number: u64,
) -> Result<bool> {
    Ok(match table {
        Table::Keys => rows.record::<KeyRecord>(place)?.is_some_and(
            |record| matches!(record.state, KeyState::Lost { quarantine } if quarantine == number),
        ),
        Table::Rows => rows.record::<RowRecord>(place)?.is_some_and(
            |row| matches!(row, RowRecord::Lost { quarantine } if quarantine == number),
        ),
        Table::Intents => rows.record::<IntentRecord>(place)?.is_some_and(|record| {
            record.payload.is_none() && matches!(record.stage, Stage::InDoubt { .. })
        }),
        Table::Schemas => {
            rows.record::<SchemaRecord>(place)?.is_some_and(|schema| schema.is_lost())
        }
        Table::Meta if place.starts_with(META_UNCLEAN) => {
            rows.record::<Unclean>(place)?.is_some_and(|crash| crash == Unclean::LOST)
        }
        Table::Meta if place == META_UNRECONCILED => {
            rows.record::<Unreconciled>(place)?.is_some_and(|why| why == Unreconciled::lost())
        }
        _ => false,
    })
}
