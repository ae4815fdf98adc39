//! Types that change, and states that are looked at by programs that never knew them.

use std::collections::{BTreeMap, HashMap};

use milepost::{Codec, ErrorKind, Options, Store, Versioned};
use serde::{Deserialize, Serialize};

use crate::support::{clock, error, killed, on_disk, open_bytes, reframed, rows_of, with_row};

macro_rules! state {
    ($module:ident, $version:literal, $codec:ident, { $($field:ident: $type:ty),* }) => {
        mod $module {
            use super::*;
            #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
            pub struct State { $(pub $field: $type),* }
            impl Versioned for State {
                const NAME: &'static str = "position";
                const VERSION: u32 = $version;
                const CODEC: Codec = Codec::$codec;
            }
        }
    };
}

state!(written, 1, Binary, { cash: u64, lots: Vec<(u32, Side)>, book: BTreeMap<String, f64> });
state!(signed, 1, Binary, { cash: i64, lots: Vec<(u32, Side)>, book: BTreeMap<String, f64> });
state!(deep, 1, Binary, { cash: u64, lots: Vec<(u32, Faces)>, book: BTreeMap<String, f64> });
state!(moved, 1, Binary, { lots: Vec<(u32, Side)>, cash: u64, book: BTreeMap<String, f64> });
state!(nothing_alike, 1, Binary, { a: u8, b: u8, c: u8, d: u8, e: u8, f: u8 });
state!(as_json, 1, Json, { cash: u64, lots: Vec<(u32, Side)>, book: BTreeMap<String, f64> });

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
enum Side {
    #[default]
    Long,
    Short {
        borrowed: bool,
    },
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
enum Faces {
    #[default]
    Short,
    Long {
        borrowed: bool,
    },
}

fn write(store: &Store) {
    let mut run = store.run::<written::State>("run").unwrap();
    run.step("k", 7, |tx| {
        tx.state.cash = 300;
        tx.state.lots = vec![(1, Side::Long), (2, Side::Short { borrowed: true })];
        tx.state.book.insert("SPY".into(), f64::NAN);
        Ok(())
    })
    .unwrap();
}

const SHOWN: &str =
    r#"{"cash":300,"lots":[[1,"Long"],[2,{"Short":{"borrowed":true}}]],"book":{"SPY":"NaN"}}"#;

/// Against: a field that became another type of the same width, and is read wrong without a word.
#[test]
fn a_changed_type_with_an_unchanged_version_is_refused_with_the_field_named() {
    fn refused<S>(store: &Store, named: &[&str])
    where
        S: Versioned + Serialize + for<'de> Deserialize<'de> + Default + 'static,
    {
        // The run that has such a state, and one that would only begin to have it.
        for run in ["run", "another"] {
            let error = error(store.run::<S>(run));
            assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
            for named in named {
                assert!(error.to_string().contains(named), "{named} is not named: {error}");
            }
        }
    }
    let (disk, store) = on_disk(&Options::new());
    write(&store);
    let before = [rows_of(&disk.to_bytes(), "runs"), rows_of(&disk.to_bytes(), "schemas")];
    refused::<signed::State>(&store, &["field `cash` was u64 and is now i64", "`VERSION`"]);
    refused::<deep::State>(
        &store,
        &["variant `lots[].1.Short` was with one and is now without", "`lots[].1.Long`"],
    );
    refused::<moved::State>(&store, &["field `cash` stands in another place"]);
    refused::<as_json::State>(&store, &["codec was binary and is now JSON"]);
    let after = [rows_of(&disk.to_bytes(), "runs"), rows_of(&disk.to_bytes(), "schemas")];
    assert!(before == after, "a refused opening changed something");
    assert_eq!(store.run::<written::State>("run").unwrap().state().cash, 300);
}

/// Against: a message that goes on for ever about a type that has nothing of the old one.
#[test]
fn of_many_differences_the_first_are_named_and_the_others_counted() {
    let store = Store::in_memory().unwrap();
    write(&store);
    let told = error(store.run::<nothing_alike::State>("run")).to_string();
    let rest = told.split("; and ").nth(1).and_then(|rest| rest.split(' ').next());
    let named = told.matches("; ").count();
    assert_eq!((named, rest), (5, Some("4")), "{told}");
}

/// Against: a state that nobody can read any more when the program that wrote it is gone.
#[test]
fn a_state_is_shown_by_a_program_that_does_not_know_its_type() {
    let (disk, store) = on_disk(&Options::new().clock(clock()));
    write(&store);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let view = store.inspect_run("run").unwrap();
    assert_eq!(view.state_json, SHOWN);
    assert_eq!((view.schema.as_str(), view.version, view.steps), ("position", 1, 1));
    assert_eq!(view.position.index(), Some(7));
    assert!(!format!("{view:?}").contains("300"), "a payload was printed");
    assert!(format!("{view:?}").contains("\"position\""), "{view:?}");
    assert_eq!(error(store.inspect_run("none")).kind(), ErrorKind::NotFound);
}

/// Against: bytes that do not fit the shape, shown as something.
#[test]
fn a_state_that_does_not_fit_its_shape_is_damaged_and_not_shown() {
    let (disk, store) = on_disk(&Options::new().clock(clock()));
    write(&store);
    drop(store);
    let bytes = disk.to_bytes();
    let (key, row) = rows_of(&bytes, "runs").remove(0);
    let name = row.windows(3).rposition(|part| part == b"SPY").unwrap();
    let row = reframed(2, &key, &row, |row| row[name - 1] = 200);
    let store = open_bytes(&with_row(&bytes, "runs", &key, Some(&row))).unwrap();
    let shown = error(store.inspect_run("run"));
    assert_eq!(shown.kind(), ErrorKind::Damaged, "{shown}");
    assert!(shown.to_string().contains("\"run\""), "{shown}");
}

/// Against: the same content under two sets of bytes, in JSON too.
#[test]
fn equal_states_give_equal_bytes_in_json_too() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Loose {
        map: HashMap<String, u64>,
        #[serde(flatten)]
        rest: HashMap<String, u64>,
    }
    impl Versioned for Loose {
        const NAME: &'static str = "loose";
        const VERSION: u32 = 1;
        const CODEC: Codec = Codec::Json;
    }
    let bytes = |order: &mut dyn Iterator<Item = u64>| {
        let (disk, store) = on_disk(&Options::new().clock(clock()));
        let mut run = store.run::<Loose>("run").unwrap();
        run.step("k", 1, |tx| {
            for n in order {
                tx.state.map.insert(n.to_string(), n);
                tx.state.rest.insert(format!("r{n}"), n);
            }
            Ok(())
        })
        .unwrap();
        rows_of(&disk.to_bytes(), "runs")
    };
    assert!(bytes(&mut (0..50)) == bytes(&mut (0..50).rev()));
}
