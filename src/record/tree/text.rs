//! A tree as JSON: by `serde_json`, so that its own types (numbers of any length, texts that are JSON
//! already) are written as they are, whatever features of it a program turns on.

use serde::ser::{
    Error, SerializeStruct, SerializeStructVariant, SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

use super::node::{Held, Tree, Width};

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => out.serialize_unit(),
            Self::Bool(truth) => out.serialize_bool(*truth),
            // JSON has one kind of whole number.
            Self::Signed(Width::W128, number) => out.serialize_i128(*number),
            Self::Signed(_, number) => match i64::try_from(*number) {
                Ok(number) => out.serialize_i64(number),
                Err(_) => out.serialize_i128(*number),
            },
            Self::Unsigned(Width::W128, number) => out.serialize_u128(*number),
            Self::Unsigned(_, number) => match u64::try_from(*number) {
                Ok(number) => out.serialize_u64(number),
                Err(_) => out.serialize_u128(*number),
            },
            Self::F32(bits) => match f32::from_bits(*bits) {
                float if float.is_finite() => out.serialize_f32(float),
                float => Err(not_a_number(float.into())),
            },
            Self::F64(bits) => match f64::from_bits(*bits) {
                float if float.is_finite() => out.serialize_f64(float),
                float => Err(not_a_number(float)),
            },
            Self::Char(char) => out.serialize_char(*char),
            Self::Text(text) => out.serialize_str(text),
            Self::Bytes(bytes) => out.serialize_bytes(bytes),
            Self::None => out.serialize_none(),
            Self::Some(part) => out.serialize_some(part),
            Self::UnitStruct(name) => out.serialize_unit_struct(name),
            Self::Newtype(name, part) => out.serialize_newtype_struct(name, part),
            Self::List(_, list) => out.collect_seq(list),
            Self::Tuple(None, parts) => out.collect_seq(parts),
            Self::Tuple(Some(name), parts) => {
                let mut tuple = out.serialize_tuple_struct(name, parts.len())?;
                parts.iter().try_for_each(|part| tuple.serialize_field(part))?;
                tuple.end()
            }
            Self::Map(_, entries) => {
                out.collect_map(entries.iter().map(|(key, value)| (key, value)))
            }
            Self::Struct(name, fields) => {
                let mut object = out.serialize_struct(name, fields.len())?;
                for (name, part) in by_name(fields) {
                    object.serialize_field(name, part)?;
                }
                object.end()
            }
            Self::Variant(variant, held) => {
                let (of, number, name) = (variant.of, variant.number, variant.name);
                match held {
                    Held::Nothing => out.serialize_unit_variant(of, number, name),
                    Held::One(part) => out.serialize_newtype_variant(of, number, name, part),
                    Held::Tuple(parts) => {
                        let mut tuple =
                            out.serialize_tuple_variant(of, number, name, parts.len())?;
                        parts.iter().try_for_each(|part| tuple.serialize_field(part))?;
                        tuple.end()
                    }
                    Held::Struct(fields) => {
                        let mut object =
                            out.serialize_struct_variant(of, number, name, fields.len())?;
                        for (name, part) in by_name(fields) {
                            object.serialize_field(name, part)?;
                        }
                        object.end()
                    }
                }
            }
        }
    }
}

/// The order of fields says nothing: that of their names is the one that every program gives them.
fn by_name<'t>(fields: &'t [(&'static str, Tree)]) -> Vec<&'t (&'static str, Tree)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

fn not_a_number<E: Error>(float: f64) -> E {
    E::custom(format_args!(
        "JSON has no {float}: store an `Option`, or take `Codec::Binary`, which has it"
    ))
}
