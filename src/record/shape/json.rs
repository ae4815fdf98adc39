//! A stored value as JSON, read through its shape: by hand, because every length in the bytes is
//! somebody else's word. What is written is bounded, and so is how deep it goes.

use thiserror::Error;

use super::node::{Node, NodeId, Shape};

/// How deep values stand in one another: lists of lists, and what recursive types make.
const DEPTH_MAX: usize = 256;

/// Why bytes cannot be shown through a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ViewError {
    #[error("its bytes do not fit its shape: {0}")]
    Unfit(&'static str),
    #[error("it goes deeper than {DEPTH_MAX} levels")]
    Deep,
    #[error("as JSON it is longer than {0} bytes")]
    Long(usize),
}

use ViewError::Unfit;

impl ViewError {
    /// Whether the bytes may be sound, and are only too much to be shown.
    pub(crate) fn is_limit(self) -> bool {
        matches!(self, Self::Deep | Self::Long(_))
    }
}

/// How a map is written whose keys are not strings, which JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maps {
    /// As a list of pairs.
    Pairs,
    /// As an object: the JSON of a key is the string.
    Objects,
}

pub(super) fn to_json(
    shape: &Shape,
    bytes: &[u8],
    maps: Maps,
    out_max: usize,
) -> Result<String, ViewError> {
    let mut view = View { shape, bytes, maps, out: String::new(), out_max };
    view.value(0, 0)?;
    if view.bytes.is_empty() { Ok(view.out) } else { Err(Unfit("bytes are left over")) }
}

struct View<'a> {
    shape: &'a Shape,
    /// What is still to be read.
    bytes: &'a [u8],
    maps: Maps,
    out: String,
    out_max: usize,
}

impl<'a> View<'a> {
    /// Every call writes at least one byte, so that the limit on what is written ends them all.
    fn value(&mut self, id: NodeId, depth: usize) -> Result<(), ViewError> {
        if depth > DEPTH_MAX {
            return Err(ViewError::Deep);
        }
        let shape = self.shape;
        let depth = depth + 1;
        match shape.node(id).ok_or(Unfit("the shape is not whole"))? {
            Node::Unit => self.write("null"),
            Node::Bool => {
                let truth = self.flag()?;
                self.write(if truth { "true" } else { "false" })
            }
            Node::I8 => {
                let [byte] = self.take()?;
                self.show(&i8::from_le_bytes([byte]))
            }
            Node::U8 => {
                let [byte] = self.take()?;
                self.show(&byte)
            }
            Node::I16 | Node::I32 | Node::I64 | Node::I128 => {
                let folded = self.number()?;
                self.show(&unfold(folded))
            }
            Node::U16 | Node::U32 | Node::U64 | Node::U128 => {
                let number = self.number()?;
                self.show(&number)
            }
            Node::F32 => {
                let float = f32::from_le_bytes(self.take()?);
                self.float(f64::from(float), serde_json::to_string(&float))
            }
            Node::F64 => {
                let float = f64::from_le_bytes(self.take()?);
                self.float(float, serde_json::to_string(&float))
            }
            Node::Char => {
                let text = self.char()?;
                self.string(text)
            }
            Node::Text => {
                let text = self.text()?;
                self.string(text)
            }
            Node::Bytes => {
                let len = self.len()?;
                let bytes = self.slice(len)?;
                self.list(bytes, Self::show)
            }
            Node::Option(of) => {
                if self.flag()? {
                    self.value(*of, depth)
                } else {
                    self.write("null")
                }
            }
            Node::List(of) => {
                let len = self.len()?;
                self.list(0..len, |view, _| view.value(*of, depth))
            }
            Node::Array { of, len } => self.list(0..*len, |view, _| view.value(*of, depth)),
            Node::Tuple(parts) => self.list(parts, |view, part| view.value(*part, depth)),
            Node::Map { key, value } => self.map(*key, *value, depth),
            Node::Struct(fields) => {
                self.write("{")?;
                for (nth, field) in fields.iter().enumerate() {
                    self.comma(nth)?;
                    self.string(&field.name)?;
                    self.write(":")?;
                    self.value(field.of, depth)?;
                }
                self.write("}")
            }
            Node::Enum(variants) => {
                let nth = usize::try_from(self.number()?).ok();
                let variant = nth
                    .and_then(|nth| variants.get(nth))
                    .ok_or(Unfit("it has a variant that the shape does not know"))?;
                let Some(holds) = variant.holds else { return self.string(&variant.name) };
                self.write("{")?;
                self.string(&variant.name)?;
                self.write(":")?;
                self.value(holds, depth)?;
                self.write("}")
            }
        }
    }

