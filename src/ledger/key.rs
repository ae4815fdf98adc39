//! Idempotency keys: which operations were done, are being done, or may have been done.
//!
//! ```text
//! keys    [settled u8][kind u8][length u8][run or scope][key]      0 open, 1 settled; 0 step, 1 claim
//! expiry  [deadline in ms, rounded up to 100, u64 BE][commit sequence u64 BE]   value: the keys, sorted and front-coded
//! ```
//!
//! Open claims stand in front, so that opening a store finds what is in doubt without walking the
//! keys of years. Keys keep their own order under their scope: real ones come in order, and ordered
//! inserts are ten times cheaper than hashed ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Fingerprint, RunName, Scope};
use crate::record::{Typed, fingerprint, named, unnamed};
use crate::seq::{CommitSeq, Epoch};
use crate::store::{Record, Table};

/// The name of one logical operation: what makes a repeat a repeat.
///
/// ```
/// use milepost::Key;
/// use std::time::Duration;
///
/// let plain: Key = "bar-2026-02-16T21:00".into();
/// let number: Key = 117u64.into();
/// let request = ("SPY", 12u32);
/// let full = Key::new("order-117").request(&request)?.expires_after(Duration::from_secs(86_400));
/// # Ok::<(), milepost::Error>(())
/// ```
///
/// # Keys that are numbers
///
/// A whole number of 0 or more is 8 bytes, big-endian, whatever its width: `7u32`, `7i64` and `7usize`
/// are one key, and keys keep the order of the numbers. A number below 0 is a `-` and the 8 bytes of
/// its two's complement, so no two numbers share a key. Bytes and texts are themselves: `"7"` is
/// another key than `7`, and the array of those 8 bytes is the same.
///
/// ```
/// use milepost::Key;
///
/// assert_eq!(Key::from(7u32), Key::from(7i64));
/// assert_eq!(Key::from(7u64), Key::new([0, 0, 0, 0, 0, 0, 0, 7]));
/// assert_ne!(Key::from(-1i64), Key::from(u64::MAX));
/// assert_ne!(Key::from(7), Key::from("7"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub(crate) bytes: Vec<u8>,
    pub(crate) request: Option<Request>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) issued: Option<Timestamp>,
}

impl Key {
    /// A key of these bytes, 1 to `Limits::key_bytes` of them; it never expires.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), request: None, ttl: None, issued: None }
    }

    /// Ties the key to this request: the same key with another one is a conflict. Two requests are
    /// the same if their values are, in type names, field names, variants and numbers; the width of an
    /// integer, the order of the entries of a map, of the elements of a hash set and of the fields of a
    /// struct do not count. A hash set inside a `#[serde(transparent)]` type of your own looks like a
    /// list, whose order counts: use a `BTreeSet` there.
    ///
    /// # Errors
    /// `Invalid` if the request's own `Serialize` fails, or nests it more than 128 levels deep.
    pub fn request<Q: Serialize + ?Sized>(mut self, request: &Q) -> Result<Self> {
        self.request = Some(Request::of(request)?);
        Ok(self)
    }

    /// The fingerprint of the request that the key is tied to: to be compared with that of a claim in
    /// doubt.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.request.map(|request| request.fingerprint)
    }

    /// Forgets the key this long after its operation is settled. What is in doubt never expires.
    #[must_use]
    pub fn expires_after(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// When the operation was first asked for. A key that expires, asked for so long ago that it
    /// may have been forgotten, is then `BeyondHorizon` and not taken for a new one.
    #[must_use]
    pub fn issued_at(mut self, at: Timestamp) -> Self {
        self.issued = Some(at);
        self
    }

    /// Whether, were this key seen once, it would have been forgotten by now.
    pub(crate) fn is_beyond(&self, horizon: Timestamp) -> bool {
        match (self.issued, self.ttl) {
            (Some(issued), Some(ttl)) => issued.after(ttl) <= horizon,
            _ => false,
        }
    }
}

