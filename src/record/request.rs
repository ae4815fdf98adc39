//! The fingerprint of a request: equal values have equal ones, values that differ have different
//! ones.
//!
//! A request is never read back, so it needs no codec; what it needs is that no two values look
//! alike. Each part is written with a tag for its kind, with its length or an end mark, and with the
//! names of its types, fields and variants; so what is written can be taken apart in one way only.
//! `{"qty": -1}` and `{"qty": 1}`, which one encoding of integers writes alike, differ in their tags.
//!
//! - An integer is its value: `100u32` is `100u64` is `100i8`, so that a field can be widened.
//! - Floats are their bits: `0.0` is not `-0.0`, `1.0` is not `1`, and an `f32` is not an `f64`.
//! - The order of the entries of a map, of the elements of a hash set, and of the fields of a struct
//!   does not count. A field that is skipped is not one that is `None`.
//!
//! The *shape* is what of that the type says by itself: names, kinds and fields, as far as they do
//! not depend on the value. It tells a request of another version of a type from another request.

mod part;

use std::any::type_name;

use serde::{Serialize, ser};

use super::depth::{LEVELS_MAX, TooDeep};
use super::writing::{Refusal, varint};
use crate::id::{Fingerprint, hash128};
use part::{Part, Tag};

/// The fingerprint of a request, and a hash of its shape.
pub(crate) fn fingerprint<T: Serialize + ?Sized>(
    request: &T,
) -> Result<(Fingerprint, u32), impl std::error::Error + use<T>> {
    let part = write(LEVELS_MAX, request)?;
    let [a, b, c, d, ..] = hash128(&part.shape);
    Ok::<_, Refusal>((Fingerprint::of_bytes(&part.bytes), u32::from_le_bytes([a, b, c, d])))
}

fn write<T: Serialize + ?Sized>(levels: u32, value: &T) -> Result<Part, Refusal> {
    let of = type_name::<T>();
    let mut part = value.serialize(Writer { levels, of })?;
    // What a value is that can be anything, only the value says.
    if of.trim_start_matches('&') == "serde_json::value::Value" {
        part.shape = vec![Tag::Any as u8];
    }
    Ok(part)
}

/// serde shows a set as a plain sequence: what is none in order is known by the name of its type.
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

struct Writer {
    /// How many levels there may be from here on.
    levels: u32,
    /// The name of the type that is being written.
    of: &'static str,
}

/// How `serde_json` hands over a number that it keeps as text, when any crate of the program turned
/// its feature `arbitrary_precision` on.
const NUMBER_AS_TEXT: &str = "$serde_json::private::Number";

impl Writer {
    fn deeper(&self) -> Result<u32, Refusal> {
        self.levels.checked_sub(1).ok_or_else(|| {
            Refusal(format!(
                "{TooDeep}: as a request it has no fingerprint. Keep a long chain as a list"
            ))
        })
    }

    fn parts(self, part: Part) -> Result<Parts, Refusal> {
        Ok(Parts { levels: self.deeper()?, part, elements: Vec::new(), is_sorted: false })
    }

    fn fields(self, part: Part) -> Result<Fields, Refusal> {
        Ok(Fields { levels: self.deeper()?, part, held: Vec::new(), digits: None })
    }
}

/// A variant of an enum: the shape has the enum alone.
fn variant(tag: Tag, of: &str, variant: &str) -> Part {
    Part::tagged(tag, Tag::Enum).named(of).with_text(variant.as_bytes())
}

macro_rules! integers {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method(self, value: $type) -> Result<Part, Refusal> {
            Ok(Part::integer(i128::from(value)))
        })*
    };
}

impl ser::Serializer for Writer {
    type Ok = Part;
    type Error = Refusal;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Entries;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    integers! {
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_i128: i128;
    }

    fn serialize_u128(self, value: u128) -> Result<Part, Refusal> {
        let mut part = Part::tagged(Tag::Positive, Tag::Integer);
        varint(&mut part.bytes, value);
        Ok(part)
    }

    fn serialize_bool(self, value: bool) -> Result<Part, Refusal> {
        Ok(Part::tagged(if value { Tag::True } else { Tag::False }, Tag::Bool))
    }

