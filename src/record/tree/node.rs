//! What a tree is made of, and what can be asked of it.

use crate::record::order::{Known, Order, Place, Unsure};

/// A value, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::record) enum Tree {
    Unit,
    Bool(bool),
    /// Of the type that serde was handed.
    Signed(Width, i128),
    Unsigned(Width, u128),
    /// By their bits.
    F32(u32),
    F64(u64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    None,
    Some(Box<Tree>),
    UnitStruct(&'static str),
    Newtype(&'static str, Box<Tree>),
    /// A variant, by the name of its enum, its number and its own name.
    Variant(Variant, Held),
    List(Container, Vec<Tree>),
    Tuple(Option<&'static str>, Vec<Tree>),
    Map(Container, Vec<(Tree, Tree)>),
    Struct(&'static str, Vec<(&'static str, Tree)>),
}

/// How wide a number's type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) enum Width {
    W8,
    W16,
    W32,
    W64,
    W128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) struct Variant {
    pub(super) of: &'static str,
    pub(super) number: u32,
    pub(super) name: &'static str,
}

/// What a variant holds.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::record) enum Held {
    Nothing,
    One(Box<Tree>),
    Tuple(Vec<Tree>),
    Struct(Vec<(&'static str, Tree)>),
}

/// What is known of a list or a map beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) struct Container {
    pub(super) place: Place,
    pub(super) order: Order,
}

impl Tree {
    /// Sorts what has no order, as far as is known; what is not known to have one is noted down.
    pub(in crate::record) fn sort(&mut self, known: Option<&Known>, unsure: &mut Vec<Unsure>) {
        self.each_part(&mut |part| part.sort(known, unsure));
        let entries = match self {
            Self::List(_, list) => list.len(),
            Self::Map(_, map) => map.len(),
            _ => return,
        };
        let (Self::List(container, _) | Self::Map(container, _)) = self else { return };
        let Container { place, order } = *container;
        let has_none = match order {
            Order::None => true,
            _ if known.is_some_and(|known| known.has_none(place)) => true,
            Order::OfKeys => matches!(self, Self::Map(..)),
            Order::Kept | Order::Unknown => {
                if entries >= 2 && !known.is_some_and(|known| known.is_sure(place)) {
                    Unsure::note(unsure, place, entries);
                }
                false
            }
        };
        match self {
            Self::List(_, list) if has_none => list.sort_by_cached_key(Self::debug),
            Self::Map(_, map) if has_none => map.sort_by_cached_key(|(key, _)| key.key()),
            _ => {}
        }
    }

    /// What JSON has for it as a key.
    fn key(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            key => serde_json::to_string(key).unwrap_or_else(|_| key.debug()),
        }
    }

    fn debug(&self) -> String {
        format!("{self:?}")
    }

    fn each_part(&mut self, work: &mut impl FnMut(&mut Self)) {
        match self {
            Self::Some(part) | Self::Newtype(_, part) | Self::Variant(_, Held::One(part)) => {
                work(part);
            }
            Self::List(_, parts) | Self::Tuple(_, parts) | Self::Variant(_, Held::Tuple(parts)) => {
                parts.iter_mut().for_each(work);
            }
            Self::Struct(_, fields) | Self::Variant(_, Held::Struct(fields)) => {
                for (_, part) in fields {
                    work(part);
                }
            }
            Self::Map(_, entries) => {
                for (key, value) in entries {
                    work(key);
                    work(value);
                }
            }
            _ => {}
        }
    }

    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Some(part) | Self::Newtype(_, part) | Self::Variant(_, Held::One(part)) => {
                vec![part]
            }
            Self::List(_, parts) | Self::Tuple(_, parts) | Self::Variant(_, Held::Tuple(parts)) => {
                parts.iter().collect()
            }
            Self::Struct(_, fields) | Self::Variant(_, Held::Struct(fields)) => {
                fields.iter().map(|(_, part)| part).collect()
            }
            Self::Map(_, entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            _ => Vec::new(),
        }
    }

    /// The container that holds the same in both, in another order; `None` if there is none. Both are
    /// read from the same bytes.
    pub(in crate::record) fn reordered(&self, other: &Self) -> Option<Place> {
        if self == other {
            return None;
        }
        let mut found = None;
        match (self, other) {
            (Self::List(container, one), Self::List(_, two)) => {
                let same = |a: &Self, b: &Self| a.bag() == b.bag();
                if one.len() == two.len() && one.iter().zip(two).any(|(a, b)| !same(a, b)) {
                    found = Some(container.place);
                }
            }
            (Self::Map(container, one), Self::Map(_, two)) => {
                let same = |a: &Self, b: &Self| a.bag() == b.bag();
                if one.len() == two.len() && one.iter().zip(two).any(|(a, b)| !same(&a.0, &b.0)) {
                    found = Some(container.place);
                }
            }
            _ => {}
        }
        if found.is_some() && self.bag() == other.bag() {
            return found;
        }
        self.parts().into_iter().zip(other.parts()).find_map(|(one, two)| one.reordered(two))
    }

    /// Where two values differ first, by the names of the fields that lead there, such as
    /// `orders[3].price`; `None` if they do not. And whether they differ there in their order alone.
    pub(in crate::record) fn differs_from(&self, other: &Self) -> Option<(String, bool)> {
        if self == other {
            return None;
        }
        let is_order_alone =
            matches!(self, Self::List(..) | Self::Map(..)) && self.bag() == other.bag();
        let (ours, theirs) = (self.named_parts(), other.named_parts());
        let inside = (ours.len() == theirs.len() && !is_order_alone).then(|| {
            let mut pairs = ours.into_iter().zip(theirs);
            pairs.find_map(|((name, one), (_, two))| {
                let (path, is_order_alone) = one.differs_from(two)?;
                Some((format!("{name}{path}"), is_order_alone))
            })
        });
        Some(inside.flatten().unwrap_or((String::new(), is_order_alone)))
    }

    fn named_parts(&self) -> Vec<(String, &Self)> {
        let numbered = |(nth, part)| (format!("[{nth}]"), part);
        match self {
            Self::Struct(_, fields) | Self::Variant(_, Held::Struct(fields)) => {
                fields.iter().map(|(name, part)| (format!(".{name}"), part)).collect()
            }
            Self::Some(part) | Self::Newtype(_, part) | Self::Variant(_, Held::One(part)) => {
                vec![(String::new(), &**part)]
            }
            _ => self.parts().into_iter().enumerate().map(numbered).collect(),
        }
    }

    /// What is the same whatever order its containers are in.
    fn bag(&self) -> String {
        let mut sorted = self.clone();
        sorted.forget_order();
        sorted.debug()
    }

    fn forget_order(&mut self) {
        self.each_part(&mut Self::forget_order);
        match self {
            Self::List(_, list) => list.sort_by_cached_key(Self::debug),
            Self::Map(_, map) => map.sort_by_cached_key(|(key, _)| key.debug()),
            _ => {}
        }
    }
}