macro_rules! key_from {
    ($($type:ty),*) => {
        $(impl From<$type> for Key {
            fn from(bytes: $type) -> Self {
                Self::new(bytes)
            }
        })*
    };
}

key_from!(&str, &String, String, &[u8], Vec<u8>, &Vec<u8>);

impl<const N: usize> From<[u8; N]> for Key {
    fn from(bytes: [u8; N]) -> Self {
        Self::new(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    fn from(bytes: &[u8; N]) -> Self {
        Self::new(bytes)
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::new(number.to_be_bytes())
    }
}

impl From<usize> for Key {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<u32> for Key {
    fn from(number: u32) -> Self {
        Self::from(u64::from(number))
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        match u64::try_from(number) {
            Ok(number) => Self::from(number),
            // A byte more than a number of 0 or more has: -1 and `u64::MAX` have the same 8 bytes.
            Err(_) => Self::new([b"-".as_slice(), &number.to_be_bytes()].concat()),
        }
    }
}

impl From<i32> for Key {
    fn from(number: i32) -> Self {
        Self::from(i64::from(number))
    }
}

/// A request, as far as its key remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) fingerprint: Fingerprint,
    /// A hash of its type's shape: tells a newer type's request from another request.
    shape: u32,
}

impl Request {
    pub(crate) fn of<Q: Serialize + ?Sized>(request: &Q) -> Result<Self> {
        let (fingerprint, shape) =
            fingerprint(request).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Self { fingerprint, shape })
    }
}

/// How a request compares with the one its key was used for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestMatch {
    /// It is the same.
    Same,
    /// Both types have the same shape, and the values differ: it is another request.
    Differs,
    /// The types have different shapes: it may be the same request, as another release of the program
    /// writes it. The shape is what a type says by itself: names, fields and kinds. Of what is inside
    /// an `Option`, a list, a map or an enum, and of a field that `skip_serializing_if` left out, only
    /// the value says more.
    ShapeDiffers,
    /// One of the two requests is not known.
    Unknown,
}

impl RequestMatch {
    pub(crate) fn of(then: Option<Request>, now: Option<Request>) -> Self {
        match (then, now) {
            (Some(then), Some(now)) if then.fingerprint == now.fingerprint => Self::Same,
            (Some(then), Some(now)) if then.shape == now.shape => Self::Differs,
            (Some(_), Some(_)) => Self::ShapeDiffers,
            _ => Self::Unknown,
        }
    }
}

/// What is known of the operation under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) state: KeyState,
    pub(crate) request: Option<Request>,
    /// Who took it up last.
    pub(crate) epoch: Epoch,
    pub(crate) changed: Timestamp,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) deadline: Option<Timestamp>,
}

impl Record for KeyRecord {
    const TABLE: Table = Table::Keys;
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyState {
    /// Somebody is at it, or was when it died: which, the epoch and the holder's list tell.
    InFlight,
    /// Perhaps done.
    InDoubt { why: String },
    /// Done, with this answer.
    Done { outcome: Typed },
    /// Seen, and its record was damaged: it is in quarantine under this number.
    Lost { quarantine: u64 },
}

/// What can happen to a key that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The operation was done.
    Complete { outcome: Typed },
    /// It was not done: the key is free again.
    Release,
    /// It may have been done.
    Doubt { why: String },
    /// Whoever was at it is gone.
    Abandon,
}

/// A pair of state and event that no correct caller produces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a key that is {state} cannot take `{event}`: it was settled in another place")]
pub(crate) struct Illegal {
    state: &'static str,
    event: &'static str,
}

