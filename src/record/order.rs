//! Which lists and maps have an order, and which have none.
//!
//! serde shows a set as a list, and every map alike. What a container keeps is told in two ways. By
//! the name of its type: where a container is serialized, [`collect_seq`] and [`collect_map`] name it
//! behind each box, newtype and `with` module. And by what it does: bytes that are read twice and come
//! out in two orders have none ([`learn`]). A name alone proves no order, for a `Vec` may be a copy that
//! a `with` module or `#[serde(into)]` has made of a hash set: so each list of two elements or more is
//! read, once per place in a type and process, until the chance that its order is an accident is below
//! 2^-48 ([`Known::rounds`]).
//!
//! What has no order is sorted when it is written, so that equal values give equal bytes. All else is
//! written as it comes, and must come back in that order.
//!
//! [`collect_seq`]: serde::Serializer::collect_seq
//! [`collect_map`]: serde::Serializer::collect_map

use std::any::type_name;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// What the name of a container says of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Another one in each value that is read.
    None,
    /// That of its keys: it says nothing that they do not say.
    OfKeys,
    /// Its own.
    Kept,
    Unknown,
}

impl Order {
    /// Of a list or a map, by the name of its type, of a reference to it, or of an iterator over it.
    pub(super) fn of(mut name: &str) -> Self {
        while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
            name = inner;
        }
        let is_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if is_any(KEPT) {
            Self::Kept
        } else if is_any(NONE) {
            Self::None
        } else if is_any(OF_KEYS) {
            Self::OfKeys
        } else {
            Self::Unknown
        }
    }
}

const WRAPPERS: &[&str] = &[
    "&",
    "mut ",
    "alloc::boxed::Box<",
    "alloc::rc::Rc<",
    "alloc::sync::Arc<",
    "core::cell::RefCell<",
    "core::cell::Cell<",
    "core::iter::adapters::map::Map<",
    "core::iter::adapters::cloned::Cloned<",
    "core::iter::adapters::copied::Copied<",
];
const KEPT: &[&str] = &[
    "alloc::vec::",
    "[",
    "core::slice::",
    "alloc::collections::vec_deque::",
    "alloc::collections::linked_list::",
    "indexmap::",
    "serde_json::",
    "smallvec::",
    "arrayvec::",
    "toml::",
];
const NONE: &[&str] = &[
    "std::collections::hash::",
    "hashbrown::",
    "ahash::",
    "dashmap::",
    "im::hash::",
    "imbl::hash::",
    "im::hashmap::",
    "im::hashset::",
    "scc::",
    "papaya::",
    // In the order of its array, which says how it was filled.
    "alloc::collections::binary_heap::",
];
const OF_KEYS: &[&str] = &["alloc::collections::btree::"];

