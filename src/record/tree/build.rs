//! Builds the tree of a value.

use std::any::type_name;

use serde::{Serialize, ser};

use super::node::{Container, Held, Tree, Variant, Width};
use crate::record::depth::TooDeep;
use crate::record::order::{Order, Place, counted, named};
use crate::record::writing::Refusal;

/// One place of a value.
pub(super) struct Builder {
    /// The name of the type that is being written.
    pub(super) of: &'static str,
    /// How many levels there may be from here on.
    pub(super) levels: u32,
    pub(super) place: Place,
    /// Whether it is for people to read: some types are written otherwise then.
    pub(super) for_people: bool,
}

impl Builder {
    /// What is inside, counted before anything goes down there.
    fn inside(&self) -> Result<Inside, Refusal> {
        let levels = self.levels.checked_sub(1).ok_or_else(|| {
            Refusal(format!("{TooDeep}: it could not be read back. Keep a long chain as a list"))
        })?;
        Ok(Inside { levels, place: self.place, for_people: self.for_people })
    }

    fn parts(self, make: Make, len: Option<usize>) -> Result<Parts, Refusal> {
        let inside = self.inside()?;
        let container = Container { place: self.place, order: Order::of(self.of) };
        // What a type announces is its own affair: not more than a page on its word.
        let trees = Vec::with_capacity(len.unwrap_or(0).min(64));
        Ok(Parts { inside, container, make, names: Vec::new(), trees })
    }
}

/// What is inside of a place.
#[derive(Clone, Copy)]
struct Inside {
    levels: u32,
    place: Place,
    for_people: bool,
}

impl Inside {
    fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    fn tree<T: Serialize + ?Sized>(self, value: &T) -> Result<Tree, Refusal> {
        let Self { levels, place, for_people } = self;
        value.serialize(Builder { of: type_name::<T>(), levels, place, for_people })
    }
}

/// What the parts become.
#[derive(Clone, Copy)]
enum Make {
    List,
    Map,
    Tuple(Option<&'static str>),
    Struct(&'static str),
    TupleVariant(Variant),
    StructVariant(Variant),
}

/// Parts that are being collected.
pub(super) struct Parts {
    inside: Inside,
    container: Container,
    make: Make,
    names: Vec<&'static str>,
    trees: Vec<Tree>,
}

impl Parts {
    fn add<T: Serialize + ?Sized>(&mut self, place: Place, value: &T) -> Result<(), Refusal> {
        self.trees.push(self.inside.at(place).tree(value)?);
        Ok(())
    }

    /// Where the next one of them is, among those of a struct or a tuple.
    fn next(&self) -> Place {
        self.inside.place.nth(self.trees.len() + 1)
    }

    fn made(self) -> Tree {
        let Self { container, make, names, trees: parts, .. } = self;
        match make {
            Make::List => Tree::List(container, parts),
            Make::Map => {
                let mut parts = parts.into_iter();
                let pairs = std::iter::from_fn(|| Some((parts.next()?, parts.next()?)));
                Tree::Map(container, pairs.collect())
            }
            Make::Tuple(name) => Tree::Tuple(name, parts),
            Make::Struct(name) => Tree::Struct(name, names.into_iter().zip(parts).collect()),
            Make::TupleVariant(variant) => Tree::Variant(variant, Held::Tuple(parts)),
            Make::StructVariant(variant) => {
                Tree::Variant(variant, Held::Struct(names.into_iter().zip(parts).collect()))
            }
        }
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty => $kind:ident, $width:ident;)*) => {
        $(fn $method(self, value: $type) -> Result<Tree, Refusal> {
            Ok(Tree::$kind(Width::$width, value.into()))
        })*
    };
}

impl ser::Serializer for Builder {
    type Ok = Tree;
    type Error = Refusal;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    numbers! {
        serialize_i8: i8 => Signed, W8;
        serialize_i16: i16 => Signed, W16;
        serialize_i32: i32 => Signed, W32;
        serialize_i64: i64 => Signed, W64;
        serialize_i128: i128 => Signed, W128;
        serialize_u8: u8 => Unsigned, W8;
        serialize_u16: u16 => Unsigned, W16;
        serialize_u32: u32 => Unsigned, W32;
        serialize_u64: u64 => Unsigned, W64;
        serialize_u128: u128 => Unsigned, W128;
    }

