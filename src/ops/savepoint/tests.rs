//! Golden files: the bytes of a savepoint, fixed for good in both forms. People keep such files for
//! years: a difference needs a new version that is read beside the old one.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::*;
use crate::clock::Timestamp;
use crate::id::StoreId;
use crate::ledger::{TypeVersion, Versioned};
use crate::position::Position;
use crate::record::{CODEC_BINCODE, Payload};
use crate::seq::{Epoch, Incarnation};
use crate::step::About;
use crate::{Options, Run};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Book {
    cash: i64,
    side: Side,
    lots: Vec<(String, f64)>,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
enum Side {
    #[default]
    None,
    Long {
        size: u128,
        of: Option<Box<Book>>,
    },
}

impl Versioned for Book {
    const NAME: &'static str = "book";
    const VERSION: u32 = 3;
}

fn book() -> Book {
    let inner = Book { cash: -5, ..Book::default() };
    Book {
        cash: 12_345,
        side: Side::Long { size: u128::MAX, of: Some(Box::new(inner)) },
        lots: vec![("SPY \"1\"".into(), 0.1), ("QQQ".into(), f64::INFINITY)],
    }
}

fn savepoint() -> Savepoint {
    let label = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let state = Payload::of(&book()).unwrap().bytes().to_vec();
    let mut about = About {
        id: CheckpointId::from_bytes([0; 32]),
        run: RunName::new("spy-daily").unwrap(),
        position: Position::Offsets([("a".to_owned(), 7), ("b".to_owned(), 300)].into()),
        steps: 301,
        schema: "book".into(),
        version: 3,
        form: TypeVersion::of::<Book>().form().unwrap(),
        codec: CODEC_BINCODE,
        identifying: label("config", "9f3"),
        labels: label("why", "before the upgrade"),
        at: Timestamp::from_ms(1_767_225_600_000),
        automatic: false,
        store: StoreId::fixed(),
        incarnation: Incarnation::new(1),
        epoch: Epoch::new(4),
        number: 1_017,
    };
    about.id = about.id_of(&state);
    Savepoint { about, state }
}

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("MILEPOST_BLESS").is_some() && !path.exists() {
        fs::write(&path, bytes).unwrap();
    }
    let kept = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(kept == bytes, "{name} is no longer written as it was");
    kept
}

fn imported(bytes: Vec<u8>) -> Run<Book> {
    let store = Options::new().in_memory().unwrap();
    let done = store.import_bytes(bytes, &SavepointOptions::new()).unwrap();
    assert_eq!(done.id, savepoint().about.id);
    store.run(done.run.as_str()).unwrap()
}

#[test]
fn a_savepoint_is_written_as_it_always_was_and_read_as_what_it_is() {
    let text = json::text_of(&savepoint(), 1 << 20).unwrap();
    for kept in [
        golden("savepoint-1.bin", &binary(&savepoint()).unwrap()),
        golden("savepoint-1.json", text.as_bytes()),
    ] {
        let run = imported(kept);
        assert_eq!((run.state(), run.steps()), (&book(), 301));
        assert_eq!(run.position(), &savepoint().about.position);
    }
}

/// Against: a forged file that a store believes because its checksums hold.
#[test]
fn what_no_store_has_written_is_refused_though_its_checksums_hold() {
    let store = Options::new().in_memory().unwrap();
    let refused = |change: fn(&mut Savepoint)| {
        let mut forged = savepoint();
        change(&mut forged);
        let error = store.import_bytes(binary(&forged).unwrap(), &SavepointOptions::new());
        error.unwrap_err().kind()
    };
    assert_eq!(refused(|forged| forged.state.push(0)), ErrorKind::Damaged);
    assert_eq!(refused(|forged| forged.about.position = Position::Start), ErrorKind::Damaged);
    assert_eq!(refused(|forged| forged.about.codec = 9), ErrorKind::TooNew);
    assert_eq!(refused(|forged| forged.about.codec = 4), ErrorKind::Damaged);
    assert_eq!(refused(|forged| forged.about.steps = u64::MAX), ErrorKind::Damaged);
    assert_eq!(refused(|forged| forged.about.number = u64::MAX), ErrorKind::Damaged);
    assert_eq!(refused(|forged| forged.about.form = crate::ledger::Form::Json), ErrorKind::Damaged);
    assert_eq!(
        refused(|forged| drop(forged.about.labels.insert(String::new(), String::new()))),
        ErrorKind::Damaged
    );
    assert!(store.checkpoints().latest("spy-daily").unwrap().is_none());
}
