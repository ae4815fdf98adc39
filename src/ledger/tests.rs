//! Golden files: the bytes of every record of the ledger, fixed for good. A difference means that
//! stores in the field would be misread: raise the record's `VERSION` and read both.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::id::{CheckpointId, ExternalId, Fingerprint, IntentId, StoreId, TopicName};
use crate::id::{RunName, Scope};
use crate::position::Position;
use crate::record::{
    Bytes, Chunk, ChunkId, Header, KeyList, Packed, Payload, Typed, decode, encode, open_frame,
    seal,
};
use crate::seq::{CommitSeq, Epoch, Incarnation};
use crate::store::Record;

/// Compares with `tests/golden/<name>.hex`; writes it when `MILEPOST_BLESS` is set, which is for a
/// *new* record only.
fn golden<T: Record + PartialEq + std::fmt::Debug>(name: &str, key: &[u8], record: &T) {
    let row = seal(T::TABLE.id(), key, Header::own(T::VERSION), &encode(record).unwrap());
    let mut text = format!("key {}\nrow ", hex(key));
    text.push_str(&hex(&row));
    text.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.hex"));
    if std::env::var_os("MILEPOST_BLESS").is_some() && !path.exists() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(text, kept, "{name} is no longer written as it was");
    let frame = open_frame(T::TABLE.id(), key, &row, 1 << 20).unwrap();
    assert_eq!(&decode::<T>(frame.payload).unwrap(), record);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn run() -> RunName {
    RunName::new("btc-5m").unwrap()
}

fn intent() -> IntentId {
    IntentId::new(TopicName::new("orders").unwrap(), 300)
}

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "only its shape is asked for")]
struct Book {
    cash: i64,
    positions: std::collections::BTreeMap<String, Vec<Option<(u32, f64)>>>,
    side: Side,
}

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "only its shape is asked for")]
enum Side {
    None,
    Long { size: u64, of: Option<Box<Book>> },
}

impl Versioned for Book {
    const NAME: &'static str = "book";
    const VERSION: u32 = 3;
}

fn checkpoint(state: Kept) -> CheckpointRecord {
    let label = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    CheckpointRecord {
        id: CheckpointId::from_bytes([7; 32]),
        schema: 3,
        position: Position::Index(300),
        steps: 301,
        identifying: label("config", "9f3"),
        labels: label("why", "upgrade"),
        at: at(1_767_225_600_000),
        automatic: true,
        pinned: false,
        codec: 1,
        len: 9,
        state,
    }
}

#[test]
fn every_record_of_a_checkpoint_is_written_as_it_always_was() {
    golden(
        "checkpoint-whole",
        &checkpoint_key(&run(), 258),
        &CheckpointRow::Checkpoint(Box::new(checkpoint(Kept::Whole(Packed::of(b"the state"))))),
    );
    let by = Packed::Lz4 { len: 9, block: Bytes(vec![1, 2, 3]) };
    golden(
        "checkpoint-changed",
        &checkpoint_key(&run(), 259),
        &CheckpointRow::Checkpoint(Box::new(checkpoint(Kept::Changed { from: 258, depth: 1, by }))),
    );
    let id = ChunkId::of(b"the chunk");
    let list = ChunkList { codec: 1, chunks: vec![Chunk { id, len: 9 }] };
    golden(
        "checkpoint-chunks",
        &checkpoint_key(&run(), 260),
        &CheckpointRow::Checkpoint(Box::new(checkpoint(Kept::Chunks(Bytes(list.to_bytes()))))),
    );
    let place = Place { run: run(), sequence: 258 };
    golden(
        "checkpoint-id",
        &id_key(&CheckpointId::from_bytes([7; 32]), &place),
        &CheckpointRow::Id,
    );
    golden(
        "checkpoint-history",
        &history_key(&run()),
        &CheckpointRow::History(HistoryRecord { count: 3, logical_bytes: 70_000 }),
    );
    golden("chunk", &chunk_key(id), &ContentRecord::Chunk(Packed::of(b"the chunk")));
    golden("chunk-count", &count_key(id), &ContentRecord::Count(300));
}

