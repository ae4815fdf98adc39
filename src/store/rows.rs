//! Rows in memory, in the order of their keys: what one plan or one group writes into a table.
//!
//! Thousands of small rows are made and dropped with every group, on different threads. So all bytes
//! stand in one piece of memory, and the order is a list of places in it, cut into short pieces that
//! an insertion in the middle moves.

/// The longest piece of the list.
const PIECE_MAX: usize = 256;

/// What is to be written to a row: a value, or `None` for a row that goes.
pub(super) type Value<'r> = Option<&'r [u8]>;

/// The rows of one table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// In order, none of them empty.
    pieces: Vec<Vec<Slot>>,
    /// The memory of a piece, for the first row.
    spare: Vec<Slot>,
}

/// Where a row's key and value stand.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Span,
    value: Option<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    at: usize,
    len: usize,
}

/// What a row was before it was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Absent,
    Gone,
    Put,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How much memory the rows take, overwritten values included, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all rows and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        if let Some(mut piece) = self.pieces.drain(..).next() {
            piece.clear();
            self.spare = piece;
        }
    }

    /// Makes room for so many bytes at once.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// The row, if it is among these: its value, or `None` if it goes.
    pub(super) fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        let (piece, slot) = self.find(key).ok()?;
        let slot = self.pieces.get(piece)?.get(slot)?;
        Some(slot.value.map(|value| self.at(value)))
    }

    pub(super) fn set(&mut self, key: &[u8], value: Value<'_>) -> Before {
        match self.find(key) {
            Ok((piece, slot)) => {
                let old = self.pieces.get(piece).and_then(|piece| piece.get(slot)?.value);
                let new = value.map(|value| self.overwrite(old, value));
                if let Some(slot) = self.pieces.get_mut(piece).and_then(|piece| piece.get_mut(slot))
                {
                    slot.value = new;
                }
                if old.is_some() { Before::Put } else { Before::Gone }
            }
            Err((piece, slot)) => {
                let key = self.store(key);
                let value = value.map(|value| self.store(value));
                self.insert(piece, slot, Slot { key, value });
                Before::Absent
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        self.pieces.iter().flatten().map(|slot| self.row(slot))
    }

    /// The rows whose keys are not below `start`.
    pub(super) fn from(&self, start: &[u8]) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        let (piece, slot) = self.find(start).unwrap_or_else(|place| place);
        let (first, rest) = self.pieces.get(piece..).and_then(<[_]>::split_first).unzip();
        let first = first.and_then(|first: &Vec<Slot>| first.get(slot..)).unwrap_or_default();
        first.iter().chain(rest.unwrap_or_default().iter().flatten()).map(|slot| self.row(slot))
    }

    fn row(&self, slot: &Slot) -> (&[u8], Value<'_>) {
        (self.at(slot.key), slot.value.map(|value| self.at(value)))
    }

    fn at(&self, span: Span) -> &[u8] {
        self.bytes
            .get(span.at..span.at + span.len)
            .expect("every span was made by `store`, and bytes are only ever added")
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span { at, len: bytes.len() }
    }

    /// In the old value's place if the new one fits: a run's state is written again and again.
    fn overwrite(&mut self, old: Option<Span>, value: &[u8]) -> Span {
        if let Some(old) = old.filter(|old| value.len() <= old.len)
            && let Some(place) = self.bytes.get_mut(old.at..old.at + value.len())
        {
            place.copy_from_slice(value);
            return Span { at: old.at, len: value.len() };
        }
        self.store(value)
    }

    /// The piece and the place in it where the key is, or where it belongs.
    fn find(&self, key: &[u8]) -> Result<(usize, usize), (usize, usize)> {
        let Some(last) = self.pieces.last() else { return Err((0, 0)) };
        // Most rows come in order.
        if last.last().is_some_and(|slot| self.at(slot.key) < key) {
            return Err((self.pieces.len() - 1, last.len()));
        }
        let ends_below =
            |piece: &Vec<Slot>| piece.last().is_some_and(|slot| self.at(slot.key) < key);
        let nth = self.pieces.partition_point(ends_below);
        let piece = self.pieces.get(nth).map(Vec::as_slice).unwrap_or_default();
        match piece.binary_search_by(|slot| self.at(slot.key).cmp(key)) {
            Ok(slot) => Ok((nth, slot)),
            Err(slot) => Err((nth, slot)),
        }
    }

    fn insert(&mut self, nth: usize, slot: usize, new: Slot) {
        let Some(piece) = self.pieces.get_mut(nth) else {
            let mut piece = std::mem::take(&mut self.spare);
            piece.push(new);
            self.pieces.push(piece);
            return;
        };
        if piece.len() < PIECE_MAX {
            piece.insert(slot, new);
            return;
        }
        // Cut where the new row goes if that is the end, so that rows in order fill their pieces.
        let cut = if slot == piece.len() { slot } else { PIECE_MAX / 2 };
        let mut behind = Vec::with_capacity(PIECE_MAX);
        behind.extend(piece.drain(cut..));
        match slot.checked_sub(cut) {
            Some(slot) => behind.insert(slot, new),
            None => piece.insert(slot, new),
        }
        self.pieces.insert(nth + 1, behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn rows_are_what_an_ordered_map_would_be(
            ops in prop::collection::vec((0u16..900, prop::option::of("[a-z]{0,6}")), 0..2_000),
            start in 0u16..900,
        ) {
            let (mut rows, mut map) = (Rows::default(), BTreeMap::new());
            for (key, value) in ops {
                let key = key.to_be_bytes();
                let before = rows.set(&key, value.as_ref().map(String::as_bytes));
                let expected = match map.insert(key, value) {
                    None => Before::Absent,
                    Some(None) => Before::Gone,
                    Some(Some(_)) => Before::Put,
                };
                prop_assert_eq!(before, expected);
            }
            let expected = |from: u16| {
                let rows = map.range(from.to_be_bytes()..);
                rows.map(|(key, value)| (key.to_vec(), value.clone())).collect::<Vec<_>>()
            };
            let found = |rows: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                rows.map(|(key, value)| (key.to_vec(), value.map(text))).collect::<Vec<_>>()
            };
            prop_assert_eq!(found(&mut rows.iter()), expected(0));
            prop_assert_eq!(found(&mut rows.from(&start.to_be_bytes())), expected(start));
            for key in 0u16..900 {
                let key = key.to_be_bytes();
                let value = map.get(&key).map(|value| value.as_ref().map(String::as_bytes));
                prop_assert_eq!(rows.get(&key), value);
            }
        }
    }

    #[test]
    fn a_state_that_is_written_again_takes_no_more_room() {
        let mut rows = Rows::default();
        rows.set(b"run", Some(b"state one"));
        let before = rows.bytes();
        rows.set(b"run", Some(b"state two"));
        rows.set(b"run", Some(b"three"));
        assert_eq!(rows.bytes(), before);
        assert_eq!(rows.get(b"run"), Some(Some(b"three".as_slice())));
    }
}
