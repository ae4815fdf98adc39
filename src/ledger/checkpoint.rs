//! Checkpoints: a run's state at a position, immutable, named by the hash of its content.
//!
//! Three kinds of rows stand in the table: the checkpoints of each run in their order, an index from
//! ids to them, and for each run with checkpoints how many it has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{CheckpointId, RunName};
use crate::position::Position;
use crate::record::{Bytes, Packed, encode, named, unnamed};
use crate::store::{Record, Table};

/// One checkpoint. Its number in the store, by which a run's stand in order, is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointRecord {
    pub(crate) id: CheckpointId,
    /// Which schema the state was written under.
    pub(crate) schema: u32,
    pub(crate) position: Position,
    /// How many steps the run had made.
    pub(crate) steps: u64,
    /// Labels that are part of the id.
    pub(crate) identifying: BTreeMap<String, String>,
    /// Labels that are not.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) at: Timestamp,
    pub(crate) automatic: bool,
    pub(crate) pinned: bool,
    /// The codec of the state.
    pub(crate) codec: u8,
    /// How many bytes the state has.
    pub(crate) len: u64,
    pub(crate) state: Kept,
}

/// Where the bytes of a checkpoint's state are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kept {
    /// Here.
    Whole(Packed),
    /// Here is what differs from the state of the checkpoint before it in this run.
    Changed {
        /// The number of that one.
        from: u64,
        /// How many checkpoints have to be read before this one.
        depth: u8,
        by: Packed,
    },
    /// In `contents`: the bytes of a list of chunks.
    Chunks(Bytes),
}

impl Kept {
    /// How many bytes are kept in the row.
    pub(crate) fn stored(&self) -> usize {
        match self {
            Self::Whole(packed) | Self::Changed { by: packed, .. } => packed.stored(),
            Self::Chunks(list) => list.0.len(),
        }
    }
}

/// How many checkpoints a run has, and the size of their states together. There is none for a run
/// without checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct HistoryRecord {
    pub(crate) count: u64,
    /// Before chunks, differences and compression, in bytes.
    pub(crate) logical_bytes: u64,
}

/// A row of `checkpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Row {
    History(HistoryRecord),
    Checkpoint(Box<CheckpointRecord>),
    /// A line of the index: its key says it all.
    Id,
}

impl Record for Row {
    const TABLE: Table = Table::Checkpoints;
}

/// What the id of a checkpoint is the hash of, beside the bytes of the state.
#[derive(Serialize)]
pub(crate) struct CheckpointContent<'a> {
    pub(crate) schema: &'a str,
    pub(crate) version: u32,
    pub(crate) position: &'a Position,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) codec: u8,
}

impl CheckpointContent<'_> {
    /// The id of a checkpoint that holds this and a state, whose bytes come in pieces.
    pub(crate) fn id<'s>(&self, state: impl IntoIterator<Item = &'s [u8]>) -> CheckpointId {
        let content = encode(self)
            .expect("it has no map of unknown length and no field that is skipped, so it encodes");
        let mut hasher = blake3::Hasher::new_derive_key("milepost checkpoint 1");
        hasher.update(&(content.len() as u64).to_le_bytes()).update(&content);
        for piece in state {
            hasher.update(piece);
        }
        CheckpointId::from_bytes(*hasher.finalize().as_bytes())
    }
}

const HISTORY: &[u8] = &[0];
const CHECKPOINT: &[u8] = &[1];
const ID: &[u8] = &[2];

/// Which run, and which number: where a checkpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) run: RunName,
    pub(crate) sequence: u64,
}

impl Place {
    pub(crate) fn key(&self) -> Vec<u8> {
        checkpoint_key(&self.run, self.sequence)
    }
}

pub(crate) fn history_key(run: &RunName) -> Vec<u8> {
    named(HISTORY, run.as_str(), &[])
}

/// The prefix of the keys of all histories.
pub(crate) fn histories() -> &'static [u8] {
    HISTORY
}

pub(crate) fn run_of_history_key(key: &[u8]) -> Option<RunName> {
    let (run, rest) = key.starts_with(HISTORY).then(|| unnamed(key, 1))??;
    rest.is_empty().then(|| RunName::new(run).ok())?
}

/// The prefix of the keys of a run's checkpoints.
pub(crate) fn checkpoints_of(run: &RunName) -> Vec<u8> {
    named(CHECKPOINT, run.as_str(), &[])
}

pub(crate) fn checkpoint_key(run: &RunName, sequence: u64) -> Vec<u8> {
    named(CHECKPOINT, run.as_str(), &sequence.to_be_bytes())
}

/// Where the checkpoint under this key stands.
pub(crate) fn sequence_of_key(key: &[u8]) -> Option<Place> {
    let (run, rest) = key.starts_with(CHECKPOINT).then(|| unnamed(key, 1))??;
    Some(Place {
        run: RunName::new(run).ok()?,
        sequence: u64::from_be_bytes(rest.try_into().ok()?),
    })
}

pub(crate) fn id_key(id: &CheckpointId, place: &Place) -> Vec<u8> {
    let rest = place.key();
    [ID, id.as_bytes(), rest.split_at(1).1].concat()
}

/// The prefix of the keys of all ids that begin with these bytes.
pub(crate) fn ids_from(first: &[u8]) -> Vec<u8> {
    [ID, first].concat()
}

/// The id and the place that a line of the index names.
pub(crate) fn place_of_id_key(key: &[u8]) -> Option<(CheckpointId, Place)> {
    let (id, rest) = key.strip_prefix(ID)?.split_first_chunk::<32>()?;
    Some((CheckpointId::from_bytes(*id), sequence_of_key(&[CHECKPOINT, rest].concat())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_hash_it_always_was() {
        let labels = BTreeMap::from([("config".to_owned(), "9f3".to_owned())]);
        let content = CheckpointContent {
            schema: "momentum",
            version: 2,
            position: &Position::Index(300),
            labels: &labels,
            codec: 1,
        };
        assert_eq!(content.id([b"state".as_slice()]).to_string(), GOLDEN_ID);
        assert_ne!(content.id([b"other".as_slice()]), content.id([b"state".as_slice()]));
        assert_ne!(
            CheckpointContent { version: 3, ..content }.id([b"state".as_slice()]).to_string(),
            GOLDEN_ID
        );
    }

    const GOLDEN_ID: &str = "43253df47240ad6997714031af0aa30712e1cd203b25fab777428187fcf184ea";

    #[test]
    fn keys_say_which_checkpoint_and_stand_in_the_order_of_numbers() {
        let place = Place { run: RunName::new("btc").unwrap(), sequence: 258 };
        let id = CheckpointId::from_bytes([7; 32]);
        assert_eq!(sequence_of_key(&place.key()), Some(place.clone()));
        assert_eq!(place_of_id_key(&id_key(&id, &place)), Some((id, place.clone())));
        assert_eq!(run_of_history_key(&history_key(&place.run)), Some(place.run.clone()));
        assert!(checkpoint_key(&place.run, 255) < checkpoint_key(&place.run, 256));
        assert_eq!(sequence_of_key(&history_key(&place.run)), None);
    }
}
