//! Steps with values that their own type reads, refuses, panics over, or reads as another one.

use milepost::{Error, ErrorKind, Result, Store, Versioned};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Reads itself only if its number says so.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
#[serde(transparent)]
struct Moody(u8);

impl Moody {
    fn comes_back(&self) -> bool {
        self.0 < 200
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        match u8::deserialize(from)? {
            200..220 => Err(D::Error::custom("not this one")),
            220..240 => std::panic::panic_any("not this one"),
            n @ 240.. => Ok(Self(n - 240)),
            n => Ok(Self(n)),
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    list: Vec<Moody>,
    last: Option<Moody>,
}

impl Versioned for State {
    const NAME: &'static str = "state";
    const VERSION: u32 = 1;
}

/// Each byte is a step; what is acknowledged is what the model says, and all else leaves no trace.
pub fn play(bytes: &[u8]) {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<State>("run").unwrap();
    let mut model = State::default();
    for (nth, byte) in (1u64..).zip(bytes.iter().take(256)) {
        let value = Moody(*byte);
        let fails = nth % 5 == 0;
        let done = run.step(nth.to_string(), nth, |tx| -> Result<()> {
            tx.state.list.push(value.clone());
            tx.state.last = Some(value.clone());
            if fails { Err(Error::abort("no")) } else { Ok(()) }
        });
        match done {
            Ok(_) => {
                assert!(value.comes_back() && !fails, "{value:?} was acknowledged");
                model.list.push(value.clone());
                model.last = Some(value);
            }
            Err(error) if fails => assert_eq!(error.kind(), ErrorKind::Aborted, "{error}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                assert!(!value.comes_back(), "{value:?} was refused: {error}");
            }
        }
        assert_eq!(run.state(), &model);
    }
    drop(run);
    assert_eq!(store.run::<State>("run").unwrap().state(), &model);
}
