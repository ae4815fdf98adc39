//! Equal values give equal bytes: the encoding of bincode 2 (standard configuration), with the
//! entries of what has no order of its own sorted by their encoded bytes. `order` says what that is.
//!
//! A field that is skipped when writing, and a map whose length is not known (serde's `flatten`),
//! are refused here: bincode has no names in its bytes and would read the next field in its place.

use std::any::type_name;

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq};

use super::depth::{LEVELS_MAX, TooDeep, TooMany, has_room};
use super::order::{Place, counted, named};
use super::writing::{Refusal, Writing, is_primitive, varint, zigzag};

/// Appends the canonical encoding of `value` to what is empty.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Writing) -> Result<(), Refusal> {
    write_at(LEVELS_MAX, Place::ROOT, value, out)?;
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
    place: Place,
    value: &T,
    out: &mut Writing,
) -> Result<(), Refusal> {
    let of = type_name::<T>();
    if !is_primitive(of) {
        out.note_shape(of, 0);
    }
    value.serialize(Canonical { out, of, levels, place })
}

struct Canonical<'a> {
    out: &'a mut Writing,
    /// The name of the type that is being written.
    of: &'static str,
    /// How many levels there may be from here on.
    levels: u32,
    place: Place,
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
            self.out.note_shape("level", down as usize);
        }
        Ok(levels)
    }

    #[inline]
    fn fields(mut self, of: &'static str) -> Result<Fields<'a>, Refusal> {
        Ok(Fields { levels: self.deeper()?, out: self.out, of, place: self.place, nth: 0 })
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
    type SerializeMap = Held<'a>;
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
        write_at(levels, self.place, value, self.out)
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
        self.out.note_shape(variant, 0);
        varint(&mut self.out.bytes, u128::from(index));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        write_at(self.deeper()?, self.place, value, self.out)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        let levels = self.deeper()?;
        self.out.note_shape(variant, 1);
        varint(&mut self.out.bytes, u128::from(index));
        write_at(levels, self.place.field(variant), value, self.out)
    }

    fn serialize_seq(mut self, len: Option<usize>) -> Result<Elements<'a>, Refusal> {
        let levels = self.deeper()?;
        let place = self.place;
        // Lists of one look alike in any order: each doubling is a new shape, up to a full house.
        self.out.note_shape(self.of, len.unwrap_or(0).min(64).next_power_of_two());
        if let Some(len) = len
            && !self.out.sorts_list(self.of, place, len)
        {
            varint(&mut self.out.bytes, len as u128);
            // What a type announces is its own affair: not more than a page on its word.
            self.out.bytes.reserve(len.min(4096));
            self.out.elements = self.out.elements.saturating_add(len);
            return Ok(Elements::InPlace { out: self.out, levels, place, left: len });
        }
        let Self { out, of, .. } = self;
        Ok(Elements::Held(Held { out, of, place, levels, key: Vec::new(), all: Vec::new() }))
    }

    /// As serde does it; but the container names itself, whatever it was handed on by.
    fn collect_seq<I>(mut self, all: I) -> Result<(), Refusal>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.of = named::<I>(self.of);
        let mut all = all.into_iter();
        let mut elements = self.serialize_seq(counted(&all))?;
        all.try_for_each(|element| elements.serialize_element(&element))?;
        elements.end()
    }

    fn collect_map<K, V, I>(mut self, all: I) -> Result<(), Refusal>
    where
        K: Serialize,
        V: Serialize,
        I: IntoIterator<Item = (K, V)>,
    {
        self.of = named::<I>(self.of);
        let mut all = all.into_iter();
        let mut entries = self.serialize_map(counted(&all))?;
        all.try_for_each(|(key, value)| entries.serialize_entry(&key, &value))?;
        entries.end()
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Fields<'a>, Refusal> {
        self.fields("tuple")
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Fields<'a>, Refusal> {
        self.out.note_shape(name, len);
        self.fields(name)
    }

    fn serialize_tuple_variant(
        mut self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        self.place = self.place.field(variant);
        self.out.note_shape(variant, len);
        varint(&mut self.out.bytes, u128::from(index));
        self.fields(name)
    }

    fn serialize_map(mut self, len: Option<usize>) -> Result<Held<'a>, Refusal> {
        if len.is_none() {
            return Err(Refusal(
                "a map of unknown length: serde's `flatten` writes one, and what it writes could \
                 not be read back. Name the fields, or put them into a struct of their own"
                    .into(),
            ));
        }
        let levels = self.deeper()?;
        let Self { out, of, place, .. } = self;
        Ok(Held { out, of, place, levels, key: Vec::new(), all: Vec::new() })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'a>, Refusal> {
        self.out.note_shape(name, len);
        self.fields(name)
    }

    fn serialize_struct_variant(
        mut self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>, Refusal> {
        self.place = self.place.field(variant);
        self.out.note_shape(variant, len);
        varint(&mut self.out.bytes, u128::from(index));
        self.fields(name)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A sequence: written as it comes, or held back to be counted or sorted first.
enum Elements<'a> {
    InPlace { out: &'a mut Writing, levels: u32, place: Place, left: usize },
    Held(Held<'a>),
}

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Refusal;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        match self {
            Self::InPlace { out, levels, place, left } => {
                *left = left.checked_sub(1).ok_or_else(wrong_length)?;
                out.settle();
                write_at(*levels, place.nth(0), value, out)
            }
            Self::Held(held) => {
                let element = held.part(0, value)?;
                held.all.push((element, Vec::new()));
                Ok(())
            }
        }
    }

    fn end(self) -> Result<(), Refusal> {
        match self {
            Self::InPlace { left: 0, .. } => Ok(()),
            Self::InPlace { .. } => Err(wrong_length()),
            Self::Held(held) => {
                let sort = held.out.sorts_list(held.of, held.place, held.all.len());
                held.out.append_all(held.all, sort);
                Ok(())
            }
        }
    }
}

fn wrong_length() -> Refusal {
    Refusal("a sequence whose `Serialize` announces another length than it writes".into())
}

/// What is held back to be counted, and sorted by its bytes if it has no order: elements, or keys and
/// their values.
struct Held<'a> {
    out: &'a mut Writing,
    of: &'static str,
    place: Place,
    levels: u32,
    key: Vec<u8>,
    all: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Held<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, nth: usize, value: &T) -> Result<Vec<u8>, Refusal> {
        let (levels, place) = (self.levels, self.place.nth(nth));
        self.out.part(|out| write_at(levels, place, value, out))
    }
}

impl SerializeMap for Held<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = self.part(0, key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let value = self.part(1, value)?;
        self.all.push((std::mem::take(&mut self.key), value));
        Ok(())
    }

    fn end(self) -> Result<(), Refusal> {
        let sort = self.out.sorts_map(self.of, self.place, self.all.len());
        self.out.append_all(self.all, sort);
        Ok(())
    }
}

/// The fields of a struct, a tuple or a variant: one behind the other, without names.
struct Fields<'a> {
    out: &'a mut Writing,
    levels: u32,
    of: &'static str,
    place: Place,
    /// How many there were.
    nth: usize,
}

impl Fields<'_> {
    /// Where the next one is.
    #[inline]
    fn next(&mut self) -> Place {
        self.nth += 1;
        self.place.nth(self.nth)
    }

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
                let place = self.next();
                $(let place = place.field($key);)?
                write_at(self.levels, place, value, self.out)
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
