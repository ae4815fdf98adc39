//! The table of `docs/guide/what-a-state-may-hold.md`, row by row: what it says of a type is what the
//! store does with it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests are not read as documentation")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use milepost::{Codec, ErrorKind, Labels, Result, SavepointOptions, Store, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

macro_rules! holder {
    ($name:ident, $codec:ident) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct $name<T> {
            values: Vec<T>,
        }

        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self { values: Vec::new() }
            }
        }

        impl<T> Versioned for $name<T> {
            const NAME: &'static str = stringify!($name);
            const VERSION: u32 = 1;
            const CODEC: Codec = Codec::$codec;
        }

        impl<T> AsMut<Vec<T>> for $name<T> {
            fn as_mut(&mut self) -> &mut Vec<T> {
                &mut self.values
            }
        }

        impl<T> AsRef<Vec<T>> for $name<T> {
            fn as_ref(&self) -> &Vec<T> {
                &self.values
            }
        }
    };
}
holder!(Binary, Binary);
holder!(Json, Json);

/// Some value of a type, in a state: `works` if it comes back after a step that failed, after another
/// opening, and through both kinds of savepoint; `refused` if the run is not opened.
fn outcome<S, T>(values: &[T]) -> &'static str
where
    S: Versioned + Serialize + DeserializeOwned + Default + AsMut<Vec<T>> + AsRef<Vec<T>> + 'static,
    T: Clone + PartialEq + Debug,
{
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::create(&path).unwrap();
    let mut run = match store.run::<S>("r") {
        Ok(run) => run,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            println!("{error}");
            return "refused";
        }
    };
    // Three times: what is taken by chance is refused by chance.
    for n in 0..3u64 {
        run.step(n.to_string(), n, |tx| {
            *tx.state.as_mut() = values.to_vec();
            tx.checkpoint(Labels::new())
        })
        .unwrap();
    }
    let failed = run.step("no", 9, |tx| -> Result<()> {
        tx.state.as_mut().clear();
        Err(milepost::Error::abort("no"))
    });
    assert!(failed.is_err());
    assert_eq!(run.state().as_ref(), values, "after a step that failed");
    let id = store.checkpoints().latest("r").unwrap().unwrap().id;
    let files = [folder.path().join("binary"), folder.path().join("json")];
    store.checkpoints().export(&id, &files[0]).unwrap();
    store.checkpoints().export_json(&id, &files[1]).unwrap();
    drop(run);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.run::<S>("r").unwrap().state().as_ref(), values, "after another opening");
    for file in files {
        let store = Store::in_memory().unwrap();
        store.import_savepoint(file, &SavepointOptions::new()).unwrap();
        assert_eq!(store.run::<S>("r").unwrap().state().as_ref(), values, "from a savepoint");
    }
    "works"
}

