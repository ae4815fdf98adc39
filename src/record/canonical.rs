//! Equal values give equal bytes: the encoding of bincode 2 (standard configuration), with the
//! entries of maps and hash sets sorted by their encoded bytes.
//!
//! serde shows a set as a plain sequence, so hash sets are told by the name of their type where a
//! value is handed to the serializer; should a compiler spell that name otherwise, the guard in
//! `codec` still refuses a type whose bytes change from one encoding to the next.
//!
//! A field that is skipped when writing, and a map whose length is not known (serde's `flatten`),
//! are refused here: bincode has no names in its bytes and would read the next field in its place.

use std::any::type_name;
use std::fmt::{self, Display};

use serde::{Serialize, ser};

/// Appends the canonical encoding of `value` to `out`.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refusal> {
    value.serialize(Canonical { out, of: type_name::<T>() })
}

/// Why a value has no canonical encoding: said by the type's own `Serialize`, or by this file.
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

fn is_hash_set(name: &str) -> bool {
    let name = name.trim_start_matches('&');
    name.starts_with("std::collections::hash::set::HashSet<")
        || name.starts_with("hashbrown::set::HashSet<")
}

struct Canonical<'a> {
    out: &'a mut Vec<u8>,
    /// The name of the type that is being written.
    of: &'static str,
}

/// bincode's variable-length integers: one byte up to 250, else a marker and the smallest width.
fn varint(out: &mut Vec<u8>, value: u128) {
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
fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)) as u128
}

macro_rules! integers {
    ($($method:ident: $type:ty => $wide:ty, $as_bits:expr;)*) => {
        $(fn $method(self, value: $type) -> Result<(), Refusal> {
            let as_bits: fn($wide) -> u128 = $as_bits;
            varint(self.out, as_bits(<$wide>::from(value)));
            Ok(())
        })*
    };
}

macro_rules! bytes_of {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method(self, value: $type) -> Result<(), Refusal> {
            self.out.extend_from_slice(&value.to_le_bytes());
            Ok(())
        })*
    };
}

impl<'a> ser::Serializer for Canonical<'a> {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = Fields<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    integers! {
        serialize_u16: u16 => u128, |v| v;
        serialize_u32: u32 => u128, |v| v;
        serialize_u64: u64 => u128, |v| v;
        serialize_u128: u128 => u128, |v| v;
        serialize_i16: i16 => i128, zigzag;
        serialize_i32: i32 => i128, zigzag;
        serialize_i64: i64 => i128, zigzag;
        serialize_i128: i128 => i128, zigzag;
    }

    bytes_of! {
        serialize_u8: u8;
        serialize_i8: i8;
        serialize_f32: f32;
        serialize_f64: f64;
    }

    fn serialize_bool(self, value: bool) -> Result<(), Refusal> {
        self.out.push(u8::from(value));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refusal> {
        self.out.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Refusal> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refusal> {
        varint(self.out, value.len() as u128);
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refusal> {
        self.out.push(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refusal> {
        self.out.push(1);
        write(value, self.out)
    }

    fn serialize_unit(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refusal> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
    ) -> Result<(), Refusal> {
        varint(self.out, u128::from(index));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        write(value, self.out)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        varint(self.out, u128::from(index));
        write(value, self.out)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'a>, Refusal> {
        let sort = is_hash_set(self.of);
        if let (Some(len), false) = (len, sort) {
            varint(self.out, len as u128);
            // What a type announces is its own affair: not more than a page on its word.
            self.out.reserve(len.min(4096));
            return Ok(Elements::InPlace { out: self.out, left: len });
        }
        Ok(Elements::Held { out: self.out, sort, elements: Vec::new() })
    }

    fn serialize_tuple(self, _len: usize) -> Result<Fields<'a>, Refusal> {
        Ok(Fields { out: self.out, of: "tuple" })
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        Ok(Fields { out: self.out, of: name })
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        varint(self.out, u128::from(index));
        Ok(Fields { out: self.out, of: name })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'a>, Refusal> {
        if len.is_none() {
            return Err(Refusal(
                "a map of unknown length: serde's `flatten` writes one, and what it writes could \
                 not be read back. Name the fields, or put them into a struct of their own"
                    .into(),
            ));
        }
        Ok(Entries { out: self.out, key: Vec::new(), held: Vec::new() })
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Fields<'a>, Refusal> {
        Ok(Fields { out: self.out, of: name })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        varint(self.out, u128::from(index));
        Ok(Fields { out: self.out, of: name })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A sequence: written as it comes, or held back to be counted or sorted first.
enum Elements<'a> {
    InPlace { out: &'a mut Vec<u8>, left: usize },
    Held { out: &'a mut Vec<u8>, sort: bool, elements: Vec<Vec<u8>> },
}

impl ser::SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        match self {
            Self::InPlace { out, left } => {
                *left = left.checked_sub(1).ok_or_else(wrong_length)?;
                write(value, out)
            }
            Self::Held { elements, .. } => {
                let mut element = Vec::new();
                write(value, &mut element)?;
                elements.push(element);
                Ok(())
            }
        }
    }

    fn end(self) -> Result<(), Refusal> {
        match self {
            Self::InPlace { left: 0, .. } => Ok(()),
            Self::InPlace { .. } => Err(wrong_length()),
            Self::Held { out, sort, mut elements } => {
                if sort {
                    elements.sort_unstable();
                }
                varint(out, elements.len() as u128);
                for element in &elements {
                    out.extend_from_slice(element);
                }
                Ok(())
            }
        }
    }
}

fn wrong_length() -> Refusal {
    Refusal("a sequence whose `Serialize` announces another length than it writes".into())
}

/// A map: held back whole, so that its entries can be sorted by their keys' bytes.
struct Entries<'a> {
    out: &'a mut Vec<u8>,
    key: Vec<u8>,
    held: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key.clear();
        write(key, &mut self.key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        write(value, &mut bytes)?;
        self.held.push((std::mem::take(&mut self.key), bytes));
        Ok(())
    }

    fn end(mut self) -> Result<(), Refusal> {
        self.held.sort_unstable();
        varint(self.out, self.held.len() as u128);
        for (key, value) in &self.held {
            self.out.extend_from_slice(key);
            self.out.extend_from_slice(value);
        }
        Ok(())
    }
}

/// The fields of a struct, a tuple or a variant: one behind the other, without names.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    of: &'static str,
}

impl Fields<'_> {
    fn skipped(&self, field: &str) -> Refusal {
        Refusal(format!(
            "the field `{field}` of `{}` is skipped when writing (serde's `skip_serializing_if`): \
             the bytes carry no names, so the next field would be read in its place. Remove the \
             attribute; an `Option` that is `None` costs one byte",
            self.of
        ))
    }
}

macro_rules! fields {
    ($($trait:ident, $method:ident $(, $key:ident)?;)*) => {
        $(impl ser::$trait for Fields<'_> {
            type Ok = ();
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), Refusal> {
                $(let _ = $key;)?
                write(value, self.out)
            }

            $(fn skip_field(&mut self, $key: &'static str) -> Result<(), Refusal> {
                Err(self.skipped($key))
            })?

            fn end(self) -> Result<(), Refusal> {
                Ok(())
            }
        })*
    };
}

fields! {
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
    SerializeStruct, serialize_field, key;
    SerializeStructVariant, serialize_field, key;
}

#[cfg(test)]
mod tests;
