//! Reads JSON, and says of what is wrong where it stands: the byte and the field. The only place that
//! does. `serde_json` gives a line and a column for what is no JSON, and neither for what is not of the
//! type it should be; it takes no `NaN`, and keeps neither the order of fields nor a number's digits.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use milepost::{Error, Result};

use crate::error::invalid;
use crate::json::{Json, LEVELS_MAX};
use crate::number::number_len;

/// The way to a value: names of fields, and numbers in lists.
pub(super) type Path = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Field(String),
    Item(usize),
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) byte: usize,
    pub(super) path: Path,
    pub(super) why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}, {}: {}", self.byte, Shown(&self.path), self.why)
    }
}

impl Fault {
    /// The same of what stands in no file.
    pub(super) fn without_byte(&self) -> String {
        format!("{}: {}", Shown(&self.path), self.why)
    }
}

struct Shown<'a>(&'a [Part]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("outside of all fields");
        }
        f.write_str("field `")?;
        for (nth, part) in self.0.iter().enumerate() {
            match part {
                Part::Field(name) => write!(f, "{}{name}", if nth == 0 { "" } else { "." })?,
                Part::Item(item) => write!(f, "[{item}]")?,
            }
        }
        f.write_str("`")
    }
}

/// The one value in these bytes. `until`, if given, ends the reading at the value of that path, with a
/// fault that says nothing but where it is: so what is wrong with a value can be said with its byte.
pub(super) fn parse(bytes: &[u8], until: Option<&[Part]>) -> Result<Json, Fault> {
    // Editors put it there; it is no part of the text.
    let skip = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let rest = bytes.get(skip..).unwrap_or_default();
    let text = std::str::from_utf8(rest);
    let valid = text.map_or_else(|error| error.valid_up_to(), str::len);
    let text = std::str::from_utf8(rest.get(..valid).unwrap_or_default()).unwrap_or_default();
    let is_cut = valid < rest.len();
    let mut parser = Parser { text, skip, at: 0, path: Path::new(), until, is_cut };
    let json = parser.value()?;
    parser.space();
    if parser.at < text.len() || is_cut {
        return Err(parser.fault("something stands behind the end"));
    }
    Ok(json)
}

impl FromStr for Json {
    type Err = Error;

    /// # Errors
    /// `Invalid` for what is no JSON, an object with two fields of one name, and more than 100 levels;
    /// the message has the byte and the field.
    fn from_str(text: &str) -> Result<Self> {
        parse(text.as_bytes(), None).map_err(|fault| invalid(fault.to_string()))
    }
}

/// Where the value of this path begins.
pub(super) fn byte_of(bytes: &[u8], path: &[Part]) -> usize {
    parse(bytes, Some(path)).err().map_or(0, |fault| fault.byte)
}

