//! The bytes of a value while it is read from JSON.

use serde::de;

use crate::record::shape::node::{Node, Shape};
use crate::record::writing::{varint, zigzag};

/// What is written, and where the reader is.
pub(super) struct Writer<'s> {
    pub(super) shape: &'s Shape,
    pub(super) out: Vec<u8>,
    pub(super) out_max: usize,
    pub(super) entries: Entries,
    /// Where in the value the reader is, or was when it failed.
    pub(super) path: Vec<Part>,
}

/// In which order the entries of maps are written. The text does not say whether a map has one of its
/// own, and an editor may have sorted those that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entries {
    AsInTheText,
    Sorted,
}

/// A part of a path.
pub(super) enum Part {
    Field(String),
    Nth(usize),
    Entry(String),
}

impl Writer<'_> {
    pub(super) fn path_from(&self, root: &str) -> String {
        let mut path = root.to_owned();
        for part in &self.path {
            match part {
                Part::Field(name) => path.extend([".", name]),
                Part::Nth(nth) => path.extend(["[", &nth.to_string(), "]"]),
                Part::Entry(key) => path.extend(["[", &format!("{key:?}"), "]"]),
            }
        }
        path
    }

    pub(super) fn check<E: de::Error>(&self) -> Result<(), E> {
        if self.out.len() <= self.out_max {
            return Ok(());
        }
        Err(E::custom(format_args!("the value is longer than the limit of {} bytes", self.out_max)))
    }

    pub(super) fn put<E: de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.out.extend_from_slice(bytes);
        self.check()
    }

    pub(super) fn number<E: de::Error>(&mut self, number: u128) -> Result<(), E> {
        varint(&mut self.out, number);
        self.check()
    }

    pub(super) fn text<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        self.number(text.len() as u128)?;
        self.put(text.as_bytes())
    }

    /// Puts a length in front of what was written from here on.
    pub(super) fn put_len_at<E: de::Error>(&mut self, at: usize, len: usize) -> Result<(), E> {
        let mut front = Vec::new();
        varint(&mut front, len as u128);
        self.out.splice(at..at, front);
        self.check()
    }

    /// Puts parts of what was written from `at` on into another order.
    pub(super) fn arrange(&mut self, at: usize, parts: &[(usize, usize)]) {
        if parts.is_sorted() {
            return;
        }
        let parts = parts.iter().filter_map(|(from, to)| self.out.get(*from..*to));
        let arranged = parts.collect::<Vec<_>>().concat();
        self.out.truncate(at);
        self.out.extend_from_slice(&arranged);
    }

    pub(super) fn int<E: de::Error>(&mut self, node: &Node, number: i128) -> Result<(), E> {
        let fits = |low: i128, high: i128| (low..=high).contains(&number);
        let ok = match node {
            Node::I8 => fits(i8::MIN.into(), i8::MAX.into()),
            Node::I16 => fits(i16::MIN.into(), i16::MAX.into()),
            Node::I32 => fits(i32::MIN.into(), i32::MAX.into()),
            Node::I64 => fits(i64::MIN.into(), i64::MAX.into()),
            Node::I128 => true,
            Node::U8 => fits(0, u8::MAX.into()),
            Node::U16 => fits(0, u16::MAX.into()),
            Node::U32 => fits(0, u32::MAX.into()),
            Node::U64 => fits(0, u64::MAX.into()),
            Node::U128 => number >= 0,
            #[expect(clippy::cast_precision_loss, reason = "a whole number where a float is asked")]
            Node::F32 | Node::F64 => return self.float(node, number as f64),
            _ => return Err(unexpected(node, "a number")),
        };
        match node {
            _ if !ok => Err(E::custom(format_args!("{number} is no {}", name_of(node)))),
            #[expect(clippy::cast_possible_truncation, reason = "it was held against its range")]
            #[expect(clippy::cast_sign_loss, reason = "the byte is the same")]
            Node::I8 | Node::U8 => self.put(&[number as u8]),
            Node::I16 | Node::I32 | Node::I64 | Node::I128 => self.number(zigzag(number)),
            _ => self.number(number.unsigned_abs()),
        }
    }

    /// A number by its digits.
    pub(super) fn digits<E: de::Error>(&mut self, node: &Node, digits: &str) -> Result<(), E> {
        if matches!(node, Node::F32 | Node::F64) {
            return match digits.parse::<f64>() {
                Ok(float) if float.is_finite() => self.float(node, float),
                _ => Err(E::custom(format_args!("{digits} is no {}", name_of(node)))),
            };
        }
        match (digits.parse::<i128>(), digits.parse::<u128>()) {
            (Ok(number), _) => self.int(node, number),
            (_, Ok(number)) if *node == Node::U128 => self.number(number),
            _ => Err(E::custom(format_args!("{digits} is no {}", name_of(node)))),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "what does not fit is told")]
    pub(super) fn float<E: de::Error>(&mut self, node: &Node, float: f64) -> Result<(), E> {
        match node {
            Node::F64 => self.put(&float.to_le_bytes()),
            Node::F32 if (float as f32).is_finite() || !float.is_finite() => {
                self.put(&(float as f32).to_le_bytes())
            }
            Node::F32 => Err(E::custom(format_args!("{float} is no f32"))),
            _ => Err(unexpected(node, "a number with a fraction")),
        }
    }
}

pub(super) fn is_number(node: &Node) -> bool {
    matches!(
        node,
        Node::I8
            | Node::I16
            | Node::I32
            | Node::I64
            | Node::I128
            | Node::U8
            | Node::U16
            | Node::U32
            | Node::U64
            | Node::U128
            | Node::F32
            | Node::F64
    )
}

pub(super) fn name_of(node: &Node) -> &'static str {
    match node {
        Node::Unit => "null",
        Node::Bool => "true or false",
        Node::I8 => "i8",
        Node::I16 => "i16",
        Node::I32 => "i32",
        Node::I64 => "i64",
        Node::I128 => "i128",
        Node::U8 => "u8",
        Node::U16 => "u16",
        Node::U32 => "u32",
        Node::U64 => "u64",
        Node::U128 => "u128",
        Node::F32 => "f32",
        Node::F64 => "f64",
        Node::Char => "character",
        Node::Text => "text",
        Node::Bytes => "list of bytes",
        Node::Option(_) => "value or null",
        Node::List(_) | Node::Array { .. } | Node::Tuple(_) => "list",
        Node::Map { .. } => "map: an object, or a list of pairs",
        Node::Struct(_) => "object",
        Node::Enum(_) => "name of a variant, or an object with one",
    }
}

pub(super) fn unexpected<E: de::Error>(node: &Node, found: &str) -> E {
    E::custom(format_args!("{found}, where the shape has: {}", name_of(node)))
}
