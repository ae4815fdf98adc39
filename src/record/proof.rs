//! The proof that what is written comes back: each value is read from its bytes, and what was read gives
//! the same bytes again. A type that reads some of its values otherwise than it writes them, refuses
//! them, or panics over them, is found when such a value is written, and not at the next start.
//!
//! A large state that is saved again by each step is the exception: it is proven when it is made of
//! what was not proven before, and now and then as a whole, as its caller says.

use std::any::type_name;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::canonical;
use super::caught::caught;
use super::chunk::Chunked;
use super::codec::{DecodeError, EncodeError, decode, write};
use super::order;
use super::tree::{Tree, tree_of};
use super::writing::{Shapes, Writing};

/// Up to here, all that is written is proven each time.
pub(crate) const SMALL_BYTES_MAX: usize = 64 << 10;

/// A value that was written, and the one that was read from its bytes to prove that it comes back.
#[derive(Debug)]
pub(crate) struct Proven<B, T> {
    pub(crate) bytes: B,
    pub(crate) back: T,
}

/// [`encode`], and the proof that the value comes back: its bytes are read, and what was read gives
/// the same bytes again. `about` is how many bytes it may have.
pub(crate) fn encode_guarded<T: Serialize + DeserializeOwned>(
    value: &T,
    about: usize,
) -> Result<Proven<Vec<u8>, T>, EncodeError> {
    let of = type_name::<T>();
    loop {
        let mut out = Writing::about(about.max(256));
        out.keep(of);
        write(value, &mut out)?;
        match prove(&out, &out.bytes) {
            Ok(back) => return Ok(Proven { bytes: out.bytes, back }),
            // One more container is known to have no order: each of them is learned once.
            Err(Unproven { is_other: true, .. }) if learn::<T>(&out, &out.bytes) => {}
            Err(unproven) => return Err(unproven.error_of(value, &out.bytes)),
        }
    }
}

/// When a large value is proven to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Now,
    /// If it is made of what was not proven before.
    OfWhatIsNew,
}

/// [`encode_guarded`], of a value that is large and came of one that was cut `before`: it is cut as it
/// is encoded, so what did not change is not there twice.
pub(crate) fn cut_guarded<T: Serialize + DeserializeOwned>(
    value: &T,
    before: &Arc<Chunked>,
    proof: Proof,
) -> Result<Chunked, EncodeError> {
    let of = type_name::<T>();
    loop {
        let mut out = Writing::after(Arc::clone(before));
        out.keep(of);
        write(value, &mut out)?;
        let chunked = out.take_chunks();
        let is_large = chunked.len() > SMALL_BYTES_MAX;
        let is_sure = out.unsure.is_empty() || chunked.len() > SURE_BYTES_MAX;
        if is_large && proof == Proof::OfWhatIsNew && is_sure && is_proven(of, out.shapes.as_ref())
        {
            return Ok(chunked);
        }
        let bytes = chunked.whole();
        match prove::<T>(&out, &bytes) {
            Ok(_) => {
                note_proven(of, out.shapes.as_ref());
                return Ok(chunked);
            }
            Err(Unproven { is_other: true, .. }) if learn::<T>(&out, &bytes) => {}
            Err(unproven) => return Err(unproven.error_of(value, &bytes)),
        }
    }
}

/// The shapes, by type, of which large values were proven to come back.
type Shaped = HashMap<&'static str, HashSet<u64>>;

fn shaped() -> &'static RwLock<Shaped> {
    static SHAPED: OnceLock<RwLock<Shaped>> = OnceLock::new();
    SHAPED.get_or_init(RwLock::default)
}

fn is_proven(of: &'static str, shapes: Option<&Shapes>) -> bool {
    let Some(shapes) = shapes else { return false };
    let all = shaped().read().unwrap_or_else(PoisonError::into_inner);
    all.get(of).is_some_and(|proven| shapes.iter().all(|shape| proven.contains(shape)))
}

fn note_proven(of: &'static str, shapes: Option<&Shapes>) {
    let mut all = shaped().write().unwrap_or_else(PoisonError::into_inner);
    all.entry(of).or_default().extend(shapes.into_iter().flat_map(Shapes::iter));
}

/// Why a value is not proven to come back.
struct Unproven {
    error: EncodeError,
    /// It was read, and gives other bytes.
    is_other: bool,
}