struct Parser<'a> {
    text: &'a str,
    /// Bytes in front of the text.
    skip: usize,
    at: usize,
    path: Path,
    until: Option<&'a [Part]>,
    /// The text ends where bytes come that are no text.
    is_cut: bool,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Json, Fault> {
        self.space();
        if self.until.is_some_and(|until| until == self.path) {
            return Err(self.fault("here"));
        }
        if self.path.len() >= LEVELS_MAX {
            return Err(self.fault(&format!("more than {LEVELS_MAX} levels")));
        }
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"') => self.string().map(Json::Text),
            _ if self.eat("null") => Ok(Json::Null),
            _ if self.eat("true") => Ok(Json::Bool(true)),
            _ if self.eat("false") => Ok(Json::Bool(false)),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let rest = self.rest();
        let len = number_len(rest.as_bytes()).ok_or_else(|| self.fault("no value begins here"))?;
        let digits = rest.get(..len).unwrap_or_default().to_owned();
        self.at += len;
        Ok(Json::Number(digits))
    }

    fn list(&mut self) -> Result<Json, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Json::List(items));
        }
        loop {
            self.path.push(Part::Item(items.len()));
            items.push(self.value()?);
            self.path.pop();
            self.space();
            if self.eat("]") {
                return Ok(Json::List(items));
            }
            if !self.eat(",") {
                return Err(self.fault("`,` or `]` is missing"));
            }
        }
    }

    fn object(&mut self) -> Result<Json, Fault> {
        self.at += 1;
        let mut fields = Vec::new();
        let mut names = HashSet::new();
        self.space();
        if self.eat("}") {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let begin = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("the name of a field is missing"));
            }
            let name = self.string()?;
            self.path.push(Part::Field(name.clone()));
            if !names.insert(name.clone()) {
                self.at = begin;
                return Err(self.fault("the field stands there twice"));
            }
            self.space();
            if !self.eat(":") {
                return Err(self.fault("`:` is missing"));
            }
            fields.push((name, self.value()?));
            self.path.pop();
            self.space();
            if self.eat("}") {
                return Ok(Json::Object(fields));
            }
            if !self.eat(",") {
                return Err(self.fault("`,` or `}` is missing"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let plain = self.rest();
            let len = plain.find(|c| c == '"' || c == '\\' || c < ' ').unwrap_or(plain.len());
            text.push_str(plain.get(..len).unwrap_or_default());
            self.at += len;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.fault("a control character stands in a text")),
                None => return Err(self.fault("a text has no end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let rest = self.rest();
        let short = rest.as_bytes().get(1).and_then(|byte| match byte {
            b'"' | b'\\' | b'/' => Some(char::from(*byte)),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            _ => None,
        });
        if let Some(c) = short {
            self.at += 2;
            return Ok(c);
        }
        let Some(first) = unit(rest) else { return Err(self.fault("an escape that JSON has not")) };
        let second = unit(rest.get(6..).unwrap_or_default());
        let mut whole = char::decode_utf16([first].into_iter().chain(second));
        let Some(Ok(c)) = whole.next() else {
            return Err(self.fault("half of a surrogate pair, which is no text"));
        };
        self.at += 6 * c.len_utf16();
        Ok(c)
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().as_bytes().first().copied()
    }

    fn eat(&mut self, word: &str) -> bool {
        let is_there = self.rest().starts_with(word);
        self.at += if is_there { word.len() } else { 0 };
        is_there
    }

    fn fault(&self, why: &str) -> Fault {
        let why = match (self.at == self.text.len(), self.is_cut) {
            (true, true) => "this byte is not UTF-8",
            (true, false) if self.until.is_none() => "the text ends here, before it is whole",
            _ => why,
        };
        Fault { byte: self.skip + self.at, path: self.path.clone(), why: why.to_owned() }
    }
}

/// The number in `\uXXXX`, with which the text begins.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> (usize, String) {
        let fault = parse(text.as_bytes(), None).unwrap_err();
        (fault.byte, Shown(&fault.path).to_string())
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\u0dc-eE.1NaInfity\xc3\xa9 \n"[..]), 0..60)
        ) {
            match parse(&bytes, None) {
                Ok(json) => prop_assert!(json.to_string().parse::<Json>().unwrap() == json),
                Err(fault) => prop_assert!(fault.byte <= bytes.len()),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_byte_and_its_field() {
        assert_eq!(fault(r#"{"a": {"b": [1, x]}}"#), (16, "field `a.b[1]`".into()));
        assert_eq!(fault(r#"{"a": 1, "a": 2}"#), (9, "field `a`".into()));
        assert_eq!(fault(r#"{"a": 1"#), (7, "outside of all fields".into()));
        assert_eq!(fault(r#"{"a": "x"#), (8, "field `a`".into()));
        assert_eq!(fault("{} x").0, 3);
        assert_eq!(fault("").0, 0);
        assert_eq!(fault(r#"{"a": "\ud83d"}"#), (7, "field `a`".into()));
        assert_eq!(fault("{\"a\": \"\n\"}").0, 7);
        assert_eq!(fault("[01]").0, 1);
        let not_text = parse(b"\xef\xbb\xbf{\"a\": \"\xff\"}", None).unwrap_err();
        assert_eq!((not_text.byte, not_text.why.as_str()), (10, "this byte is not UTF-8"));
        assert!(fault(&"[".repeat(100_000)).0 < 200, "the stack has an end");
    }

    #[test]
    fn a_value_is_found_by_its_path() {
        let text = br#"{"a": {"b": [1, 22]}, "c": 3}"#;
        let path = |parts: &[&str]| -> Path {
            let part = |part: &&str| match part.parse() {
                Ok(item) => Part::Item(item),
                Err(_) => Part::Field((*part).to_owned()),
            };
            parts.iter().map(part).collect()
        };
        assert_eq!(byte_of(text, &path(&["a", "b", "1"])), 16);
        assert_eq!(byte_of(text, &path(&["c"])), 27);
        assert_eq!(byte_of(text, &path(&[])), 0);
    }

    #[test]
    fn texts_and_numbers_come_back_as_python_meant_them() {
        let json: Json =
            r#"["\u00e9\ud83d\ude00\/\n", "é😀", NaN, -Infinity, 1e+16]"#.parse().unwrap();
        assert_eq!(json.items()[0], Json::from("é😀/\n"));
        assert_eq!(json.items()[1], Json::from("é😀"));
        assert_eq!(json.to_string(), r#"["é😀/\n","é😀",NaN,-Infinity,1e+16]"#);
    }
}