    fn serialize_f32(self, value: f32) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::F32).with(&value.to_le_bytes()))
    }

    fn serialize_f64(self, value: f64) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::F64).with(&value.to_le_bytes()))
    }

    fn serialize_char(self, value: char) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::Char).with(&u32::from(value).to_le_bytes()))
    }

    fn serialize_str(self, value: &str) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::Text).with_text(value.as_bytes()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::Bytes).with_text(value))
    }

    fn serialize_none(self) -> Result<Part, Refusal> {
        self.deeper()?;
        Ok(Part::tagged(Tag::None, Tag::Option))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Part, Refusal> {
        Ok(Part::tagged(Tag::Some, Tag::Option).and_value(&write(self.deeper()?, value)?))
    }

    fn serialize_unit(self) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::Unit))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::UnitStruct).named(name))
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        _index: u32,
        of: &'static str,
    ) -> Result<Part, Refusal> {
        self.deeper()?;
        Ok(variant(Tag::UnitVariant, name, of))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Part, Refusal> {
        Ok(Part::of(Tag::Newtype).named(name).and(&write(self.deeper()?, value)?))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _index: u32,
        of: &'static str,
        value: &T,
    ) -> Result<Part, Refusal> {
        let inner = write(self.deeper()?, value)?;
        Ok(variant(Tag::NewtypeVariant, name, of).and_value(&inner))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Parts, Refusal> {
        let is_sorted = is_hash_set(self.of);
        let part = Part::of(if is_sorted { Tag::Set } else { Tag::List });
        Ok(Parts { is_sorted, ..self.parts(part)? })
    }

    fn serialize_tuple(self, _len: usize) -> Result<Parts, Refusal> {
        self.parts(Part::of(Tag::Tuple))
    }

    fn serialize_tuple_struct(self, name: &'static str, _len: usize) -> Result<Parts, Refusal> {
        self.parts(Part::of(Tag::TupleStruct).named(name))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _index: u32,
        of: &'static str,
        _len: usize,
    ) -> Result<Parts, Refusal> {
        self.parts(variant(Tag::TupleVariant, name, of))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Entries, Refusal> {
        Ok(Entries { levels: self.deeper()?, key: Vec::new(), held: Vec::new() })
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Fields, Refusal> {
        let is_number = name == NUMBER_AS_TEXT;
        let fields = self.fields(Part::of(Tag::Struct).named(name))?;
        Ok(Fields { digits: is_number.then(Part::default), ..fields })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        of: &'static str,
        _len: usize,
    ) -> Result<Fields, Refusal> {
        self.fields(variant(Tag::StructVariant, name, of))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a list, a set or a tuple.
struct Parts {
    levels: u32,
    part: Part,
    elements: Vec<Part>,
    /// Whether their order does not count.
    is_sorted: bool,
}

impl Parts {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.elements.push(write(self.levels, value)?);
        Ok(())
    }

    /// Elements of which there are as many as the value has.
    fn list(mut self) -> Part {
        if self.is_sorted {
            self.elements.sort_unstable();
        }
        self.elements.iter().fold(self.part, Part::and_value).end_value()
    }

    /// Elements of which there are as many as the type has.
    fn tuple(self) -> Part {
        self.elements.iter().fold(self.part, Part::and).end()
    }
}

/// The entries of a map, in the order of their keys.
struct Entries {
    levels: u32,
    key: Vec<u8>,
    held: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ser::SerializeMap for Entries {
    type Ok = Part;
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = write(self.levels, key)?.bytes;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let value = write(self.levels, value)?.bytes;
        self.held.push((std::mem::take(&mut self.key), value));
        Ok(())
    }

    fn end(mut self) -> Result<Part, Refusal> {
        self.held.sort_unstable();
        let map = Part::of(Tag::Map);
        Ok(self.held.iter().fold(map, |map, (key, value)| map.with(key).with(value)).end())
    }
}

/// The fields of a struct, in the order of their names.
struct Fields {
    levels: u32,
    part: Part,
    held: Vec<(&'static str, Part)>,
    /// The number, if this is one as text.
    digits: Option<Part>,
}

impl Fields {
    fn push<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        let part = write(self.levels, value)?;
        if let Some(digits) = &mut self.digits {
            *digits = number(&part);
        }
        self.held.push((name, part));
        Ok(())
    }

    fn finish(mut self, is_variant: bool) -> Part {
        if let Some(digits) = self.digits {
            return digits;
        }
        self.held.sort_unstable();
        // A mark before each name: none is taken for the end.
        let fields = self.held.iter().map(|(name, value)| (name, value));
        if is_variant {
            let add = |part: Part, (name, value): (&&str, &Part)| {
                part.with(&[Tag::Some as u8]).with_text(name.as_bytes()).and_value(value)
            };
            return fields.fold(self.part, add).end_value();
        }
        let add = |part: Part, (name, value): (&&str, &Part)| {
            part.with(&[Tag::Some as u8]).named(name).and(value)
        };
        fields.fold(self.part, add).end()
    }
}

/// A number that was handed over as text, as the number that it would be without that feature.
fn number(text: &Part) -> Part {
    let (_, digits) = text.bytes.split_at_checked(2).unwrap_or_default();
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    if let Ok(value) = digits.parse::<u64>() {
        return Part::integer(i128::from(value));
    }
    if let Ok(value) = digits.parse::<i64>() {
        return Part::integer(i128::from(value));
    }
    let float = digits.parse::<f64>().ok().filter(|float| {
        // Written back, it has to be the same text: of two texts for one float, one would be lost.
        serde_json::Number::from_f64(*float).is_some_and(|number| number.to_string() == digits)
    });
    match float {
        Some(float) => Part::of(Tag::F64).with(&float.to_le_bytes()),
        None => Part::of(Tag::Digits).and_value(text),
    }
}

macro_rules! elements {
    ($($trait:ident, $method:ident, $end:ident;)*) => {
        $(impl ser::$trait for Parts {
            type Ok = Part;
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                self.push(value)
            }

            fn end(self) -> Result<Part, Refusal> {
                Ok(self.$end())
            }
        })*
    };
}

elements! {
    SerializeSeq, serialize_element, list;
    SerializeTuple, serialize_element, tuple;
    SerializeTupleStruct, serialize_field, tuple;
    SerializeTupleVariant, serialize_field, list;
}

macro_rules! fields {
    ($($trait:ident, $is_variant:literal;)*) => {
        $(impl ser::$trait for Fields {
            type Ok = Part;
            type Error = Refusal;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refusal> {
                self.push(name, value)
            }

            fn end(self) -> Result<Part, Refusal> {
                Ok(self.finish($is_variant))
            }
        })*
    };
}

fields! {
    SerializeStruct, false;
    SerializeStructVariant, true;
}

#[cfg(test)]
mod tests;