/// A name that says what a container is: its own, or that of what hands it on.
pub(super) fn named<I>(handed_on_by: &'static str) -> &'static str {
    let own = type_name::<I>();
    if Order::of(own) == Order::Unknown { handed_on_by } else { own }
}

/// How many there are, if they say so.
pub(super) fn counted(all: &impl Iterator) -> Option<usize> {
    match all.size_hint() {
        (low, Some(high)) if low == high => Some(low),
        _ => None,
    }
}

/// A place in a type: the fields that lead there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

impl Place {
    pub(super) const ROOT: Self = Self(0x9E37_79B9_7F4A_7C15);

    #[inline]
    pub(super) fn field(self, name: &'static str) -> Self {
        name.as_bytes().chunks(8).fold(self.nth(name.len()), |place, chunk| {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            place.mixed(u64::from_le_bytes(word))
        })
    }

    #[inline]
    pub(super) fn nth(self, nth: usize) -> Self {
        self.mixed(nth as u64)
    }

    #[inline]
    fn mixed(self, with: u64) -> Self {
        Self((self.0.rotate_left(23) ^ with).wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
    }
}

/// A place with containers of more than one entry that are not known to keep their order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsure {
    pub(super) place: Place,
    /// What it says for an order if all of them come back in the one they were written in.
    bits: u32,
}

impl Unsure {
    /// Notes a container of so many entries down.
    pub(super) fn note(all: &mut Vec<Self>, place: Place, entries: usize) {
        match all.iter_mut().find(|one| one.place == place) {
            Some(one) if one.bits < SURE_BITS => one.bits += bits(entries),
            Some(_) => {}
            None => all.push(Self { place, bits: bits(entries) }),
        }
    }
}

/// Places that were just found to keep their order: a list of lists asks for one place again and again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recent([Option<Place>; 8]);

impl Recent {
    #[inline]
    pub(super) fn has(&self, place: Place) -> bool {
        self.0.get(Self::slot(place)).is_some_and(|recent| *recent == Some(place))
    }

    pub(super) fn note(&mut self, place: Place) {
        if let Some(slot) = self.0.get_mut(Self::slot(place)) {
            *slot = Some(place);
        }
    }

    #[inline]
    fn slot(place: Place) -> usize {
        (place.0 >> 61) as usize
    }
}

/// What is known of the containers of one type.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Those that were seen to have no order.
    none: Vec<Place>,
    /// How sure it is of the others that they have one, in bits.
    sure: HashMap<Place, u32>,
}

/// So sure it has to be that the order in which a container came back was not chance.
const SURE_BITS: u32 = 48;

impl Known {
    pub(super) fn has_none(&self, place: Place) -> bool {
        self.none.contains(&place)
    }

    /// Whether the containers there keep their order, beyond chance.
    pub(super) fn is_sure(&self, place: Place) -> bool {
        self.sure.get(&place).is_some_and(|bits| *bits >= SURE_BITS)
    }

    /// How often a value has to be read until it is sure that its containers keep their order.
    pub(super) fn rounds(&self, seen: &[Unsure], rounds_max: u32) -> u32 {
        let rounds = seen.iter().map(|one| {
            let sure = self.sure.get(&one.place).copied().unwrap_or(0);
            SURE_BITS.saturating_sub(sure).div_ceil(one.bits.max(1))
        });
        rounds.max().unwrap_or(0).clamp(1, rounds_max)
    }
}

/// How much is said by one order of so many entries, in whole bits.
fn bits(entries: usize) -> u32 {
    let (mut orders, mut nth) = (1u128, 2);
    while nth <= entries as u128 && orders < 1 << SURE_BITS {
        orders *= nth;
        nth += 1;
    }
    orders.ilog2()
}

type All = HashMap<&'static str, Arc<Known>>;

fn all() -> &'static RwLock<All> {
    static ALL: OnceLock<RwLock<All>> = OnceLock::new();
    ALL.get_or_init(RwLock::default)
}

/// Whether anything is known at all.
static ANY: AtomicBool = AtomicBool::new(false);

/// What this process knows of a type.
pub(super) fn known(of: &'static str) -> Option<Arc<Known>> {
    if !ANY.load(Ordering::Acquire) {
        return None;
    }
    all().read().unwrap_or_else(PoisonError::into_inner).get(of).cloned()
}

/// Notes that the containers of a value came back so often in the order in which they were written.
pub(super) fn came_back(of: &'static str, seen: &[Unsure], rounds: u32) {
    change(of, |known| {
        for one in seen {
            let sure = known.sure.entry(one.place).or_default();
            *sure = sure.saturating_add(one.bits.saturating_mul(rounds)).min(SURE_BITS);
        }
    });
}