/// The state after an event; `None` when the key is free again. The only place that decides it, for
/// live work and for recovery alike.
pub(crate) fn next(state: KeyState, event: Event) -> Result<Option<KeyState>, Illegal> {
    match (state, event) {
        // What was lost to damage is settled by what a person found out.
        (
            KeyState::InFlight | KeyState::InDoubt { .. } | KeyState::Lost { .. },
            Event::Complete { outcome },
        ) => Ok(Some(KeyState::Done { outcome })),
        (KeyState::InFlight | KeyState::InDoubt { .. } | KeyState::Lost { .. }, Event::Release) => {
            Ok(None)
        }
        (KeyState::InFlight | KeyState::InDoubt { .. }, Event::Doubt { why }) => {
            Ok(Some(KeyState::InDoubt { why }))
        }
        (KeyState::InFlight, Event::Abandon) => Ok(Some(KeyState::InDoubt {
            why: "whoever claimed it ended without saying what became of it".into(),
        })),
        (doubt @ KeyState::InDoubt { .. }, Event::Abandon) => Ok(Some(doubt)),
        (state @ (KeyState::Done { .. } | KeyState::Lost { .. }), event) => {
            Err(Illegal { state: state.name(), event: event.name() })
        }
    }
}

impl KeyState {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::InFlight => "in flight",
            Self::InDoubt { .. } => "in doubt",
            Self::Done { .. } => "done",
            Self::Lost { .. } => "damaged",
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Complete { .. } => "complete",
            Self::Release => "release",
            Self::Doubt { .. } => "doubt",
            Self::Abandon => "abandon",
        }
    }
}

const OPEN: u8 = 0;
const SETTLED: u8 = 1;
const STEP: u8 = 0;
const CLAIM: u8 = 1;

/// The keys of all claims that are not settled begin so.
pub(crate) const OPEN_CLAIMS: &[u8] = &[OPEN, CLAIM];

pub(crate) fn step_key(run: &RunName, key: &[u8]) -> Vec<u8> {
    named(&[SETTLED, STEP], run.as_str(), key)
}

pub(crate) fn open_claim_key(scope: &Scope, key: &[u8]) -> Vec<u8> {
    named(OPEN_CLAIMS, scope.as_str(), key)
}

pub(crate) fn settled_claim_key(scope: &Scope, key: &[u8]) -> Vec<u8> {
    named(&[SETTLED, CLAIM], scope.as_str(), key)
}

/// The scope and the key of a claim's row.
pub(crate) fn claim_of_key(row: &[u8]) -> Option<(Scope, &[u8])> {
    let (scope, key) = unnamed(row, 2)?;
    Some((Scope::new(scope).ok()?, key))
}

/// The run of a step's row.
pub(crate) fn run_of_step_key(row: &[u8]) -> Option<RunName> {
    let (run, _) = row.starts_with(&[SETTLED, STEP]).then(|| unnamed(row, 2))??;
    RunName::new(run).ok()
}

/// The keys that fall due in one tick and were settled in one commit.
///
/// Its payload is no encoded value but a packed list of keys.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExpiryRecord;

impl Record for ExpiryRecord {
    const TABLE: Table = Table::Expiry;
}

/// Keys of one commit that fall due within so long stand in one row, in ms.
const EXPIRY_TICK_MS: u64 = 100;

/// The row in which a key with this deadline is listed: rounded up, so nothing expires early.
pub(crate) fn expiry_key(deadline: Timestamp, seq: CommitSeq) -> Vec<u8> {
    [expiry_tick(deadline).as_ms().to_be_bytes(), seq.get().to_be_bytes()].concat()
}

/// The row of an index that was made anew: in front of all commits.
pub(crate) fn expiry_key_of_tick(tick: Timestamp) -> Vec<u8> {
    [tick.as_ms().to_be_bytes(), [0; 8]].concat()
}

/// The tick on or after a deadline.
pub(crate) fn expiry_tick(deadline: Timestamp) -> Timestamp {
    let ticks = deadline.as_ms().div_ceil(EXPIRY_TICK_MS);
    Timestamp::from_ms(ticks.saturating_mul(EXPIRY_TICK_MS))
}

/// The moment at which everything in an expiry row has fallen due.
pub(crate) fn expiry_due(row: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::from_ms(u64::from_be_bytes(*row.first_chunk::<8>()?)))
}

#[cfg(test)]
mod tests;
