//! The highest numbers that a store has given out, as far as its rows show: what goes on behind them
//! gives none out twice, whatever its head says, or if there is none.

use crate::ledger::{
    AuditRecord, IntentRecord, KeyRecord, KeyState, QuarantineRecord, RowRecord, RunRecord,
    end_of_key, intent_of_key, place_of_id_key, sequence_of_key,
};
use crate::seq::{CommitSeq, Epoch};
use crate::store::{Highest, Inspection, META_UNCLEAN, Read, Table, Unclean};

pub(super) fn highest_of(inspection: &Inspection) -> Highest {
    let mut highest = Highest::default();
    if let Some(rows) = inspection.rows() {
        for table in Table::ALL {
            // What cannot be reached was told by the verification.
            let _ = inspection.walk(table, |key, row| take_in(&mut highest, rows, table, key, row));
        }
    }
    highest
}

/// A key shows its number also where the row under it is damaged.
fn take_in(highest: &mut Highest, rows: &impl Read, table: Table, key: &[u8], row: &[u8]) {
    let number_at = |at: usize| {
        let number = key.get(at..)?.try_into().ok()?;
        Some(u64::from_be_bytes(number))
    };
    let (mut id, mut epoch) = (None, None);
    match table {
        Table::Meta => {
            id = end_of_key(key).map(|(number, _)| number);
            if key.starts_with(META_UNCLEAN) {
                epoch = number_at(META_UNCLEAN.len()).map(Epoch::new);
                if let Ok(crash) = rows.parse::<Unclean>(key, row) {
                    highest.saw_commit(crash.last);
                }
            }
        }
        Table::Runs => epoch = rows.parse::<RunRecord>(key, row).ok().map(|run| run.epoch),
        Table::Keys => {
            if let Ok(record) = rows.parse::<KeyRecord>(key, row) {
                epoch = Some(record.epoch);
                if let KeyState::Lost { quarantine } = record.state {
                    id = Some(quarantine);
                }
            }
        }
        Table::Expiry => {
            if let Some(seq) = number_at(8) {
                highest.saw_commit(CommitSeq::new(seq));
            }
        }
        Table::Intents => {
            id = intent_of_key(key).map(|intent| intent.sequence());
            epoch = rows.parse::<IntentRecord>(key, row).ok().map(|intent| intent.epoch);
        }
        Table::Quarantine => {
            id = number_at(0);
            epoch = rows.parse::<QuarantineRecord>(key, row).ok().map(|record| record.epoch);
        }
        Table::Rows => {
            if let Ok(RowRecord::Lost { quarantine }) = rows.parse(key, row) {
                id = Some(quarantine);
            }
        }
        Table::Audit => {
            id = number_at(0);
            epoch = rows.parse::<AuditRecord>(key, row).ok().map(|audit| audit.epoch);
        }
        Table::Checkpoints => {
            let place =
                sequence_of_key(key).or_else(|| place_of_id_key(key).map(|(_, place)| place));
            id = place.map(|place| place.sequence);
        }
        Table::Schemas | Table::Contents => {}
    }
    if let Some(id) = id {
        highest.saw_id(id);
    }
    if let Some(epoch) = epoch {
        highest.saw_epoch(epoch);
    }
}
