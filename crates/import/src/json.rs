//! JSON as the replaced programs wrote it: the fields in their order, each number with the digits it
//! had in the file. Such a file has to be given back as it was, and a hash of it proven.

use std::fmt::{self, Write};

use crate::number::{as_python, is_number};

/// The most levels of lists and objects inside one another.
pub(super) const LEVELS_MAX: usize = 100;

/// A JSON value that comes back as it was written: objects keep the order of their fields, numbers
/// their digits.
///
/// ```
/// use milepost_import::Json;
/// let fill: Json = r#"{"price": 601.2500, "id": 18446744073709551616}"#.parse()?;
/// assert_eq!(fill.get("price").and_then(Json::as_f64), Some(601.25));
/// assert_eq!(fill.to_string(), r#"{"price":601.2500,"id":18446744073709551616}"#);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as its digits stand in the file. Python's `NaN`, `Infinity` and `-Infinity` are
    /// numbers here too. One that is none is refused when it is stored or written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// The fields of an object, in their order. A name that stands there twice is refused when it is
    /// stored or written.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The field of this name, if this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        let fields = self.fields();
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// The field of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        let Self::Object(fields) = self else { return None };
        fields.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Gives a field another value; one that is not there comes behind the others. Does nothing to
    /// what is no object.
    pub fn set(&mut self, name: impl Into<String>, value: Json) {
        let name = name.into();
        if let Some(field) = self.get_mut(&name) {
            *field = value;
        } else if let Self::Object(fields) = self {
            fields.push((name, value));
        }
    }

    /// The fields of an object in their order; none of anything else.
    #[must_use]
    pub fn fields(&self) -> &[(String, Json)] {
        if let Self::Object(fields) = self { fields } else { &[] }
    }

    /// What a list holds; nothing of anything else.
    #[must_use]
    pub fn items(&self) -> &[Json] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The truth, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(is) = self { Some(*is) } else { None }
    }

    /// The number, if it is a whole one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(digits) = self { digits.parse().ok() } else { None }
    }

    /// The number, if it is a whole one that fits and is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(digits) = self { digits.parse().ok() } else { None }
    }

    /// The nearest floating-point number, if it is a number.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(digits) = self { digits.parse().ok() } else { None }
    }

    /// The same with the digits that Python gives its numbers.
    pub(super) fn in_python_digits(&self) -> Self {
        match self {
            Self::Number(digits) => Self::Number(as_python(digits)),
            Self::List(items) => Self::List(items.iter().map(Self::in_python_digits).collect()),
            Self::Object(fields) => {
                let each =
                    |(name, value): &(String, Self)| (name.clone(), value.in_python_digits());
                Self::Object(fields.iter().map(each).collect())
            }
            other => other.clone(),
        }
    }

    /// Says what cannot be written of it: a number that is none, a name twice, too many levels.
    pub(super) fn check(&self, level: usize) -> Result<(), String> {
        if level > LEVELS_MAX {
            return Err(format!("it has more than {LEVELS_MAX} levels"));
        }
        match self {
            Self::Number(digits) if !is_number(digits) => {
                Err("a number in it is not written as one".to_owned())
            }
            Self::List(items) => items.iter().try_for_each(|item| item.check(level + 1)),
            Self::Object(fields) => {
                let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                if let Some([name, ..]) = names.windows(2).find(|pair| pair.first() == pair.last())
                {
                    return Err(format!("an object in it has two fields `{name}`"));
                }
                fields.iter().try_for_each(|(_, value)| value.check(level + 1))
            }
            _ => Ok(()),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<bool> for Json {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl fmt::Display for Json {
    /// As JSON, on one line and without spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Layout::TIGHT.write(self))
    }
}

impl fmt::Debug for Json {
    /// What it is and how large, never what it says: `Display` does that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(_) => f.write_str("bool"),
            Self::Number(_) => f.write_str("number"),
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::List(items) => write!(f, "list of {}", items.len()),
            Self::Object(fields) => write!(f, "object of {} fields", fields.len()),
        }
    }
}

/// How JSON is laid out; each is one that Python's `json.dumps` has.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// A line for each field and item, two spaces more for each level.
    lines: bool,
    between: &'static str,
    colon: &'static str,
    /// What is not ASCII is escaped.
    ascii: bool,
    /// Fields by their names.
    sorted: bool,
}

impl Layout {
    /// `separators=(",", ":"), ensure_ascii=False`
    pub(super) const TIGHT: Self =
        Self { lines: false, between: ",", colon: ":", ascii: false, sorted: false };
    /// `separators=(",", ":")`
    pub(super) const TIGHT_ASCII: Self = Self { ascii: true, ..Self::TIGHT };
    /// Nothing but the value: what a line of a JSONL has.
    pub(super) const LINE: Self =
        Self { lines: false, between: ", ", colon: ": ", ascii: true, sorted: false };
    /// `indent=2`
    pub(super) const FILE: Self = Self { lines: true, between: ",", ..Self::LINE };
    /// `sort_keys=True, separators=(",", ":")`
    pub(super) const CANONICAL: Self = Self { ascii: true, sorted: true, ..Self::TIGHT };
    /// The same with `ensure_ascii=False`.
    pub(super) const CANONICAL_UTF8: Self = Self { ascii: false, ..Self::CANONICAL };

    pub(super) fn write(self, json: &Json) -> String {
        let mut out = String::new();
        self.value(json, 1, &mut out);
        out
    }

    fn value(self, json: &Json, level: usize, out: &mut String) {
        match json {
            Json::Null => out.push_str("null"),
            Json::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => self.text(text, out),
            Json::List(items) => {
                let each = |item: &Json, out: &mut String| self.value(item, level + 1, out);
                self.parts("[]", items.iter(), level, out, each);
            }
            Json::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                if self.sorted {
                    fields.sort_by_key(|(name, _)| name);
                }
                let each = |(name, value): &(String, Json), out: &mut String| {
                    self.text(name, out);
                    out.push_str(self.colon);
                    self.value(value, level + 1, out);
                };
                self.parts("{}", fields.into_iter(), level, out, each);
            }
        }
    }

    fn parts<T>(
        self,
        around: &str,
        parts: impl ExactSizeIterator<Item = T>,
        level: usize,
        out: &mut String,
        each: impl Fn(T, &mut String),
    ) {
        let (open, close) = around.split_at(1);
        let is_empty = parts.len() == 0;
        out.push_str(open);
        for (nth, part) in parts.enumerate() {
            if nth > 0 {
                out.push_str(self.between);
            }
            self.line(level, out);
            each(part, out);
        }
        if !is_empty {
            self.line(level - 1, out);
        }
        out.push_str(close);
    }

    fn line(self, level: usize, out: &mut String) {
        if self.lines {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        }
    }

    fn text(self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
