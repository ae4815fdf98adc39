//! Two requests have one fingerprint if and only if they are equal: with another order of map entries
//! and fields, and in integers of another width, they are.

use arbitrary::Arbitrary;
use milepost::{Fingerprint, Key};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

/// Names of types, variants and fields, some of which begin like others.
const NAMES: [&str; 5] = ["a", "ab", "b", "qty", ""];

/// Any value that serde can be handed. Floats are their bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
pub enum Value {
    Unit,
    Nothing,
    Some(Box<Value>),
    Bool(bool),
    Integer(i64, u8),
    Large(u128),
    Float(u64),
    Short(u32),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Map(Vec<(Value, Value)>),
    UnitStruct(u8),
    Newtype(u8, Box<Value>),
    TupleStruct(u8, Vec<Value>),
    Struct(u8, Vec<(u8, Value)>),
    UnitVariant(u8, u8),
    NewtypeVariant(u8, u8, Box<Value>),
    TupleVariant(u8, u8, Vec<Value>),
    StructVariant(u8, u8, Vec<(u8, Value)>),
}

/// What the second request is.
#[derive(Debug, Arbitrary)]
pub enum Second {
    /// Another one.
    Other(Value),
    /// The same in another order, with integers of other widths.
    Turned(u8),
    /// The same, and one more beside it.
    Beside(Value),
    /// The same inside of something.
    Inside,
}

fn name(of: u8) -> &'static str {
    NAMES[usize::from(of) % NAMES.len()]
}

fn number(of: u8) -> u8 {
    of % NAMES.len() as u8
}

impl Value {
    /// The one form that equal values have.
    fn normal(&self) -> Self {
        let all = |values: &[Self]| values.iter().map(Self::normal).collect::<Vec<_>>();
        let boxed = |value: &Self| Box::new(value.normal());
        match self {
            Self::Some(value) => Self::Some(boxed(value)),
            Self::Integer(value, _) => Self::Integer(*value, 0),
            Self::Large(value) => {
                i64::try_from(*value).map_or(self.clone(), |v| Self::Integer(v, 0))
            }
            Self::List(values) => Self::List(all(values)),
            Self::Tuple(values) => Self::Tuple(all(values)),
            Self::Map(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, value)| (key.normal(), value.normal())).collect();
                entries.sort();
                Self::Map(entries)
            }
            Self::UnitStruct(of) => Self::UnitStruct(number(*of)),
            Self::Newtype(of, value) => Self::Newtype(number(*of), boxed(value)),
            Self::TupleStruct(of, values) => Self::TupleStruct(number(*of), all(values)),
            Self::Struct(of, held) => Self::Struct(number(*of), fields(held)),
            Self::UnitVariant(of, is) => Self::UnitVariant(number(*of), number(*is)),
            Self::NewtypeVariant(of, is, value) => {
                Self::NewtypeVariant(number(*of), number(*is), boxed(value))
            }
            Self::TupleVariant(of, is, values) => {
                Self::TupleVariant(number(*of), number(*is), all(values))
            }
            Self::StructVariant(of, is, held) => {
                Self::StructVariant(number(*of), number(*is), fields(held))
            }
            other => other.clone(),
        }
    }

    /// An equal value that is written otherwise.
    fn turned(&self, by: u8) -> Self {
        let all = |values: &[Self]| values.iter().map(|value| value.turned(by)).collect::<Vec<_>>();
        let boxed = |value: &Self| Box::new(value.turned(by));
        let turned = |held: &[(u8, Self)]| {
            let mut held = once_each(held);
            let at = usize::from(by) % held.len().max(1);
            held.rotate_left(at);
            held.into_iter().map(|(of, value)| (of, value.turned(by))).collect::<Vec<_>>()
        };
        match self {
            Self::Some(value) => Self::Some(boxed(value)),
            Self::Integer(value, width) => Self::Integer(*value, width.wrapping_add(by)),
            Self::List(values) => Self::List(all(values)),
            Self::Tuple(values) => Self::Tuple(all(values)),
            Self::Map(entries) => {
                let mut entries = entries.clone();
                let at = usize::from(by) % entries.len().max(1);
                entries.rotate_left(at);
                let turn = |(key, value): (Self, Self)| (key.turned(by), value.turned(by));
                Self::Map(entries.into_iter().map(turn).collect())
            }
            Self::Newtype(of, value) => Self::Newtype(*of, boxed(value)),
            Self::TupleStruct(of, values) => Self::TupleStruct(*of, all(values)),
            Self::Struct(of, held) => Self::Struct(*of, turned(held)),
            Self::NewtypeVariant(of, is, value) => Self::NewtypeVariant(*of, *is, boxed(value)),
            Self::TupleVariant(of, is, values) => Self::TupleVariant(*of, *is, all(values)),
            Self::StructVariant(of, is, held) => Self::StructVariant(*of, *is, turned(held)),
            other => other.clone(),
        }
    }
}

