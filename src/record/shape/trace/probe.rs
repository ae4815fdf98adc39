//! The deserializer that holds no data.

use std::any::type_name;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::super::node::{Node, NodeId};
use super::guess::{BYTE_LENGTHS, COUNTS, NUMBERS, TEXTS};
use super::refusal::Refusal;
use super::tracer::{Tracer, enum_node, struct_node};

/// The longest tuple there is; what is longer is an array.
const TUPLE_MAX: usize = 16;

/// One place in the type that is being traced.
pub(super) struct Probe<'t> {
    tracer: &'t mut Tracer,
    at: NodeId,
}

impl<'t> Probe<'t> {
    pub(super) fn new(tracer: &'t mut Tracer, at: NodeId) -> Self {
        Self { tracer, at }
    }

    fn note(
        &mut self,
        make: impl FnOnce(&mut Tracer) -> Node,
        fits: impl FnOnce(&Node) -> bool,
    ) -> Result<Node, Refusal> {
        self.tracer.note(self.at, make, fits).map_err(Refusal::for_good)
    }

    fn leaf(&mut self, leaf: &Node) -> Result<(), Refusal> {
        self.note(|_| leaf.clone(), |node| node == leaf).map(|_| ())
    }

    fn guess<T: Copy>(&mut self, of: &[T], otherwise: T) -> T {
        self.tracer.guess(self.at, of, otherwise)
    }

    /// Has a named type read: `make` says what it is.
    fn named<'de, V: Visitor<'de>>(
        self,
        name: &'static str,
        read: impl FnOnce(&mut Tracer, NodeId) -> Result<V::Value, Refusal>,
    ) -> Result<V::Value, Refusal> {
        let of = self.tracer.named(self.at, (type_name::<V>(), name)).map_err(Refusal::for_good)?;
        if !self.tracer.enter(of) {
            return Err(Refusal::for_good(format!("`{name}` holds itself without an end")));
        }
        let read = read(self.tracer, of);
        self.tracer.leave();
        read
    }

    /// How many elements a list gets: one, if there is something in it to be seen.
    fn count(&mut self, parts: &[NodeId]) -> usize {
        let least = usize::from(parts.iter().any(|part| self.tracer.wants(*part)));
        self.guess(COUNTS, 0).max(least)
    }
}

macro_rules! numbers {
    ($($method:ident, $visit:ident, $node:ident, $type:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
            self.leaf(&Node::$node)?;
            // The candidates are small enough for each of these types.
            let number = self.guess(NUMBERS, 0);
            visitor.$visit(<$type>::try_from(number).unwrap_or_default())
        })*
    };
}

