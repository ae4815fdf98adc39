//! Against: a few hundred bytes that end the process, because a type holds itself and the bytes say
//! that it goes on. And against a value that is written and then refused for ever.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::thread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::codec::{decode, encode, tests::unlimited};
use super::super::proof::{Proven, decode_same, encode_guarded};
use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum List {
    Nil,
    Cons(Box<List>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Link {
    value: u8,
    next: Option<Box<Link>>,
}

/// Every way down there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Any {
    End,
    Newtype(Box<Any>),
    Tuple(u8, Box<Any>),
    Struct { a: Box<Any> },
    Option(Option<Box<Any>>),
    List(Vec<Any>),
    Map(BTreeMap<u8, Any>),
    Hashed(HashMap<u8, Any>),
    Pair((u8, Box<Any>)),
    Wrapped(Wrapped),
    Named(Named),
    Both(Both),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped(Box<Any>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Named {
    inner: Box<Any>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Both(u8, Box<Any>);

#[derive(Debug, Serialize, Deserialize)]
struct Onward(Option<Box<Onward>>);

#[derive(Debug, Serialize, Deserialize)]
struct Lists(Vec<Lists>);

#[derive(Debug, Serialize, Deserialize)]
struct Maps(BTreeMap<u8, Maps>);

type Way = fn(Any) -> Any;

const WAYS: [Way; 11] = [
    |a| Any::Newtype(a.into()),
    |a| Any::Tuple(1, a.into()),
    |a| Any::Struct { a: a.into() },
    |a| Any::Option(Some(a.into())),
    |a| Any::List(vec![Any::End, a]),
    |a| Any::Map([(1, a)].into()),
    |a| Any::Hashed([(1, a)].into()),
    |a| Any::Pair((1, a.into())),
    |a| Any::Wrapped(Wrapped(a.into())),
    |a| Any::Named(Named { inner: a.into() }),
    |a| Any::Both(Both(1, a.into())),
];

/// A list of so many links; the last one has an end behind it, which is a level too.
fn list(links: u32) -> List {
    (0..links).fold(List::Nil, |list, _| List::Cons(list.into()))
}

/// A thread with the stack of any other: what takes more would end the process.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap()
}

fn refuses<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8]) {
    for error in [decode::<T>(bytes).unwrap_err(), decode_same::<T>(bytes).unwrap_err()] {
        assert!(error.to_string().contains("128 levels"), "{error}");
    }
}

#[test]
fn bytes_that_always_go_on_are_refused_and_do_not_end_the_process() {
    on_a_small_stack(|| {
        for len in [129, 4_000, 1_000_000] {
            refuses::<List>(&vec![1; len]);
            refuses::<Link>(&vec![1; len]);
        }
        for way in WAYS {
            refuses::<Any>(&unlimited(&(0..200).fold(Any::End, |inner, _| way(inner))));
        }
        refuses::<Onward>(&[1; 4_000]);
        refuses::<Lists>(&[1; 4_000]);
        refuses::<Maps>(&[1; 4_000]);
    });
}

#[test]
fn a_value_of_all_levels_comes_back_and_one_of_more_is_not_written() {
    on_a_small_stack(|| {
        let deepest = list(LEVELS_MAX - 1);
        let bytes = encode_guarded(&deepest, 0).unwrap().bytes;
        assert_eq!(decode::<List>(&bytes).unwrap(), deepest);
        let error = encode_guarded(&list(LEVELS_MAX), 0).unwrap_err().to_string();
        assert!(error.contains("List") && error.contains("128 levels"), "{error}");
        assert!(encode(&list(LEVELS_MAX)).is_err());
        // Not even on the way to the stack's end.
        let error = encode(&list(10_000)).unwrap_err().to_string();
        assert!(error.contains("as a list"), "{error}");
    });
}

/// What is written can be read back, and what cannot be read back is not written: to the level.
#[test]
fn writing_and_reading_count_the_same_levels_in_every_way_down() {
    on_a_small_stack(|| {
        for (nth, way) in WAYS.into_iter().enumerate() {
            let mut value = Any::End;
            let mut refused = 0;
            for _ in 0..200 {
                match encode(&value) {
                    Ok(bytes) => {
                        assert_eq!(refused, 0, "way {nth}: deeper, and taken again");
                        assert_eq!(decode::<Any>(&bytes).unwrap(), value, "way {nth}");
                        let deeper = unlimited(&way(value.clone()));
                        let taken = encode(&way(value.clone())).is_ok();
                        assert_eq!(decode::<Any>(&deeper).is_ok(), taken, "way {nth}");
                    }
                    Err(_) => refused += 1,
                }
                value = way(value);
            }
            assert!(refused > 0, "way {nth}");
        }
    });
}

#[test]
fn wide_values_are_not_deep() {
    let wide: Vec<Vec<Option<(u8, String)>>> = vec![vec![Some((1, "x".into())); 300]; 300];
    assert_eq!(decode::<Vec<Vec<Option<(u8, String)>>>>(&encode(&wide).unwrap()).unwrap(), wide);
    let brothers: Vec<List> = vec![list(100); 1_000];
    assert_eq!(decode::<Vec<List>>(&encode(&brothers).unwrap()).unwrap(), brothers);
}

/// A type that is written with fewer levels than it is read with.
#[derive(Debug, Clone, Default, PartialEq)]
struct Uneven(Option<Box<Uneven>>);

impl Serialize for Uneven {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Uneven {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Inner(Option<Box<Uneven>>);
        Inner::deserialize(from).map(|inner| Self(inner.0))
    }
}

#[test]
fn a_type_that_counts_more_levels_when_it_is_read_is_refused_before_it_is_lost() {
    on_a_small_stack(|| {
        let mut value = Uneven::default();
        let mut written = 0;
        while let Ok(Proven { bytes, .. }) = encode_guarded(&value, 0) {
            assert_eq!(decode::<Uneven>(&bytes).unwrap(), value);
            value = Uneven(Some(value.into()));
            written += 1;
        }
        assert!((50..128).contains(&written), "{written}");
    });
}

#[test]
fn a_list_that_says_it_has_more_elements_than_bytes_is_refused_at_once() {
    let mut years = vec![253];
    years.extend_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(decode::<Vec<()>>(&years).unwrap_err().to_string().contains("no bytes"));
    assert!(decode::<HashSet<()>>(&years).is_err());
    assert!(decode::<BTreeMap<u8, u8>>(&years).is_err());
    // Each of them within its bounds, all together not.
    let many = [vec![200], [253, 0, 0, 1, 0, 0, 0, 0, 0].repeat(200)].concat();
    assert!(decode::<Vec<Vec<()>>>(&many).is_err());
    // Room for a million of them is not taken on their word either.
    let mut claims = vec![252];
    claims.extend_from_slice(&1_000_000u32.to_le_bytes());
    assert!(decode::<Vec<u64>>(&claims).unwrap_err().to_string().contains("no bytes"));
}

#[test]
fn a_list_of_elements_without_bytes_is_written_as_far_as_it_can_be_read() {
    for len in [0, 1, 1_000, FREE_ELEMENTS_MAX] {
        let units = vec![(); len];
        assert_eq!(decode::<Vec<()>>(&encode_guarded(&units, 0).unwrap().bytes).unwrap(), units);
    }
    let error = encode_guarded(&vec![(); FREE_ELEMENTS_MAX + 100], 0).unwrap_err().to_string();
    assert!(error.contains("no bytes"), "{error}");
    let several = vec![vec![(); FREE_ELEMENTS_MAX / 2 + 100]; 2];
    assert!(encode(&several).is_err());
}
