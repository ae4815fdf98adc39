//! A part of a request as it is hashed: a tag for its kind, then what tells its value.

use crate::record::writing::varint;

#[repr(u8)]
#[derive(Clone, Copy)]
pub(super) enum Tag {
    End,
    Unit,
    False,
    True,
    Positive,
    Negative,
    F32,
    F64,
    Char,
    Text,
    Bytes,
    None,
    Some,
    List,
    Set,
    Tuple,
    Map,
    Struct,
    UnitStruct,
    Newtype,
    TupleStruct,
    UnitVariant,
    NewtypeVariant,
    TupleVariant,
    StructVariant,
    /// A number as text, for which no other kind has room.
    Digits,
    /// In shapes alone.
    Integer,
    Bool,
    Option,
    Enum,
    Any,
}

/// A part of a request, and of its shape.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    pub(super) shape: Vec<u8>,
}

impl Part {
    pub(super) fn tagged(tag: Tag, kind: Tag) -> Self {
        Self { bytes: vec![tag as u8], shape: vec![kind as u8] }
    }

    /// A part that has the same tag in the shape.
    pub(super) fn of(tag: Tag) -> Self {
        Self::tagged(tag, tag)
    }

    pub(super) fn integer(value: i128) -> Self {
        let mut part =
            Self::tagged(if value < 0 { Tag::Negative } else { Tag::Positive }, Tag::Integer);
        varint(&mut part.bytes, value.unsigned_abs());
        part
    }

    pub(super) fn with(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Bytes of any length.
    pub(super) fn with_text(mut self, text: &[u8]) -> Self {
        varint(&mut self.bytes, text.len() as u128);
        self.with(text)
    }

    /// A name that the type gives, and no value changes.
    pub(super) fn named(self, name: &str) -> Self {
        let mut part = self.with_text(name.as_bytes());
        varint(&mut part.shape, name.len() as u128);
        part.shape.extend_from_slice(name.as_bytes());
        part
    }

    /// A part inside that is always there.
    pub(super) fn and(mut self, inner: &Self) -> Self {
        self.bytes.extend_from_slice(&inner.bytes);
        self.shape.extend_from_slice(&inner.shape);
        self
    }

    /// A part inside that depends on the value: it is not in the shape.
    pub(super) fn and_value(self, inner: &Self) -> Self {
        self.with(&inner.bytes)
    }

    pub(super) fn end(mut self) -> Self {
        self.shape.push(Tag::End as u8);
        self.end_value()
    }

    /// The end of what depends on the value.
    pub(super) fn end_value(mut self) -> Self {
        self.bytes.push(Tag::End as u8);
        self
    }
}