macro_rules! refused {
    ($($method:ident: $why:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Refusal> {
            Err(Refusal::for_good($why))
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Refusal;

    numbers! {
        deserialize_i8, visit_i8, I8, i8;
        deserialize_i16, visit_i16, I16, i16;
        deserialize_i32, visit_i32, I32, i32;
        deserialize_i64, visit_i64, I64, i64;
        deserialize_i128, visit_i128, I128, i128;
        deserialize_u8, visit_u8, U8, u8;
        deserialize_u16, visit_u16, U16, u16;
        deserialize_u32, visit_u32, U32, u32;
        deserialize_u64, visit_u64, U64, u64;
        deserialize_u128, visit_u128, U128, u128;
        deserialize_f32, visit_f32, F32, f32;
        deserialize_f64, visit_f64, F64, f64;
    }

    refused! {
        deserialize_any: "it lets the bytes say what they are, and they do not (serde's `untagged` \
                          and `tag`, or a type that holds anything)";
        deserialize_identifier: "its fields are read by their names, and the bytes have none \
                                 (serde's `flatten`, and `tag` with `content`)";
        deserialize_ignored_any: "it skips over what it does not know, and the bytes do not say how \
                                  long that is";
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf(&Node::Bool)?;
        visitor.visit_bool(self.guess(&[false, true], false))
    }

    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf(&Node::Char)?;
        visitor.visit_char(self.guess(&['a', 'A', '0'], 'a'))
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf(&Node::Text)?;
        visitor.visit_str(self.guess(TEXTS, ""))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf(&Node::Bytes)?;
        visitor.visit_bytes(&vec![0; self.guess(BYTE_LENGTHS, 0)])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf(&Node::Bytes)?;
        visitor.visit_byte_buf(vec![0; self.guess(BYTE_LENGTHS, 0)])
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        self.leaf(&Node::Unit)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let node = self
            .note(|tracer| Node::Option(tracer.slot()), |node| matches!(node, Node::Option(_)))?;
        let parts = node.parts();
        match parts.first() {
            Some(of) if self.count(&parts) > 0 => {
                down(self.tracer, "Some", |tracer| visitor.visit_some(Probe::new(tracer, *of)))
            }
            _ => visitor.visit_none(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.named::<V>(name, |tracer, of| {
            let inner = tracer.inside(of);
            visitor.visit_newtype_struct(Probe::new(tracer, inner))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let node =
            self.note(|tracer| Node::List(tracer.slot()), |node| matches!(node, Node::List(_)))?;
        let count = self.count(&node.parts());
        let parts = node.parts().into_iter().cycle().take(count);
        visitor.visit_seq(&mut Parts::new(self.tracer, &[], parts.collect()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let node = self.note(
            |tracer| match len {
                0..=TUPLE_MAX => Node::Tuple(tracer.slots(len)),
                _ => Node::Array { of: tracer.slot(), len: len as u64 },
            },
            |node| match node {
                Node::Tuple(parts) => parts.len() == len,
                Node::Array { len: known, .. } => *known == len as u64,
                _ => false,
            },
        )?;
        let parts = node.parts().into_iter().cycle().take(len);
        whole(self.tracer, &[], parts.collect(), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.named::<V>(name, |tracer, of| {
            let node = tracer
                .note(
                    of,
                    |tracer| Node::Tuple(tracer.slots(len)),
                    |node| matches!(node, Node::Tuple(parts) if parts.len() == len),
                )
                .map_err(Refusal::for_good)?;
            whole(tracer, &[], node.parts(), visitor)
        })
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let node = self.note(
            |tracer| Node::Map { key: tracer.slot(), value: tracer.slot() },
            |node| matches!(node, Node::Map { .. }),
        )?;
        let count = 2 * self.count(&node.parts());
        let parts = node.parts().into_iter().cycle().take(count);
        visitor.visit_map(&mut Parts::new(self.tracer, &["[key]", "[]"], parts.collect()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.named::<V>(name, |tracer, of| {
            let parts = struct_parts(tracer, of, fields)?;
            whole(tracer, fields, parts, visitor)
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.named::<V>(name, |tracer, of| {
            tracer
                .note(
                    of,
                    |_| enum_node(variants),
                    |node| matches!(node, Node::Enum(known) if known.len() == variants.len()),
                )
                .map_err(Refusal::for_good)?;
            let nth = tracer.choose(of);
            let name = variants.get(nth).copied().unwrap_or_default();
            let value =
                down(tracer, name, |tracer| visitor.visit_enum(Choice { tracer, of, nth }))?;
            tracer.chosen_was_seen(of, nth);
            Ok(value)
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Goes down one level, and notes where it failed.
fn down<T>(
    tracer: &mut Tracer,
    name: &'static str,
    read: impl FnOnce(&mut Tracer) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let result = if tracer.step_into(name) {
        read(tracer)
    } else {
        Err(Refusal::for_good("it holds itself without an end"))
    };
    tracer.step_out(result.is_err());
    result
}

fn struct_parts(
    tracer: &mut Tracer,
    of: NodeId,
    fields: &'static [&'static str],
) -> Result<Vec<NodeId>, Refusal> {
    let fits = |node: &Node| match node {
        Node::Struct(known) => {
            known.iter().map(|field| field.name.as_str()).eq(fields.iter().copied())
        }
        _ => false,
    };
    let make = |tracer: &mut Tracer| struct_node(fields, &tracer.slots(fields.len()));
    tracer.note(of, make, fits).map(|node| node.parts()).map_err(Refusal::for_good)
}

/// Has all parts read, or it is not known which names belong to which.
fn whole<'de, V: Visitor<'de>>(
    tracer: &mut Tracer,
    names: &'static [&'static str],
    parts: Vec<NodeId>,
    visitor: V,
) -> Result<V::Value, Refusal> {
    let mut parts = Parts::new(tracer, names, parts);
    let value = visitor.visit_seq(&mut parts)?;
    if parts.read < parts.of.len() {
        return Err(Refusal::for_good(
            "it says that it has more fields than it reads (serde's `alias`: the bytes have no \
             names, so a field needs only one)",
        ));
    }
    Ok(value)
}

/// Parts one behind the other: of lists, tuples, structs and maps.
struct Parts<'t> {
    tracer: &'t mut Tracer,
    names: &'static [&'static str],
    of: Vec<NodeId>,
    read: usize,
}

impl<'t> Parts<'t> {
    fn new(tracer: &'t mut Tracer, names: &'static [&'static str], of: Vec<NodeId>) -> Self {
        Self { tracer, names, of, read: 0 }
    }

    fn next<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some(part) = self.of.get(self.read).copied() else { return Ok(None) };
        // The names of a map's two parts come round again and again.
        let name = self.names.iter().cycle().nth(self.read % self.names.len().max(1));
        self.read += 1;
        down(self.tracer, name.copied().unwrap_or("[]"), |tracer| {
            seed.deserialize(Probe::new(tracer, part)).map(Some)
        })
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refusal> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.of.len() - self.read)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refusal> {
        self.next(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refusal> {
        self.next(seed)?.ok_or_else(|| Refusal::for_good("it reads a value without a key"))
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.of.len() - self.read) / 2)
    }
}

/// The variant of an enum that was chosen.
struct Choice<'t> {
    tracer: &'t mut Tracer,
    of: NodeId,
    nth: usize,
}

impl<'t> Choice<'t> {
    fn held(self) -> Probe<'t> {
        let held = self.tracer.held(self.of, self.nth);
        Probe::new(self.tracer, held)
    }
}

impl<'de> de::EnumAccess<'de> for Choice<'_> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refusal> {
        let number = u32::try_from(self.nth).unwrap_or(u32::MAX);
        let number: de::value::U32Deserializer<Refusal> = number.into_deserializer();
        let variant = seed.deserialize(number).map_err(|refusal| {
            Refusal::for_good(format!(
                "it does not know a variant by its number ({refusal}): serde's `alias` on a \
                 variant, or a hand-written `Deserialize`"
            ))
        })?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'_> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refusal> {
        seed.deserialize(self.held())
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refusal> {
        self.held().deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let Probe { tracer, at } = self.held();
        let parts = struct_parts(tracer, at, fields)?;
        whole(tracer, fields, parts, visitor)
    }
}