impl Unproven {
    /// The error, with the name of the field if the value was read as another one.
    fn error_of<T: Serialize + DeserializeOwned>(self, value: &T, bytes: &[u8]) -> EncodeError {
        let EncodeError::Unfaithful { name, why } = self.error else { return self.error };
        let differs = || {
            let (was, is) = (tree_of(value, false), tree_of(&read_back::<T>(bytes).ok()?, false));
            differs(&was.ok()?, &is.ok()?)
        };
        let named = caught(|| if self.is_other { differs() } else { None }).ok().flatten();
        EncodeError::Unfaithful {
            name,
            why: named.map_or(why.clone(), |at| format!("{why}: {at}")),
        }
    }
}

/// Where a value that was read back differs from what was written, for an error.
pub(super) fn differs(was: &Tree, is: &Tree) -> Option<String> {
    let (path, is_order_alone) = was.differs_from(is)?;
    let at = match path.trim_start_matches('.') {
        "" => "it differs".to_owned(),
        field => format!("`{field}` differs"),
    };
    Some(if is_order_alone {
        format!("{at} in its order. Store a set that is written as a list as a `BTreeSet`")
    } else {
        at
    })
}

thread_local! {
    /// Memory for what is written of a value that was read back.
    static AGAIN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads a value from the bytes that were written of it, and compares the bytes of what was read: once,
/// or as often as it takes to be sure of containers that are not known to keep their order.
fn prove<T: Serialize + DeserializeOwned>(out: &Writing, bytes: &[u8]) -> Result<T, Unproven> {
    let of = type_name::<T>();
    let refused = |why: String, is_other| Unproven {
        error: EncodeError::Unfaithful { name: of, why },
        is_other,
    };
    let rounds = out.rounds(rounds_max(bytes.len()));
    let mut round = 1;
    loop {
        let back = read_back::<T>(bytes).map_err(|why| refused(why, false))?;
        let mut memory = AGAIN.take();
        memory.reserve(bytes.len());
        let mut again = Writing::into(memory);
        again.keep_as(out);
        let rewritten = caught(|| canonical::write(&back, &mut again));
        rewritten
            .map_err(|said| refused(format!("its `Serialize` panics over it: {said}"), false))?
            .map_err(|refusal| refused(refusal.0, false))?;
        if again.bytes != bytes {
            let (len, other) = (bytes.len(), again.bytes.len());
            return Err(refused(format!("its {len} bytes became {other} other ones"), true));
        }
        if again.bytes.capacity() <= SMALL_BYTES_MAX {
            again.bytes.clear();
            AGAIN.set(again.bytes);
        }
        if round == rounds {
            if !out.unsure.is_empty() {
                order::came_back(of, &out.unsure, rounds);
            }
            return Ok(back);
        }
        round += 1;
    }
}

/// Up to here, a value is read as often as it takes to be sure of all its containers.
const SURE_BYTES_MAX: usize = 256 << 10;

/// How often a value of so many bytes is read at most in one proof.
pub(super) fn rounds_max(bytes: usize) -> u32 {
    if bytes <= SURE_BYTES_MAX { u32::MAX } else { 8 }
}

/// A value as its bytes are read; a panic is a refusal.
fn read_back<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    caught(|| decode::<T>(bytes))
        .map_err(|said| format!("its `Deserialize` panics over it: {said}"))?
        .map_err(|error| error.to_string())
}

/// Looks for a container that has no order: two values that were read from the same bytes have it in two
/// of them. Whether one was found.
fn learn<T: Serialize + DeserializeOwned>(out: &Writing, bytes: &[u8]) -> bool {
    let tree = || {
        let mut tree = tree_of(&read_back::<T>(bytes).ok()?, false).ok()?;
        tree.sort(out.known(), &mut Vec::new());
        Some(tree)
    };
    order::learn(type_name::<T>(), out.known(), rounds_max(bytes.len()), tree, Tree::reordered)
}

/// [`decode`], and the proof that the value gives the same bytes again.
///
/// For bytes that may have been written for another type: those often decode by chance, but seldom
/// encode back to themselves.
pub(crate) fn decode_same<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let of = type_name::<T>();
    let value = decode(bytes)?;
    loop {
        let mut again = Writing::about(bytes.len());
        again.keep(of);
        match canonical::write(&value, &mut again) {
            Ok(()) if again.bytes == bytes => return Ok(value),
            // It was sorted by a process that knew what this one does not know yet.
            Ok(()) if learn::<T>(&again, bytes) => {}
            _ => return Err(DecodeError::Other { name: of }),
        }
    }
}
