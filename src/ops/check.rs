//! What a row must be, table by table: its frame, its layout, and that it stands where it belongs.

use crate::error::{ErrorKind, Result};
use crate::ledger::{
    AuditRecord, CheckpointRow, ChunkList, ContentRecord, ExpiryRecord, IntentRecord, Kept,
    KeyRecord, KeyState, OPEN_CLAIMS, OUTSTANDING, QuarantineRecord, RowRecord, RunRecord,
    SchemaRecord, chunk_of_key, count_of_key, expiry_due, expiry_tick, intent_of_key,
    place_of_id_key, run_of_history_key, sequence_of_key,
};
use crate::record::is_framed;
use crate::step::{chunk_bytes, chunks_of, proven_state};
use crate::store::{Read, Sum, Table, frame_of, list_of};

/// Why this program cannot vouch for a row.
pub(super) enum Fault {
    /// It is not what the store wrote.
    Damaged(String),
    /// A newer program wrote it: whether it is whole, only that one can tell.
    Newer(String),
}

/// What is wrong with a row; `None` if it is what the store wrote.
pub(super) fn fault_of(rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) -> Option<Fault> {
    match check(rows, table, key, bytes) {
        Ok(fault) => fault.map(Fault::Damaged),
        Err(error) if error.kind() == ErrorKind::TooNew => Some(Fault::Newer(format!("{error:#}"))),
        Err(error) => Some(Fault::Damaged(format!("{error:#}"))),
    }
}

/// Whether a damaged row never was one of this table: it is intact as a row of another one, or has
/// neither the beginning nor the length of any row, nor a key that only rows of this table have.
pub(super) fn is_stranger(table: Table, key: &[u8], bytes: &[u8]) -> bool {
    let mut others = Table::ALL.into_iter().filter(|other| *other != table);
    let is_row = is_framed(bytes) || has_own_key(table, key);
    !is_row || others.any(|other| frame_of(other, key, bytes, usize::MAX).is_ok())
}

/// Whether no row of another table, of redb's own ones either, has a key like this. Names alone say
/// nothing: redb's tables have names too.
fn has_own_key(table: Table, key: &[u8]) -> bool {
    match table {
        Table::Checkpoints => {
            run_of_history_key(key).is_some()
                || place_of_id_key(key).is_some()
                || sequence_of_key(key).is_some()
        }
        Table::Contents => chunk_of_key(key).is_some() || count_of_key(key).is_some(),
        Table::Intents => intent_of_key(key).is_some(),
        _ => false,
    }
}

fn check(rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) -> Result<Option<String>> {
    let misplaced = |is: bool, what: &str| is.then(|| format!("it {what}"));
    Ok(match table {
        Table::Meta => {
            // Their layouts are checked where they are read: when the store is opened.
            frame_of(table, key, bytes, rows.value_limit())?;
            None
        }
        Table::Schemas => {
            rows.parse::<SchemaRecord>(key, bytes)?;
            misplaced(key.len() != 4, "has no schema's number")
        }
        Table::Runs => {
            let run = rows.parse::<RunRecord>(key, bytes)?;
            let schema = rows.get(Table::Schemas, &run.schema.to_be_bytes())?;
            let wrong = run.state.is_chunked() && chunks_of(&run.state).is_none();
            misplaced(schema.is_none(), "was written under a schema that is missing")
                .or(misplaced(wrong, "has a list of chunks that is none"))
        }
        Table::Checkpoints => {
            let wrong = match rows.parse::<CheckpointRow>(key, bytes)? {
                CheckpointRow::History(_) => run_of_history_key(key).is_none(),
                CheckpointRow::Id => place_of_id_key(key).is_none(),
                CheckpointRow::Checkpoint(record) => {
                    let Some(place) = sequence_of_key(key) else {
                        return Ok(misplaced(true, "has no checkpoint's number"));
                    };
                    match &record.state {
                        // The chunks are held against their own names.
                        Kept::Chunks(list) => ChunkList::from_bytes(&list.0).is_none(),
                        Kept::Whole(_) | Kept::Changed { .. } => {
                            proven_state(rows, &place, &record)?;
                            false
                        }
                    }
                }
            };
            misplaced(wrong, "is not what its key says")
        }
        Table::Contents => {
            let wrong = match rows.parse::<ContentRecord>(key, bytes)? {
                ContentRecord::Count(count) => count < 2 || count_of_key(key).is_none(),
                ContentRecord::Chunk(packed) => {
                    chunk_of_key(key).and_then(|id| chunk_bytes(&packed, id)).is_none()
                }
            };
            misplaced(wrong, "is not what its key says")
        }
        Table::Keys => {
            let record = rows.parse::<KeyRecord>(key, bytes)?;
            let open = matches!(record.state, KeyState::InFlight | KeyState::InDoubt { .. });
            misplaced(open != key.starts_with(OPEN_CLAIMS), "stands among the wrong keys")
        }
        Table::Expiry => {
            let cut = list_of::<ExpiryRecord>(key, bytes)?.any(|key| key.is_none());
            misplaced(cut || expiry_due(key).is_none(), "is cut short")
        }
        Table::Intents => {
            let record = rows.parse::<IntentRecord>(key, bytes)?;
            let settled = !key.starts_with(OUTSTANDING);
            let wrong = record.stage.is_settled() != settled || intent_of_key(key).is_none();
            misplaced(wrong, "stands among the wrong intents")
        }
        Table::Quarantine => {
            rows.parse::<QuarantineRecord>(key, bytes)?;
            misplaced(key.len() != 8, "has no number")
        }
        Table::Rows => {
            rows.parse::<RowRecord>(key, bytes)?;
            None
        }
        Table::Audit => {
            rows.parse::<AuditRecord>(key, bytes)?;
            None
        }
    })
}

/// Both sides of the expiry index, as order-free sums: what the keys say, and what the index lists.
#[derive(Default)]
pub(super) struct ExpiryIndex {
    keys: Sum,
    listed: Sum,
}

impl ExpiryIndex {
    /// Takes in a row that was found to be sound.
    pub(super) fn take_in(&mut self, rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) {
        match table {
            Table::Keys => {
                let record = rows.parse::<KeyRecord>(key, bytes).ok();
                if let Some(deadline) = record.and_then(|record| record.deadline) {
                    let tick = expiry_tick(deadline).as_ms().to_be_bytes();
                    self.keys.add(Table::Expiry, key, &tick);
                }
            }
            Table::Expiry => {
                let Ok(keys) = list_of::<ExpiryRecord>(key, bytes) else { return };
                let tick = key.get(..8).unwrap_or_default();
                for listed in keys.flatten() {
                    self.listed.add(Table::Expiry, &listed, tick);
                }
            }
            _ => {}
        }
    }

    /// What is wrong with the index; `None` if it lists exactly the keys that expire.
    pub(super) fn fault(&self) -> Option<String> {
        (self.keys != self.listed).then(|| {
            format!(
                "{} keys expire, and the expiry index lists {} which are not all the same",
                self.keys.count, self.listed.count
            )
        })
    }
}
