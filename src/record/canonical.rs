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

use serde::{Serialize, ser};

use super::depth::{LEVELS_MAX, TooDeep, TooMany, has_room};
use super::writing::{Refusal, Writing, is_primitive, varint, zigzag};

/// Appends the canonical encoding of `value` to what is empty.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Writing) -> Result<(), Refusal> {
    write_at(LEVELS_MAX, value, out)?;
    if has_room(out.elements, out.len()) {
        Ok(())
    } else {
        Err(Refusal(format!("{TooMany}: store their number")))
    }
}

/// Appends the canonical encoding of a part that has so many levels to go down.
#[inline]
fn write_at<T: Serialize + ?Sized>(
    levels: u32,
    value: &T,
    out: &mut Writing,
) -> Result<(), Refusal> {
    let of = type_name::<T>();
    if !is_primitive(of) {
        out.shapes.note(of, 0);
    }
    value.serialize(Canonical { out, of, levels })
}

fn is_hash_set(mut name: &str) -> bool {
    const WRAPPERS: [&str; 6] = [
        "&",
        "alloc::boxed::Box<",
        "alloc::rc::Rc<",
        "alloc::sync::Arc<",
        "core::cell::RefCell<",
        "core::cell::Cell<",
    ];
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = inner;
    }
    name.starts_with("std::collections::hash::set::HashSet<")
        || name.starts_with("hashbrown::set::HashSet<")
}

struct Canonical<'a> {
    out: &'a mut Writing,
    /// The name of the type that is being written.
    of: &'static str,
    /// How many levels there may be from here on.
    levels: u32,
}

/// From here on each level is proven to come back by itself, should a type count them otherwise when
/// it is read.
const LEVELS_PROVEN: u32 = 32;

impl<'a> Canonical<'a> {
    /// The levels inside of what has something inside.
    #[inline]
    fn deeper(&mut self) -> Result<u32, Refusal> {
        let Some(levels) = self.levels.checked_sub(1) else {
            return Err(Refusal(format!(
                "{TooDeep}: it could not be read back. Keep a long chain as a list"
            )));
        };
        let down = LEVELS_MAX - levels;
        if down > LEVELS_PROVEN {
            self.out.shapes.note("level", down as usize);
        }
        Ok(levels)
    }

    #[inline]
    fn fields(mut self, of: &'static str) -> Result<Fields<'a>, Refusal> {
        Ok(Fields { levels: self.deeper()?, out: self.out, of })
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty => $wide:ty, $as_bits:expr;)*) => {
        $(#[inline]
        fn $method(self, value: $type) -> Result<(), Refusal> {
            let as_bits: fn($wide) -> u128 = $as_bits;
            varint(&mut self.out.bytes, as_bits(<$wide>::from(value)));
            Ok(())
        })*
    };
}