/// Looks for a container without an order, in values that `read` reads from the same bytes, and notes
/// it down; `reordered` says which of two has it in another order. Whether one was found.
pub(super) fn learn<V>(
    of: &'static str,
    known: Option<&Known>,
    rounds_max: u32,
    read: impl Fn() -> Option<V>,
    reordered: impl Fn(&V, &V) -> Option<Place>,
) -> bool {
    let Some(first) = read() else { return false };
    // Seldom more than two readings; all of them only for a type that lies.
    let rounds = SURE_BITS.min(rounds_max.saturating_mul(2));
    let place = (0..rounds).find_map(|_| reordered(&first, &read()?));
    // One that was sorted already is not what gives other bytes: without this, no end.
    let place = place.filter(|place| !known.is_some_and(|known| known.has_none(*place)));
    if let Some(place) = place {
        change(of, |known| {
            // Another thread may have found the same.
            if !known.has_none(place) {
                known.none.push(place);
            }
        });
    }
    place.is_some()
}

fn change(of: &'static str, change: impl FnOnce(&mut Known)) {
    let mut all = all().write().unwrap_or_else(PoisonError::into_inner);
    change(Arc::make_mut(all.entry(of).or_default()));
    ANY.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::any::type_name;
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
    use std::sync::Arc;

    use super::*;

    /// Against: a compiler that spells a name otherwise than the lists here do.
    #[test]
    fn the_names_of_the_standard_library_are_known() {
        fn is<T: ?Sized>(order: Order) {
            assert_eq!(Order::of(type_name::<T>()), order, "{}", type_name::<T>());
            assert_eq!(Order::of(type_name::<&T>()), order, "{}", type_name::<&T>());
            assert_eq!(Order::of(type_name::<Box<T>>()), order);
            assert_eq!(Order::of(type_name::<Arc<RefCell<T>>>()), order);
        }
        is::<HashMap<String, u8>>(Order::None);
        is::<HashSet<Vec<u8>>>(Order::None);
        is::<std::collections::hash_map::Iter<'_, u8, u8>>(Order::None);
        is::<BinaryHeap<u8>>(Order::None);
        is::<BTreeMap<u8, HashSet<u8>>>(Order::OfKeys);
        is::<BTreeSet<u8>>(Order::OfKeys);
        is::<Vec<HashSet<u8>>>(Order::Kept);
        is::<VecDeque<u8>>(Order::Kept);
        is::<[u8]>(Order::Kept);
        is::<serde_json::Map<String, serde_json::Value>>(Order::Kept);
        assert_eq!(Order::of("bot::Ids"), Order::Unknown);
    }

    #[test]
    fn an_order_of_many_entries_says_more_than_one_of_two() {
        assert_eq!([0, 1, 2, 3, 4].map(bits), [0, 0, 1, 2, 4]);
        assert!(bits(100) >= SURE_BITS);
        let known = Known::default();
        let seen = |entries| {
            let mut seen = Vec::new();
            Unsure::note(&mut seen, Place::ROOT, entries);
            seen
        };
        assert_eq!(known.rounds(&seen(2), u32::MAX), SURE_BITS);
        assert_eq!(known.rounds(&seen(100), u32::MAX), 1);
        assert_eq!(known.rounds(&[], u32::MAX), 1);
        let mut pairs = Vec::new();
        (0..60).for_each(|_| Unsure::note(&mut pairs, Place::ROOT, 2));
        assert_eq!(
            known.rounds(&pairs, u32::MAX),
            1,
            "sixty sets of two say as much as one of sixty"
        );
    }

    #[test]
    fn places_are_told_apart_by_the_fields_that_lead_there() {
        let places = [
            Place::ROOT,
            Place::ROOT.field("a"),
            Place::ROOT.field("b"),
            Place::ROOT.field("a").field("b"),
            Place::ROOT.field("b").field("a"),
            Place::ROOT.field("ab"),
            Place::ROOT.field("a_longer_name_1"),
            Place::ROOT.field("a_longer_name_2"),
            Place::ROOT.nth(0),
            Place::ROOT.nth(1),
        ];
        let all: HashSet<_> = places.iter().collect();
        assert_eq!(all.len(), places.len());
    }
}