    fn serialize_bool(self, value: bool) -> Result<Tree, Refusal> {
        Ok(Tree::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Tree, Refusal> {
        Ok(Tree::F32(value.to_bits()))
    }

    fn serialize_f64(self, value: f64) -> Result<Tree, Refusal> {
        Ok(Tree::F64(value.to_bits()))
    }

    fn serialize_char(self, value: char) -> Result<Tree, Refusal> {
        Ok(Tree::Char(value))
    }

    fn serialize_str(self, value: &str) -> Result<Tree, Refusal> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Tree, Refusal> {
        Ok(Tree::Bytes(value.to_owned()))
    }

    fn serialize_none(self) -> Result<Tree, Refusal> {
        Ok(Tree::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Tree, Refusal> {
        Ok(Tree::Some(Box::new(self.inside()?.tree(value)?)))
    }

    fn serialize_unit(self) -> Result<Tree, Refusal> {
        Ok(Tree::Unit)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<Tree, Refusal> {
        Ok(Tree::UnitStruct(name))
    }

    fn serialize_unit_variant(
        self,
        of: &'static str,
        number: u32,
        name: &'static str,
    ) -> Result<Tree, Refusal> {
        Ok(Tree::Variant(Variant { of, number, name }, Held::Nothing))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Tree, Refusal> {
        Ok(Tree::Newtype(name, Box::new(self.inside()?.tree(value)?)))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        of: &'static str,
        number: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Tree, Refusal> {
        let inside = self.inside()?.at(self.place.field(name));
        let held = Held::One(Box::new(inside.tree(value)?));
        Ok(Tree::Variant(Variant { of, number, name }, held))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Parts, Refusal> {
        self.parts(Make::List, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts, Refusal> {
        self.parts(Make::Tuple(None), Some(len))
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Parts, Refusal> {
        self.parts(Make::Tuple(Some(name)), Some(len))
    }

    fn serialize_tuple_variant(
        mut self,
        of: &'static str,
        number: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Parts, Refusal> {
        self.place = self.place.field(name);
        self.parts(Make::TupleVariant(Variant { of, number, name }), Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Parts, Refusal> {
        self.parts(Make::Map, len.map(|len| len.saturating_mul(2)))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts, Refusal> {
        self.parts(Make::Struct(name), Some(len))
    }

    fn serialize_struct_variant(
        mut self,
        of: &'static str,
        number: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Parts, Refusal> {
        self.place = self.place.field(name);
        self.parts(Make::StructVariant(Variant { of, number, name }), Some(len))
    }

    fn collect_seq<I>(mut self, all: I) -> Result<Tree, Refusal>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.of = named::<I>(self.of);
        let mut all = all.into_iter();
        let mut parts = self.serialize_seq(counted(&all))?;
        all.try_for_each(|part| ser::SerializeSeq::serialize_element(&mut parts, &part))?;
        Ok(parts.made())
    }

    fn collect_map<K, V, I>(mut self, all: I) -> Result<Tree, Refusal>
    where
        K: Serialize,
        V: Serialize,
        I: IntoIterator<Item = (K, V)>,
    {
        self.of = named::<I>(self.of);
        let mut all = all.into_iter();
        let mut parts = self.serialize_map(counted(&all))?;
        all.try_for_each(|(key, value)| {
            ser::SerializeMap::serialize_key(&mut parts, &key)?;
            ser::SerializeMap::serialize_value(&mut parts, &value)
        })?;
        Ok(parts.made())
    }

    fn is_human_readable(&self) -> bool {
        self.for_people
    }
}

impl ser::SerializeSeq for Parts {
    type Ok = Tree;
    type Error = Refusal;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.add(self.inside.place.nth(0), value)
    }

    fn end(self) -> Result<Tree, Refusal> {
        Ok(self.made())
    }
}

impl ser::SerializeMap for Parts {
    type Ok = Tree;
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.add(self.inside.place.nth(0), key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.add(self.inside.place.nth(1), value)
    }

    fn end(self) -> Result<Tree, Refusal> {
        Ok(self.made())
    }
}

macro_rules! fields {
    ($($trait:ident, $method:ident $(, $key:ident)?;)*) => {
        $(impl ser::$trait for Parts {
            type Ok = Tree;
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), Refusal> {
                let place = self.next();
                $(let place = place.field($key);
                self.names.push($key);)?
                self.add(place, value)
            }

            fn end(self) -> Result<Tree, Refusal> {
                Ok(self.made())
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
