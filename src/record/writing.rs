//! What is written while a value is encoded, and why it may not be.

use std::fmt::{self, Display};
use std::sync::Arc;

use serde::ser;

use super::chunk::{CHUNK_BYTES_MAX, Chunked, Cutter};
use super::frame::CODEC_BINCODE;
use super::order::{self, Known, Order, Place, Recent, Unsure};

/// What is written, and which shapes were seen on the way.
pub(super) struct Writing {
    /// What was written, or, where that is cut as it comes, the last of it.
    pub(super) bytes: Vec<u8>,
    /// Of a large value alone: it is not proven each time, see `proof`.
    pub(super) shapes: Option<Shapes>,
    /// How many elements all lists have together.
    pub(super) elements: usize,
    /// Where containers are that are not known to keep their order.
    pub(super) unsure: Vec<Unsure>,
    maps: Maps,
    known: Option<Arc<Known>>,
    sure: Recent,
    cutter: Option<Cutter>,
    /// How many bytes were cut off.
    taken: usize,
    /// The bytes are cut when there are so many.
    full: usize,
}

/// What is done with maps that keep an order of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maps {
    /// Two that differ in nothing else are one: in what is only compared.
    Sorted,
    Kept,
}

/// How many bytes are written before they are cut: some chunks, and no more than a near cache holds.
const FULL_BYTES: usize = 8 * CHUNK_BYTES_MAX;

impl Writing {
    /// What will have about so many bytes.
    pub(super) fn about(bytes: usize) -> Self {
        Self::into(Vec::with_capacity(bytes))
    }

    /// What is written behind what is there.
    pub(super) fn into(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            shapes: None,
            elements: 0,
            unsure: Vec::new(),
            maps: Maps::Sorted,
            known: None,
            sure: Recent::default(),
            cutter: None,
            taken: 0,
            full: usize::MAX,
        }
    }

    /// What is to be read back as a type of this name, and keeps the order of what has one.
    pub(super) fn keep(&mut self, of: &'static str) {
        (self.maps, self.known) = (Maps::Kept, order::known(of));
    }

    /// What is to be compared with what was written so.
    pub(super) fn keep_as(&mut self, other: &Self) {
        self.maps = other.maps;
        self.known.clone_from(&other.known);
    }

    /// Whether a list of so many elements has to be sorted.
    #[inline]
    pub(super) fn sorts_list(&mut self, of: &str, place: Place, entries: usize) -> bool {
        match Order::of(of) {
            Order::None => true,
            Order::OfKeys => self.was_seen_without(place),
            // A `Vec` may be filled from a hash set when it is written: its name says nothing of that.
            Order::Kept | Order::Unknown => self.sorts_unsure(place, entries),
        }
    }

    /// Whether a map of so many entries has to be sorted.
    pub(super) fn sorts_map(&mut self, of: &str, place: Place, entries: usize) -> bool {
        match (self.maps, Order::of(of)) {
            (Maps::Sorted, _) | (_, Order::None | Order::OfKeys) => true,
            (Maps::Kept, Order::Kept | Order::Unknown) => self.sorts_unsure(place, entries),
        }
    }

    fn was_seen_without(&self, place: Place) -> bool {
        self.known.as_ref().is_some_and(|known| known.has_none(place))
    }

    #[inline]
    fn sorts_unsure(&mut self, place: Place, entries: usize) -> bool {
        // What is only compared is never read, so nothing is learned of it.
        if entries < 2 || self.maps == Maps::Sorted || self.sure.has(place) {
            return false;
        }
        self.sorts_unless_sure(place, entries)
    }

    fn sorts_unless_sure(&mut self, place: Place, entries: usize) -> bool {
        if self.was_seen_without(place) {
            return true;
        }
        if self.known.as_ref().is_some_and(|known| known.is_sure(place)) {
            self.sure.note(place);
        } else {
            Unsure::note(&mut self.unsure, place, entries);
        }
        false
    }

    /// What was known of the type when it was written.
    pub(super) fn known(&self) -> Option<&Known> {
        self.known.as_deref()
    }

    /// How often what was written has to be read to prove that it comes back.
    pub(super) fn rounds(&self, rounds_max: u32) -> u32 {
        if self.unsure.is_empty() {
            return 1;
        }
        self.known().unwrap_or(&Known::default()).rounds(&self.unsure, rounds_max)
    }

    /// What is cut as it is written, and came of what was cut `before`.
    pub(super) fn after(before: Arc<Chunked>) -> Self {
        let cutter = Cutter::new(CODEC_BINCODE, Some(before));
        let about = FULL_BYTES + CHUNK_BYTES_MAX;
        let shapes = Some(Shapes::default());
        Self { cutter: Some(cutter), shapes, full: FULL_BYTES, ..Self::about(about) }
    }

    #[inline]
    pub(super) fn note_shape(&mut self, name: &'static str, number: usize) {
        if let Some(shapes) = &mut self.shapes {
            shapes.note(name, number);
        }
    }

    /// How many bytes were written.
    pub(super) fn len(&self) -> usize {
        self.taken + self.bytes.len()
    }

    /// Between two elements: cuts what there is, if that is enough.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.bytes.len() >= self.full {
            self.cut_off();
        }
    }

    fn cut_off(&mut self) {
        if let Some(cutter) = &mut self.cutter {
            let taken = cutter.take(&self.bytes);
            self.bytes.drain(..taken);
            self.taken += taken;
        }
    }

    /// Writes bytes as they are.
    #[inline]
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if bytes.len() < FULL_BYTES {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        for piece in bytes.chunks(FULL_BYTES) {
            self.settle();
            self.bytes.extend_from_slice(piece);
        }
    }

    /// Writes the parts of a list or of a map, with their number in front.
    pub(super) fn append_all(&mut self, mut parts: Vec<(Vec<u8>, Vec<u8>)>, sort: bool) {
        if sort {
            parts.sort_unstable();
        }
        self.elements += parts.len();
        varint(&mut self.bytes, parts.len() as u128);
        for (key, value) in &parts {
            self.settle();
            self.append(key);
            self.append(value);
        }
    }

    /// Writes a part by itself; its bytes stay whole.
    pub(super) fn part<E>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let before = std::mem::take(&mut self.bytes);
        let full = std::mem::replace(&mut self.full, usize::MAX);
        let written = write(self);
        self.full = full;
        let part = std::mem::replace(&mut self.bytes, before);
        written.map(|()| part)
    }

    /// All that was written, cut; what was seen on the way stays.
    pub(super) fn take_chunks(&mut self) -> Chunked {
        let cutter = self.cutter.take().unwrap_or_else(|| Cutter::new(CODEC_BINCODE, None));
        cutter.finish(&self.bytes)
    }
}