#[test]
fn every_record_is_written_as_it_always_was() {
    let payload = Payload::of(&(7u64, "seven".to_owned())).unwrap();
    let payload = Typed { schema: 300, payload };
    golden(
        "run",
        &run_key(&run()),
        &RunRecord {
            position: Position::Index(300),
            steps: 301,
            schema: 1,
            state: payload.payload.clone(),
            epoch: Epoch::new(4),
            recovery_attempts: 2,
            created: at(1_767_225_600_000),
            changed: at(1_767_225_700_000),
        },
    );
    let key = |state, ttl_ms, deadline| KeyRecord {
        state,
        request: Some(Request::of("request").unwrap()),
        epoch: Epoch::new(4),
        changed: at(1_767_225_600_000),
        ttl_ms,
        deadline,
    };
    let scope = Scope::new("payments").unwrap();
    golden(
        "key-done",
        &step_key(&run(), b"bar-300"),
        &key(
            KeyState::Done { outcome: payload.clone() },
            Some(86_400_000),
            Some(at(1_767_312_000_000)),
        ),
    );
    golden("key-in-flight", &open_claim_key(&scope, b"p-1"), &key(KeyState::InFlight, None, None));
    golden(
        "key-in-doubt",
        &open_claim_key(&scope, b"p-1"),
        &key(KeyState::InDoubt { why: "timeout".into() }, None, None),
    );
    golden(
        "key-lost",
        &settled_claim_key(&scope, b"p-1"),
        &key(KeyState::Lost { quarantine: 9 }, None, None),
    );
    golden(
        "intent",
        &intent_key(&intent(), true),
        &IntentRecord {
            stage: Stage::Confirmed { outcome: Some(payload.clone()), by: SettledBy::Probe },
            payload: Some(payload.clone()),
            external_id: ExternalId::derive(StoreId::fixed(), Incarnation::new(1), &intent()),
            fingerprint: Fingerprint::of_bytes(b"order"),
            run: Some(run()),
            epoch: Epoch::new(4),
            created: at(1_767_225_600_000),
            changed: at(1_767_225_700_000),
            attempts: 2,
            probed: 1,
        },
    );
    let schema = |name: &str, form| {
        let (name, first_seen) = (name.into(), at(1_767_225_600_000));
        SchemaRecord { kind: SchemaKind::State, name, version: 3, first_seen, form }
    };
    let form = TypeVersion::of::<Book>().form().unwrap();
    golden("schema", &schema_key(1), &schema("book", form));
    golden("schema-json", &schema_key(2), &schema("loose", Form::Json));
    golden("schema-lost", &schema_key(3), &SchemaRecord::lost(at(1_767_225_600_000)));
    golden("row", &row_key(&run(), b"fees"), &RowRecord::Value(payload));
    golden("row-lost", &row_key(&run(), b"fees"), &RowRecord::Lost { quarantine: 9 });
    golden(
        "quarantine",
        &quarantine_key(9),
        &QuarantineRecord {
            table: 5,
            key: Bytes(b"key".to_vec()),
            bytes: Bytes(vec![1, 2, 3]),
            reason: "checksum".into(),
            at: at(1_767_225_600_000),
            epoch: Epoch::new(4),
        },
    );
}

#[test]
fn every_row_of_the_audit_is_written_as_it_always_was() {
    let scope = Scope::new("payments").unwrap();
    golden(
        "audit",
        &audit_key(10),
        &AuditRecord {
            intent: Some(intent()),
            claim: None,
            action: AuditAction::Resend,
            note: "asked the desk by phone".into(),
            at: at(1_767_225_600_000),
            epoch: Epoch::new(4),
        },
    );
    golden(
        "audit-claim",
        &audit_key(11),
        &AuditRecord {
            intent: None,
            claim: Some((scope, Bytes(b"p-1".to_vec()))),
            action: AuditAction::Release,
            note: "the bank has no such payment".into(),
            at: at(1_767_225_600_000),
            epoch: Epoch::new(4),
        },
    );
}

#[test]
fn the_end_of_a_run_and_a_clock_that_was_set_are_written_as_they_always_were() {
    let end = RunEnd { number: 300, at: at(1_767_225_600_000), name_stays: true };
    golden("run-end", &ended_key(&run()), &end);
    let keys = [end_key(300, &run()), removing_key(&run()), removed_key(&run())];
    assert_eq!(
        keys.map(|key| hex(&key)),
        [
            "72756e2d656e64732f000000000000012c6274632d356d",
            "72756e2d72656d6f76696e672f6274632d356d",
            "72756e2d72656d6f7665642f6274632d356d",
        ]
    );
    assert_eq!(end_of_key(&end_key(300, &run())), Some((300, run())));
    assert_eq!(run_of_removing_key(&removing_key(&run())), Some(run()));
    golden("clock-set", META_CLOCK_SET, &ClockSet { at: at(1_767_225_600_000) });
}

#[test]
fn every_key_of_the_expiry_index_is_written_as_it_always_was() {
    assert_eq!(
        hex(&expiry_key(at(1_767_312_000_001), CommitSeq::new(258))),
        "0000019b7c0104640000000000000102"
    );
    let mut keys = KeyList::default();
    for key in [b"key-2", b"key-1"] {
        keys.push(key);
    }
    assert_eq!(hex(&keys.pack()), "000005006b65792d310400010032");
}