/// Each field once, as a struct has it.
fn once_each(held: &[(u8, Value)]) -> Vec<(u8, Value)> {
    let mut each: Vec<(u8, Value)> = Vec::new();
    for (of, value) in held {
        if !each.iter().any(|(other, _)| number(*other) == number(*of)) {
            each.push((*of, value.clone()));
        }
    }
    each
}

fn fields(held: &[(u8, Value)]) -> Vec<(u8, Value)> {
    let each = once_each(held).into_iter();
    let mut each: Vec<_> = each.map(|(of, value)| (number(of), value.normal())).collect();
    each.sort();
    each
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => to.serialize_unit(),
            Self::Nothing => to.serialize_none(),
            Self::Some(value) => to.serialize_some(value),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Integer(value, width) => integer(*value, *width, to),
            Self::Large(value) => to.serialize_u128(*value),
            Self::Float(bits) => to.serialize_f64(f64::from_bits(*bits)),
            Self::Short(bits) => to.serialize_f32(f32::from_bits(*bits)),
            Self::Char(value) => to.serialize_char(*value),
            Self::Text(text) => to.serialize_str(text),
            Self::Bytes(bytes) => to.serialize_bytes(bytes),
            Self::List(values) => {
                let mut list = to.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Self::Tuple(values) => {
                let mut tuple = to.serialize_tuple(values.len())?;
                values.iter().try_for_each(|value| tuple.serialize_element(value))?;
                tuple.end()
            }
            Self::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
            Self::UnitStruct(of) => to.serialize_unit_struct(name(*of)),
            Self::Newtype(of, value) => to.serialize_newtype_struct(name(*of), value),
            Self::TupleStruct(of, values) => {
                let mut tuple = to.serialize_tuple_struct(name(*of), values.len())?;
                values.iter().try_for_each(|value| tuple.serialize_field(value))?;
                tuple.end()
            }
            Self::Struct(of, held) => {
                let held = once_each(held);
                let mut all = to.serialize_struct(name(*of), held.len())?;
                held.iter().try_for_each(|(of, value)| all.serialize_field(name(*of), value))?;
                all.end()
            }
            Self::UnitVariant(of, is) => {
                to.serialize_unit_variant(name(*of), number(*is).into(), name(*is))
            }
            Self::NewtypeVariant(of, is, value) => {
                to.serialize_newtype_variant(name(*of), number(*is).into(), name(*is), value)
            }
            Self::TupleVariant(of, is, values) => {
                let (is, called) = (number(*is).into(), name(*is));
                let mut all = to.serialize_tuple_variant(name(*of), is, called, values.len())?;
                values.iter().try_for_each(|value| all.serialize_field(value))?;
                all.end()
            }
            Self::StructVariant(of, is, held) => {
                let (is, called, held) = (number(*is).into(), name(*is), once_each(held));
                let mut all = to.serialize_struct_variant(name(*of), is, called, held.len())?;
                held.iter().try_for_each(|(of, value)| all.serialize_field(name(*of), value))?;
                all.end()
            }
        }
    }
}

/// In one of the widths that it fits.
fn integer<S: Serializer>(value: i64, width: u8, to: S) -> Result<S::Ok, S::Error> {
    if let (1, Ok(value)) = (width % 8, i8::try_from(value)) {
        return to.serialize_i8(value);
    }
    if let (2, Ok(value)) = (width % 8, u8::try_from(value)) {
        return to.serialize_u8(value);
    }
    if let (3, Ok(value)) = (width % 8, i32::try_from(value)) {
        return to.serialize_i32(value);
    }
    if let (4, Ok(value)) = (width % 8, u32::try_from(value)) {
        return to.serialize_u32(value);
    }
    if let (5, Ok(value)) = (width % 8, u64::try_from(value)) {
        return to.serialize_u64(value);
    }
    if let (6, Ok(value)) = (width % 8, u128::try_from(value)) {
        return to.serialize_u128(value);
    }
    if width % 8 == 7 {
        return to.serialize_i128(value.into());
    }
    to.serialize_i64(value)
}

/// The fingerprint of a request; `None` if it is nested too deep for one.
fn of(value: &Value) -> Option<Fingerprint> {
    Key::new("key").request(value).ok()?.fingerprint()
}

pub fn play(one: &Value, second: &Second) {
    let other = match second {
        Second::Other(value) => value.clone(),
        Second::Turned(by) => one.turned(*by),
        Second::Beside(value) => Value::List(vec![one.clone(), value.clone()]),
        Second::Inside => Value::List(vec![one.clone()]),
    };
    let (Some(first), Some(second)) = (of(one), of(&other)) else { return };
    let are_equal = one.normal() == other.normal();
    assert_eq!(first == second, are_equal, "{one:?} and {other:?}");
}
