//! One value of a shape, read from JSON.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::writer::{Entries, Part, Writer, is_number, name_of, unexpected};
use crate::record::shape::node::{Node, NodeId, Variant};

/// How deep values stand in one another; the reader of JSON has a limit of its own, below this one,
/// for all that has a bracket.
const DEPTH_MAX: usize = 256;

/// One value, of which the shape says what it is.
pub(super) struct Value<'w, 's> {
    pub(super) writer: &'w mut Writer<'s>,
    pub(super) node: NodeId,
    pub(super) depth: usize,
}

impl<'s> Value<'_, 's> {
    fn node(&self) -> Option<&'s Node> {
        self.writer.shape.node(self.node)
    }

    /// A value inside this one.
    fn inner(&mut self, node: NodeId) -> Value<'_, 's> {
        Value { writer: &mut *self.writer, node, depth: self.depth + 1 }
    }

    fn list<'de, A: SeqAccess<'de>>(
        &mut self,
        seq: &mut A,
        mut of: impl FnMut(usize) -> Option<NodeId>,
    ) -> Result<usize, A::Error> {
        let mut count = 0;
        self.writer.path.push(Part::Nth(0));
        while let Some(node) = of(count) {
            if let Some(part) = self.writer.path.last_mut() {
                *part = Part::Nth(count);
            }
            if seq.next_element_seed(self.inner(node))?.is_none() {
                break;
            }
            count += 1;
        }
        self.writer.path.pop();
        Ok(count)
    }

    /// As many values as the shape says, and no more.
    fn exactly<'de, A: SeqAccess<'de>>(
        &mut self,
        mut seq: A,
        len: usize,
        of: impl Fn(usize) -> Option<NodeId>,
    ) -> Result<(), A::Error> {
        let count = self.list(&mut seq, |nth| if nth < len { of(nth) } else { None })?;
        if count == len && seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(());
        }
        Err(de::Error::custom(format_args!("it must have {len} elements")))
    }

    /// Entries in the order of the text, or of their keys' bytes.
    fn entries<E: de::Error>(
        &mut self,
        at: usize,
        mut entries: Vec<(usize, usize, usize)>,
    ) -> Result<(), E> {
        let out = &self.writer.out;
        let key = |entry: &(usize, usize, usize)| out.get(entry.0..entry.1).unwrap_or_default();
        if !entries.is_sorted_by(|one, two| key(one) < key(two)) {
            let mut sorted = entries.clone();
            sorted.sort_by(|one, two| key(one).cmp(key(two)));
            if sorted.windows(2).any(|two| matches!(two, [a, b] if key(a) == key(b))) {
                return Err(E::custom("it has a key twice"));
            }
            if self.writer.entries == Entries::Sorted {
                entries = sorted;
            }
        }
        let count = entries.len();
        let parts: Vec<_> = entries.into_iter().map(|(from, _, to)| (from, to)).collect();
        self.writer.arrange(at, &parts);
        self.writer.put_len_at(at, count)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> Result<(), D::Error> {
        if self.depth > DEPTH_MAX {
            return Err(de::Error::custom(format_args!("it goes deeper than {DEPTH_MAX} levels")));
        }
        let Some(node) = self.node() else {
            return Err(de::Error::custom("the shape is not whole"));
        };
        match node {
            Node::Option(_) => text.deserialize_option(self),
            Node::I128 => text.deserialize_i128(self),
            Node::U128 => text.deserialize_u128(self),
            _ => text.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.node().map_or("nothing", name_of))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self.node() {
            Some(Node::Unit) => Ok(()),
            Some(node) => Err(unexpected(node, "null")),
            None => Err(E::custom("the shape is not whole")),
        }
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.writer.put(&[0])
    }

    fn visit_some<D: Deserializer<'de>>(mut self, text: D) -> Result<(), D::Error> {
        let Some(Node::Option(of)) = self.node() else { return self.visit_unit() };
        self.writer.put(&[1])?;
        self.inner(*of).deserialize(text)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<(), E> {
        match self.node() {
            Some(Node::Bool) => self.writer.put(&[u8::from(truth)]),
            Some(node) => Err(unexpected(node, "true or false")),
            None => Ok(()),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.visit_i128(number.into())
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<(), E> {
        match self.node() {
            Some(node) => self.writer.int(node, number),
            None => Ok(()),
        }
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<(), E> {
        match self.node() {
            Some(Node::U128) => self.writer.number(number),
            Some(node) => Err(unexpected(node, "a number of more than 64 bits")),
            None => Ok(()),
        }
    }

    fn visit_f64<E: de::Error>(self, float: f64) -> Result<(), E> {
        match self.node() {
            Some(node) => self.writer.float(node, float),
            None => Ok(()),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let Some(node) = self.node() else { return Ok(()) };
        let mut chars = text.chars();
        match (node, text) {
            (Node::Text, _) => self.writer.text(text),
            (Node::Char, _) if chars.next().is_some() && chars.next().is_none() => {
                self.writer.put(text.as_bytes())
            }
            (Node::F32 | Node::F64, "NaN") => self.writer.float(node, f64::NAN),
            (Node::F32 | Node::F64, "Infinity") => self.writer.float(node, f64::INFINITY),
            (Node::F32 | Node::F64, "-Infinity") => self.writer.float(node, f64::NEG_INFINITY),
            (Node::Enum(variants), _) => {
                let is_it = |variant: &Variant| variant.name == text && variant.holds.is_none();
                match variants.iter().position(is_it) {
                    Some(nth) => self.writer.number(nth as u128),
                    None => Err(E::custom("there is no such variant that holds nothing")),
                }
            }
            _ => Err(unexpected(node, "a text")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let Some(node) = self.node() else { return Ok(()) };
        let at = self.writer.out.len();
        match node {
            Node::Bytes => {
                while let Some(byte) = seq.next_element::<u8>()? {
                    self.writer.put(&[byte])?;
                }
                let len = self.writer.out.len() - at;
                self.writer.put_len_at(at, len)
            }
            Node::List(of) => {
                let len = self.list(&mut seq, |_| Some(*of))?;
                self.writer.put_len_at(at, len)
            }
            Node::Array { of, len } => {
                let len = usize::try_from(*len).unwrap_or(usize::MAX);
                self.exactly(seq, len, |_| Some(*of))
            }
            Node::Tuple(parts) => self.exactly(seq, parts.len(), |nth| parts.get(nth).copied()),
            Node::Map { key, value } => {
                let mut entries = Vec::new();
                self.writer.path.push(Part::Nth(0));
                loop {
                    if let Some(part) = self.writer.path.last_mut() {
                        *part = Part::Nth(entries.len());
                    }
                    let pair = Pair { of: self.inner(*key), value: *value };
                    let Some(entry) = seq.next_element_seed(pair)? else { break };
                    entries.push(entry);
                }
                self.writer.path.pop();
                self.entries(at, entries)
            }
            node => Err(unexpected(node, "a list")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Some(node) = self.node() else { return Ok(()) };
        let at = self.writer.out.len();
        match node {
            Node::Struct(fields) => {
                let mut parts = vec![None; fields.len()];
                while let Some(name) = map.next_key::<String>()? {
                    let nth = fields.iter().position(|field| field.name == name);
                    let field = nth.and_then(|nth| Some((fields.get(nth)?, parts.get_mut(nth)?)));
                    self.writer.path.push(Part::Field(name));
                    match field {
                        None => return Err(de::Error::custom("there is no such field")),
                        Some((_, Some(_))) => {
                            return Err(de::Error::custom("it stands here twice"));
                        }
                        Some((field, part)) => {
                            let from = self.writer.out.len();
                            map.next_value_seed(self.inner(field.of))?;
                            *part = Some((from, self.writer.out.len()));
                        }
                    }
                    self.writer.path.pop();
                }
                if let Some(nth) = parts.iter().position(Option::is_none) {
                    let name = fields.get(nth).map_or("", |field| &field.name);
                    return Err(de::Error::custom(format_args!("its field {name:?} is missing")));
                }
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                self.writer.arrange(at, &parts);
                Ok(())
            }
            Node::Enum(variants) => {
                let Some(name) = map.next_key::<String>()? else {
                    return Err(unexpected(node, "an empty object"));
                };
                let nth = variants.iter().position(|variant| variant.name == name);
                let holds = nth.and_then(|nth| variants.get(nth)?.holds);
                self.writer.path.push(Part::Field(name));
                let (Some(nth), Some(holds)) = (nth, holds) else {
                    return Err(de::Error::custom("there is no such variant that holds something"));
                };
                self.writer.number(nth as u128)?;
                map.next_value_seed(self.inner(holds))?;
                self.writer.path.pop();
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(()),
                    Some(_) => Err(de::Error::custom("two variants at once")),
                }
            }
            Node::Map { key, value } if self.writer.shape.node(*key) == Some(&Node::Text) => {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let from = self.writer.out.len();
                    self.writer.text(&name)?;
                    let mid = self.writer.out.len();
                    self.writer.path.push(Part::Entry(name));
                    map.next_value_seed(self.inner(*value))?;
                    self.writer.path.pop();
                    entries.push((from, mid, self.writer.out.len()));
                }
                self.entries(at, entries)
            }
            // How serde_json shows a number where a program has it keep all digits.
            node if is_number(node) && map.next_key::<String>()?.as_deref() == Some(DIGITS) => {
                self.writer.digits(node, &map.next_value::<String>()?)
            }
            node => Err(unexpected(node, "an object")),
        }
    }
}

/// The name of the one field of a number, in `serde_json` with its feature `arbitrary_precision`: any
/// crate of a program can turn it on, for all of them.
const DIGITS: &str = "$serde_json::private::Number";

/// A key and its value, as a list of two.
struct Pair<'w, 's> {
    of: Value<'w, 's>,
    value: NodeId,
}

impl<'de> DeserializeSeed<'de> for Pair<'_, '_> {
    type Value = (usize, usize, usize);

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> Result<Self::Value, D::Error> {
        text.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_, '_> {
    type Value = (usize, usize, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key and its value in a list of two")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let short = || de::Error::custom("a pair is a list of two");
        let from = self.of.writer.out.len();
        let key = Value { writer: &mut *self.of.writer, node: self.of.node, depth: self.of.depth };
        seq.next_element_seed(key)?.ok_or_else(short)?;
        let mid = self.of.writer.out.len();
        let value = Value { writer: &mut *self.of.writer, node: self.value, depth: self.of.depth };
        seq.next_element_seed(value)?.ok_or_else(short)?;
        match seq.next_element::<IgnoredAny>()? {
            None => Ok((from, mid, self.of.writer.out.len())),
            Some(_) => Err(short()),
        }
    }
}