macro_rules! bytes_of {
    ($($method:ident: $type:ty;)*) => {
        $(#[inline]
        fn $method(self, value: $type) -> Result<(), Refusal> {
            self.out.bytes.extend_from_slice(&value.to_le_bytes());
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
        self.out.bytes.push(u8::from(value));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refusal> {
        self.out.bytes.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Refusal> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refusal> {
        varint(&mut self.out.bytes, value.len() as u128);
        self.out.append(value);
        Ok(())
    }

    fn serialize_none(mut self) -> Result<(), Refusal> {
        self.deeper()?;
        self.out.bytes.push(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), Refusal> {
        let levels = self.deeper()?;
        self.out.bytes.push(1);
        write_at(levels, value, self.out)
    }

    fn serialize_unit(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refusal> {
        Ok(())
    }

    fn serialize_unit_variant(
        mut self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Refusal> {
        self.deeper()?;
        self.out.shapes.note(variant, 0);
        varint(&mut self.out.bytes, u128::from(index));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        write_at(self.deeper()?, value, self.out)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        let levels = self.deeper()?;
        self.out.shapes.note(variant, 1);
        varint(&mut self.out.bytes, u128::from(index));
        write_at(levels, value, self.out)
    }

    fn serialize_seq(mut self, len: Option<usize>) -> Result<Elements<'a>, Refusal> {
        let levels = self.deeper()?;
        let sort = is_hash_set(self.of);
        // Lists of one look alike in any order: each doubling is a new shape, up to a full house.
        self.out.shapes.note(self.of, len.unwrap_or(0).min(64).next_power_of_two());
        if let (Some(len), false) = (len, sort) {
            varint(&mut self.out.bytes, len as u128);
            // What a type announces is its own affair: not more than a page on its word.
            self.out.bytes.reserve(len.min(4096));
            self.out.elements = self.out.elements.saturating_add(len);
            return Ok(Elements::InPlace { out: self.out, levels, left: len });
        }
        Ok(Elements::Held { out: self.out, levels, sort, elements: Vec::new() })
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Fields<'a>, Refusal> {
        self.fields("tuple")
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Fields<'a>, Refusal> {
        self.out.shapes.note(name, len);
        self.fields(name)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        self.out.shapes.note(variant, len);
        varint(&mut self.out.bytes, u128::from(index));
        self.fields(name)
    }

    fn serialize_map(mut self, len: Option<usize>) -> Result<Entries<'a>, Refusal> {
        if len.is_none() {
            return Err(Refusal(
                "a map of unknown length: serde's `flatten` writes one, and what it writes could \
                 not be read back. Name the fields, or put them into a struct of their own"
                    .into(),
            ));
        }
        Ok(Entries { levels: self.deeper()?, out: self.out, key: Vec::new(), held: Vec::new() })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'a>, Refusal> {
        self.out.shapes.note(name, len);
        self.fields(name)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        self.out.shapes.note(variant, len);
        varint(&mut self.out.bytes, u128::from(index));
        self.fields(name)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The encoding of a part by itself, without its own shapes getting lost.
fn part<T: Serialize + ?Sized>(
    levels: u32,
    value: &T,
    out: &mut Writing,
) -> Result<Vec<u8>, Refusal> {
    out.part(|out| write_at(levels, value, out))
}

/// A sequence: written as it comes, or held back to be counted or sorted first.
enum Elements<'a> {
    InPlace { out: &'a mut Writing, levels: u32, left: usize },
    Held { out: &'a mut Writing, levels: u32, sort: bool, elements: Vec<Vec<u8>> },
}

impl ser::SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Refusal;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        match self {
            Self::InPlace { out, levels, left } => {
                *left = left.checked_sub(1).ok_or_else(wrong_length)?;
                out.settle();
                write_at(*levels, value, out)
            }
            Self::Held { out, levels, elements, .. } => {
                elements.push(part(*levels, value, out)?);
                Ok(())
            }
        }
    }

    fn end(self) -> Result<(), Refusal> {
        match self {
            Self::InPlace { left: 0, .. } => Ok(()),
            Self::InPlace { .. } => Err(wrong_length()),
            Self::Held { out, sort, mut elements, .. } => {
                out.elements += elements.len();
                if sort {
                    elements.sort_unstable();
                }
                varint(&mut out.bytes, elements.len() as u128);
                for element in &elements {
                    out.settle();
                    out.append(element);
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
    out: &'a mut Writing,
    levels: u32,
    key: Vec<u8>,
    held: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = part(self.levels, key, self.out)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let value = part(self.levels, value, self.out)?;
        self.held.push((std::mem::take(&mut self.key), value));
        Ok(())
    }

    fn end(mut self) -> Result<(), Refusal> {
        self.held.sort_unstable();
        self.out.elements += self.held.len();
        varint(&mut self.out.bytes, self.held.len() as u128);
        for (key, value) in &self.held {
            self.out.settle();
            self.out.append(key);
            self.out.append(value);
        }
        Ok(())
    }
}

/// The fields of a struct, a tuple or a variant: one behind the other, without names.
struct Fields<'a> {
    out: &'a mut Writing,
    levels: u32,
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

            #[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), Refusal> {
                $(let _ = $key;)?
                write_at(self.levels, value, self.out)
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
