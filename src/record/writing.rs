//! What is written while a value is encoded, and why it may not be.

use std::fmt::{self, Display};
use std::sync::Arc;

use serde::ser;

use super::chunk::{CHUNK_BYTES_MAX, Chunked, Cutter};
use super::frame::CODEC_BINCODE;

/// What is written, and which shapes were seen on the way.
pub(super) struct Writing {
    /// What was written, or, where that is cut as it comes, the last of it.
    pub(super) bytes: Vec<u8>,
    pub(super) shapes: Shapes,
    /// How many elements all lists have together.
    pub(super) elements: usize,
    cutter: Option<Cutter>,
    /// How many bytes were cut off.
    taken: usize,
    /// The bytes are cut when there are so many.
    full: usize,
}

/// How many bytes are written before they are cut: some chunks, and no more than a near cache holds.
const FULL_BYTES: usize = 8 * CHUNK_BYTES_MAX;

impl Writing {
    /// What will have about so many bytes.
    pub(super) fn about(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            shapes: Shapes::default(),
            elements: 0,
            cutter: None,
            taken: 0,
            full: usize::MAX,
        }
    }

    /// What is cut as it is written, and came of what was cut `before`.
    pub(super) fn after(before: Arc<Chunked>) -> Self {
        let cutter = Cutter::new(CODEC_BINCODE, Some(before));
        let about = FULL_BYTES + CHUNK_BYTES_MAX;
        Self { cutter: Some(cutter), full: FULL_BYTES, ..Self::about(about) }
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

    /// All that was written, cut.
    pub(super) fn into_chunks(self) -> (Chunked, Shapes) {
        let cutter = self.cutter.unwrap_or_else(|| Cutter::new(CODEC_BINCODE, None));
        (cutter.finish(&self.bytes), self.shapes)
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
    pub(super) fn note(&mut self, name: &'static str, number: usize) {
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