/// The rows of the page: crate and type, to what is said of both codecs.
fn rows() -> BTreeMap<(String, String), (String, String)> {
    let page =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/what-a-state-may-hold.md");
    let text = fs::read_to_string(page).unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    // The other table has fewer columns.
    let rows = lines.map(cells).filter(|cells: &Vec<String>| cells.len() == 7).map(|cells| {
        let first = |cell: &str| cell.split(&[',', ';', ':'][..]).next().unwrap().to_owned();
        ((cells[1].clone(), cells[2].clone()), (first(&cells[4]), first(&cells[5])))
    });
    rows.collect()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Decimal(#[serde(with = "rust_decimal::serde::str")] rust_decimal::Decimal);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pairs(#[serde(with = "indexmap::map::serde_seq")] indexmap::IndexMap<String, u64>);

/// A number of any length, by its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct ByText(bigdecimal::BigDecimal);

impl From<ByText> for String {
    fn from(number: ByText) -> Self {
        number.0.to_string()
    }
}

impl TryFrom<String> for ByText {
    type Error = bigdecimal::ParseBigDecimalError;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[test]
fn the_table_says_what_the_store_does() {
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    let said = rows();
    macro_rules! row {
        ($name:literal, $of:literal, $type:ty, $values:expr) => {
            let values: Vec<$type> = $values;
            println!("{} {}", $name, $of);
            let tried = |outcome: &dyn Fn(&[$type]) -> &'static str| {
                let tried = std::panic::AssertUnwindSafe(|| outcome(&values));
                std::panic::catch_unwind(tried).unwrap_or("fails")
            };
            let is = (tried(&outcome::<Binary<$type>, _>), tried(&outcome::<Json<$type>, _>));
            let key = ($name.to_owned(), $of.to_owned());
            let is = (is.0.to_owned(), is.1.to_owned());
            if said.get(&key) != Some(&is) {
                wrong.push(format!("{key:?}: is {is:?}, the page says {:?}", said.get(&key)));
            }
            found.insert(key, is);
        };
    }
    let texts = || ["zed", "bob", "amy"].map(str::to_owned);

    row!("rust_decimal", "Decimal", rust_decimal::Decimal, vec!["1.50".parse().unwrap()]);
    row!(
        "rust_decimal",
        "Decimal, with attribute",
        Decimal,
        vec![Decimal("-1.50".parse().unwrap())]
    );
    row!("bigdecimal", "BigDecimal", bigdecimal::BigDecimal, vec!["1.50".parse().unwrap()]);
    row!("bigdecimal", "BigDecimal, by its text", ByText, vec![ByText("1.50".parse().unwrap())]);
    row!("num-bigint", "BigInt", num_bigint::BigInt, vec![(-7).into(), i128::MIN.into()]);
    row!(
        "ordered-float",
        "OrderedFloat",
        ordered_float::OrderedFloat<f64>,
        vec![(0.1 + 0.2).into()]
    );

    let at = chrono::DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
    row!("chrono", "DateTime<Utc>", chrono::DateTime<chrono::Utc>, vec![at]);
    row!("chrono", "NaiveDate", chrono::NaiveDate, vec![at.date_naive()]);
    row!("chrono", "NaiveDateTime", chrono::NaiveDateTime, vec![at.naive_utc()]);
    row!("chrono", "TimeDelta", chrono::TimeDelta, vec![chrono::TimeDelta::milliseconds(-5)]);
    let at = jiff::Timestamp::new(1_700_000_000, 123_456_789).unwrap();
    row!("jiff", "Timestamp", jiff::Timestamp, vec![at]);
    row!("jiff", "Zoned", jiff::Zoned, vec![at.to_zoned(jiff::tz::TimeZone::UTC)]);
    row!("jiff", "civil::Date", jiff::civil::Date, vec![jiff::civil::date(2026, 11, 28)]);
    row!(
        "jiff",
        "SignedDuration",
        jiff::SignedDuration,
        vec![jiff::SignedDuration::from_millis(-5)]
    );
    row!("time", "OffsetDateTime", time::OffsetDateTime, vec![time::OffsetDateTime::UNIX_EPOCH]);
    row!("time", "Duration", time::Duration, vec![time::Duration::milliseconds(-5)]);

    row!("uuid", "Uuid", uuid::Uuid, vec![uuid::Uuid::from_u128(7)]);
    row!("url", "Url", url::Url, vec!["https://a.example/b?c=d".parse().unwrap()]);
    row!("semver", "Version", semver::Version, vec!["1.2.3-rc.1".parse().unwrap()]);
    row!("semver", "VersionReq", semver::VersionReq, vec![">=1.2, <2".parse().unwrap()]);

    let map: indexmap::IndexMap<String, u64> = texts().into_iter().zip(0..).collect();
    row!("indexmap", "IndexMap", indexmap::IndexMap<String, u64>, vec![map.clone()]);
    row!("indexmap", "IndexMap, as pairs", Pairs, vec![Pairs(map)]);
    let set: indexmap::IndexSet<String> = texts().into_iter().collect();
    row!("indexmap", "IndexSet", indexmap::IndexSet<String>, vec![set]);
    let map: hashbrown::HashMap<String, u64> = texts().into_iter().zip(0..).collect();
    row!("hashbrown", "HashMap", hashbrown::HashMap<String, u64>, vec![map]);
    let set: hashbrown::HashSet<String> = texts().into_iter().collect();
    row!("hashbrown", "HashSet", hashbrown::HashSet<String>, vec![set]);

    row!("smallvec", "SmallVec", smallvec::SmallVec<[u64; 2]>, vec![smallvec::smallvec![3, 1, 2]]);
    row!("arrayvec", "ArrayVec", arrayvec::ArrayVec<u64, 4>, vec![[3, 1, 2].into_iter().collect()]);
    row!(
        "arrayvec",
        "ArrayString",
        arrayvec::ArrayString<8>,
        vec![arrayvec::ArrayString::from("SPY").unwrap()]
    );
    row!("heapless", "Vec", heapless::Vec<u64, 4>, vec![[3, 1, 2].into_iter().collect()]);
    row!("heapless", "String", heapless::String<8>, vec!["SPY".try_into().unwrap()]);
    row!("bytes", "Bytes", bytes::Bytes, vec![bytes::Bytes::from_static(b"\x00\xff")]);
    row!("compact_str", "CompactString", compact_str::CompactString, vec!["SPY".into()]);
    row!("ndarray", "Array1<f64>", ndarray::Array1<f64>, vec![ndarray::arr1(&[0.1, -0.0])]);
    row!(
        "ndarray",
        "Array2<f64>",
        ndarray::Array2<f64>,
        vec![ndarray::arr2(&[[0.1, 0.2], [0.3, 0.4]])]
    );

    let value = serde_json::json!({"zed": [1, 2.5, null], "amy": {"b": -1, "a": u64::MAX}});
    row!("serde_json", "Value", serde_json::Value, vec![value.clone()]);
    row!(
        "serde_json",
        "Map",
        serde_json::Map<String, serde_json::Value>,
        vec![value.as_object().unwrap().clone()]
    );

    for key in said.keys().filter(|key| !found.contains_key(*key)) {
        wrong.push(format!("{key:?} is on the page, and not tried here"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