/// The shapes of which a value is made: a type, a variant, a number of fields, a length class of a
/// list. A value of a type that was proven to come back may still be made of others.
#[derive(Default)]
pub(super) struct Shapes {
    seen: Vec<u64>,
    last: u64,
}

impl Shapes {
    /// Notes a shape down by names, which are told apart by where they stand in the program: a name
    /// that stands twice only costs another proof.
    #[inline]
    fn note(&mut self, name: &'static str, number: usize) {
        let mut shape = (name.as_ptr() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        shape ^= (number as u64).wrapping_add(1).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        if shape != self.last {
            self.come(shape);
        }
    }

    fn come(&mut self, shape: u64) {
        if !self.seen.contains(&shape) {
            self.seen.push(shape);
        }
        self.last = shape;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &u64> {
        self.seen.iter()
    }
}

/// Numbers and the like come back as they are, and stand in long lists: inlined, this is known when
/// the program is built.
#[inline(always)]
#[expect(clippy::inline_always, reason = "asked of every number; not inlined, a tenth of the time")]
pub(super) fn is_primitive(name: &str) -> bool {
    matches!(
        name,
        "u8" | "u16"
            | "u32"
            | "u64"
            | "u128"
            | "usize"
            | "i8"
            | "i16"
            | "i32"
            | "i64"
            | "i128"
            | "isize"
            | "f32"
            | "f64"
            | "bool"
            | "char"
            | "str"
    )
}

/// Why a value has no canonical encoding: said by the type's own `Serialize`, or by
/// `canonical`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// bincode's variable-length integers: one byte up to 250, else a marker and the smallest width.
pub(super) fn varint(out: &mut Vec<u8>, value: u128) {
    if let Ok(byte @ 0..=250) = u8::try_from(value) {
        out.push(byte);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(251);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(252);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u64::try_from(value) {
        out.push(253);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(254);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

#[expect(clippy::cast_sign_loss, reason = "zigzag folds the sign into the lowest bit")]
pub(super) fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)) as u128
}
