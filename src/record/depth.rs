//! How deep a value is nested, and how many elements its lists have: both are held against a limit
//! while it is written and while it is read.
//!
//! A record of a type that holds itself, such as a list of links, says with each byte that it goes on;
//! reading it takes a piece of the stack for each. So does writing, and what could not be read back is
//! not written. A list of elements without bytes, such as `Vec<()>`, says in nine bytes that it takes
//! years to be read.
//!
//! [`read`] stands between a type and the deserializer below: it counts, and passes everything on.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// The most levels of a value: each struct, enum, tuple, list, map and option is one, inside the one
/// that holds it. As many as `serde_json` takes; 128 frames of a reader are some hundred KiB of stack.
pub(crate) const LEVELS_MAX: u32 = 128;

/// The most elements all lists of a value have together, beyond one for each of its bytes.
pub(super) const FREE_ELEMENTS_MAX: usize = 1 << 16;

/// Whether a value of `bytes` bytes can have so many elements.
pub(super) fn has_room(elements: usize, bytes: usize) -> bool {
    elements <= bytes.saturating_add(FREE_ELEMENTS_MAX)
}

/// What refuses a level too many, when it is written and when it is read.
pub(super) struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of more than {LEVELS_MAX} levels, one inside the other")
    }
}

/// What refuses elements that no bytes stand for.
pub(super) struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lists of more than {FREE_ELEMENTS_MAX} elements that have no bytes")
    }
}

/// One reading of a value: how many elements it may have yet, and in which field it was refused.
pub(super) struct Reading {
    elements: Cell<usize>,
    /// The fields that lead there, the innermost one first.
    refused_in: RefCell<Vec<&'static str>>,
}

impl Reading {
    /// Of a value of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        let elements = Cell::new(bytes.saturating_add(FREE_ELEMENTS_MAX));
        Self { elements, refused_in: RefCell::default() }
    }

    /// Reads a `T`.
    pub(super) fn read<T>(&self) -> Read<'_, T> {
        Read { reading: self, value: PhantomData }
    }

    /// The field in which a `Deserialize` refused what it read, such as `book.last`.
    pub(super) fn refused_in(&self) -> Option<String> {
        let mut fields = self.refused_in.borrow().clone();
        fields.reverse();
        (!fields.is_empty()).then(|| fields.join("."))
    }
}

pub(super) struct Read<'r, T> {
    reading: &'r Reading,
    value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Read<'_, T> {
    type Value = T;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::deserialize(In { inner: from, room: Room { levels: LEVELS_MAX, reading: self.reading } })
    }
}

/// What is left: levels below this one, and elements in the whole value.
#[derive(Clone, Copy)]
struct Room<'r> {
    levels: u32,
    reading: &'r Reading,
}

impl Room<'_> {
    #[inline]
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels, ..self }),
            None => Err(E::custom(TooDeep)),
        }
    }

    /// Takes room for what a list says it has, before anybody allocates it.
    #[inline]
    fn take<E: Error>(self, elements: Option<usize>) -> Result<(), E> {
        match self.reading.elements.get().checked_sub(elements.unwrap_or(0)) {
            Some(left) => {
                self.reading.elements.set(left);
                Ok(())
            }
            None => Err(E::custom(TooMany)),
        }
    }
}

/// A part of reading, at a level: the deserializer below, a visitor, a seed, or the access to what is
/// inside.
struct In<'r, I> {
    inner: I,
    room: Room<'r>,
}

/// A visitor of as many elements as the bytes say.
struct Claiming<'r, V>(In<'r, V>);

/// Has nothing inside: passed on as it is.
macro_rules! plain {
    ($($method:ident($($name:ident: $type:ty)?);)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)? visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)? visitor)
        })*
    };
}

/// Has something inside: one level deeper.
macro_rules! level {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = In { inner: visitor, room: self.room.deeper()? };
            self.inner.$method($($name,)* visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for In<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    level! {
        deserialize_option();
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = In { inner: visitor, room: self.room.deeper()? };
        self.inner.deserialize_struct(name, fields, Named { inner: visitor, fields })
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = In { inner: visitor, room: self.room.deeper()? };
        self.inner.deserialize_seq(Claiming(visitor))
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = In { inner: visitor, room: self.room.deeper()? };
        self.inner.deserialize_map(Claiming(visitor))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Visits what has something inside; nothing else gets this visitor.
impl<'de, V: Visitor<'de>> Visitor<'de> for In<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(In { inner: from, room: self.room })
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(In { inner: from, room: self.room })
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(In { inner: from, room: self.room })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(In { inner: from, room: self.room })
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(In { inner: from, room: self.room })
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Claiming<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.0.room.take(from.size_hint())?;
        self.0.visit_seq(from)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.0.room.take(from.size_hint())?;
        self.0.visit_map(from)
    }
}

/// What is inside of a struct: a visitor, or the access to its fields, of which these come next.
struct Named<I> {
    inner: I,
    fields: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Named<In<'_, V>> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        let In { inner, room } = self.inner;
        inner.visit_seq(Named { inner: In { inner: from, room }, fields: self.fields })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(from)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Named<In<'_, A>> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let field = self.fields.split_off_first();
        self.inner.next_element_seed(seed).inspect_err(|_| {
            self.inner.room.reading.refused_in.borrow_mut().extend(field);
        })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for In<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(In { inner: from, room: self.room })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for In<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(In { inner: seed, room: self.room })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for In<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(In { inner: seed, room: self.room })
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(In { inner: seed, room: self.room })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'r, A: EnumAccess<'de>> EnumAccess<'de> for In<'r, A> {
    type Error = A::Error;
    type Variant = In<'r, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, inner) = self.inner.variant_seed(seed)?;
        Ok((variant, In { inner, room: self.room }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for In<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(In { inner: seed, room: self.room })
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, In { inner: visitor, room: self.room })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = In { inner: visitor, room: self.room };
        self.inner.struct_variant(fields, Named { inner: visitor, fields })
    }
}

#[cfg(test)]
mod tests;
