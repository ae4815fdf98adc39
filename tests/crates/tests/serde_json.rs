//! States in a program that has turned on what `serde_json` has: its features are those of the whole
//! program, whichever crate asked for them. `.ci/run crates` runs this without and with them.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests are not read as documentation")]

use std::collections::HashMap;
use std::path::PathBuf;

use milepost::{Codec, ErrorKind, Labels, Result, SavepointOptions, Store, Versioned};
use serde::{Deserialize, Serialize};

/// A number of each kind.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Bot {
    price: f64,
    narrow: f32,
    qty: i64,
    wide: (u128, i128, u64),
    small: (u8, i8),
    by_number: std::collections::BTreeMap<u64, f64>,
    levels: Vec<Option<f64>>,
}

impl Versioned for Bot {
    const NAME: &'static str = "bot";
    const VERSION: u32 = 1;
}

fn bot() -> Bot {
    Bot {
        price: 1.5,
        narrow: 0.1,
        qty: -7,
        wide: (u128::MAX, i128::MIN, u64::MAX),
        small: (255, -128),
        by_number: [(1, 0.1 + 0.2), (300, 1e300)].into(),
        levels: vec![None, Some(f64::INFINITY), Some(5.0), Some(-0.0), Some(5e-324)],
    }
}

/// Against: a feature that another crate turned on (`arbitrary_precision`), with which no state that
/// had a float in it went to a savepoint in JSON, or came from one.
#[test]
fn a_state_with_floats_goes_to_a_savepoint_in_json_and_comes_from_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.json");
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Bot>("r").unwrap();
    run.step("k", 1, |tx| {
        tx.state = bot();
        tx.checkpoint(Labels::new())
    })
    .unwrap();
    let id = store.checkpoints().latest("r").unwrap().unwrap().id;
    store.checkpoints().export_json(&id, &file).unwrap();
    imports(file);
}

/// Against: one that a build with other features wrote.
#[test]
fn a_savepoint_of_a_build_with_other_features_is_read() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bot.json");
    if std::env::var_os("MILEPOST_BLESS").is_some() {
        let _ = std::fs::remove_file(&file);
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Bot>("r").unwrap();
        run.step("k", 1, |tx| {
            tx.state = bot();
            tx.checkpoint(Labels::new())
        })
        .unwrap();
        let id = store.checkpoints().latest("r").unwrap().unwrap().id;
        store.checkpoints().export_json(&id, &file).unwrap();
    }
    imports(file);
}

fn imports(file: PathBuf) {
    let store = Store::in_memory().unwrap();
    store.import_savepoint(file, &SavepointOptions::new()).unwrap();
    assert_eq!(store.run::<Bot>("r").unwrap().state(), &bot());
}

/// Against: a savepoint that is read, although a number in it does not fit its field.
#[test]
fn a_number_that_does_not_fit_is_refused_in_an_edited_savepoint() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bot.json"))
            .unwrap();
    for (nth, (is, becomes)) in [
        ("\"qty\":-7", "\"qty\":7.5"),
        ("\"qty\":-7", "\"qty\":9223372036854775808"),
        ("\"qty\":-7", "\"qty\":\"7\""),
        ("\"price\":1.5", "\"price\":1e999"),
        ("\"price\":1.5", "\"price\":[1.5]"),
        ("\"small\":[255,-128]", "\"small\":[256,-128]"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(text.contains(is), "{is}");
        let file = folder.path().join(nth.to_string() + ".json");
        std::fs::write(&file, text.replace(is, becomes)).unwrap();
        let store = Store::in_memory().unwrap();
        let options = SavepointOptions::new().edited();
        let refused = store.import_savepoint(&file, &options).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{becomes}: {refused}");
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Loose {
    n: f64,
    any: serde_json::Value,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Versioned for Loose {
    const NAME: &'static str = "loose";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Hashed {
    #[serde(flatten)]
    rest: HashMap<String, serde_json::Value>,
}

impl Versioned for Hashed {
    const NAME: &'static str = "hashed";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

/// Against: objects in another order, or numbers with other digits, after a restart.
#[test]
fn documents_in_a_state_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::create(&path).unwrap();
    let mut run = store.run::<Loose>("r").unwrap();
    let any: serde_json::Value =
        serde_json::from_str(r#"{"zed":1.50,"bob":[0.1,-0.0,1E+2],"amy":18446744073709551615}"#)
            .unwrap();
    for n in 0..20u64 {
        run.step(n.to_string(), n, |tx| {
            tx.state.n = 0.1 + 0.2;
            tx.state.any = any.clone();
            tx.state.rest = any.as_object().unwrap().clone();
            Ok(())
        })
        .unwrap();
    }
    let before = run.state().clone();
    let failed = run.step("no", 99, |_| -> Result<()> { Err(milepost::Error::abort("no")) });
    assert!(failed.is_err());
    let same = |now: &Loose| {
        assert_eq!(now, &before);
        // Of two maps that are equal, one may be in another order.
        assert_eq!(serde_json::to_string(now).unwrap(), serde_json::to_string(&before).unwrap());
    };
    same(run.state());
    drop(run);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    same(store.run::<Loose>("r").unwrap().state());
}

#[test]
fn a_flattened_hash_map_is_taken_in_every_step() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Hashed>("r").unwrap();
    for n in 0..40u64 {
        run.step(n.to_string(), n, |tx| {
            tx.state.rest = (0..5).map(|n| (format!("k{n}"), n.into())).collect();
            Ok(())
        })
        .unwrap();
    }
}

/// Against: a document that is so deep that reading it again ends the process.
#[test]
fn a_document_of_too_many_levels_is_invalid() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Loose>("r").unwrap();
    for levels in [200, 10_000] {
        let refused = run.step("deep", 1, |tx| {
            for _ in 0..levels {
                let any = tx.state.any.take();
                tx.state.any = serde_json::Value::Array(vec![any]);
            }
            Ok(())
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