    /// An object if the keys are strings, or are to be made some; else a list of pairs.
    fn map(&mut self, key: NodeId, value: NodeId, depth: usize) -> Result<(), ViewError> {
        let len = self.len()?;
        let is_text = self.shape.node(key) == Some(&Node::Text);
        if !is_text && self.maps == Maps::Pairs {
            return self.list(0..len, |view, _| {
                view.list([key, value], |view, part| view.value(part, depth))
            });
        }
        self.write("{")?;
        for nth in 0..len {
            self.comma(usize::from(nth > 0))?;
            let begins = self.out.len();
            self.value(key, depth)?;
            if !is_text {
                let key = self.out.split_off(begins);
                self.string(&key)?;
            }
            self.write(":")?;
            self.value(value, depth)?;
        }
        self.write("}")
    }

    fn list<I>(
        &mut self,
        items: impl IntoIterator<Item = I>,
        mut item: impl FnMut(&mut Self, I) -> Result<(), ViewError>,
    ) -> Result<(), ViewError> {
        self.write("[")?;
        for (nth, of) in items.into_iter().enumerate() {
            self.comma(nth)?;
            item(self, of)?;
        }
        self.write("]")
    }

    fn comma(&mut self, nth: usize) -> Result<(), ViewError> {
        if nth == 0 { Ok(()) } else { self.write(",") }
    }

    fn show(&mut self, number: &impl ToString) -> Result<(), ViewError> {
        self.write(&number.to_string())
    }

    fn float(
        &mut self,
        float: f64,
        written: Result<String, serde_json::Error>,
    ) -> Result<(), ViewError> {
        match written {
            _ if float.is_nan() => self.write("\"NaN\""),
            _ if float == f64::INFINITY => self.write("\"Infinity\""),
            _ if float == f64::NEG_INFINITY => self.write("\"-Infinity\""),
            Ok(written) => self.write(&written),
            Err(_) => Err(Unfit("a number cannot be written")),
        }
    }

    fn string(&mut self, text: &str) -> Result<(), ViewError> {
        if text.len() > self.out_max {
            return Err(ViewError::Long(self.out_max));
        }
        let written = serde_json::to_string(text).map_err(|_| Unfit("a text cannot be written"))?;
        self.write(&written)
    }

    fn write(&mut self, json: &str) -> Result<(), ViewError> {
        if json.len() > self.out_max - self.out.len() {
            return Err(ViewError::Long(self.out_max));
        }
        self.out.push_str(json);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ViewError> {
        let (bytes, rest) = self.bytes.split_first_chunk().ok_or(Unfit("it is cut short"))?;
        self.bytes = rest;
        Ok(*bytes)
    }

    fn slice(&mut self, len: u64) -> Result<&'a [u8], ViewError> {
        let (bytes, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.bytes.split_at_checked(len))
            .ok_or(Unfit("it is cut short"))?;
        self.bytes = rest;
        Ok(bytes)
    }

    fn flag(&mut self) -> Result<bool, ViewError> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Unfit("a byte that says yes or no says neither")),
        }
    }

    /// bincode's variable-length number: one byte up to 250, else a marker and the width it names.
    fn number(&mut self) -> Result<u128, ViewError> {
        Ok(match self.take()? {
            [251] => u16::from_le_bytes(self.take()?).into(),
            [252] => u32::from_le_bytes(self.take()?).into(),
            [253] => u64::from_le_bytes(self.take()?).into(),
            [254] => u128::from_le_bytes(self.take()?),
            [255] => return Err(Unfit("a number has no width")),
            [small] => small.into(),
        })
    }

    fn len(&mut self) -> Result<u64, ViewError> {
        u64::try_from(self.number()?).map_err(|_| Unfit("a length is no length"))
    }

    fn text(&mut self) -> Result<&'a str, ViewError> {
        let len = self.len()?;
        std::str::from_utf8(self.slice(len)?).map_err(|_| Unfit("a text is no text"))
    }

    fn char(&mut self) -> Result<&'a str, ViewError> {
        let len = match self.bytes.first() {
            Some(0..0x80) => 1,
            Some(0x80..0xe0) => 2,
            Some(0xe0..0xf0) => 3,
            _ => 4,
        };
        std::str::from_utf8(self.slice(len)?).map_err(|_| Unfit("a character is none"))
    }
}

/// The sign stands in the lowest bit.
#[expect(clippy::cast_possible_wrap, reason = "half of a u128 fits")]
fn unfold(folded: u128) -> i128 {
    (folded >> 1) as i128 ^ -((folded & 1) as i128)
}
