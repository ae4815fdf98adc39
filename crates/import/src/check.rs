//! What the fields of a document must be. Who objects says where.

use milepost::ErrorKind;

use crate::json::Json;
use crate::parse::{Part, Path};

/// What is wrong with a document that is JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) kind: ErrorKind,
    pub(super) path: Path,
    pub(super) why: String,
}

/// What was found in a document that is all right.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// How many steps of the work it says are done.
    pub(super) steps: u64,
    /// What a person should know of.
    pub(super) remarks: Vec<String>,
}

/// A value in its document.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) json: &'a Json,
    path: Path,
}

impl<'a> At<'a> {
    pub(super) fn root(json: &'a Json) -> Self {
        Self { json, path: Path::new() }
    }

    pub(super) fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Wrong> {
        self.refused(ErrorKind::Damaged, why)
    }

    pub(super) fn refused<T>(&self, kind: ErrorKind, why: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong { kind, path: self.path.clone(), why: why.into() })
    }

    fn inside(&self, part: Part, json: &'a Json) -> Self {
        let mut path = self.path.clone();
        path.push(part);
        Self { json, path }
    }

    /// The field, if it is there and not `null`.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let json = self.json.get(name).filter(|json| **json != Json::Null)?;
        Some(self.inside(Part::Field(name.to_owned()), json))
    }

    /// The field, which has to be there.
    pub(super) fn need(&self, name: &str) -> Result<Self, Wrong> {
        match self.json.get(name) {
            Some(json) => Ok(self.inside(Part::Field(name.to_owned()), json)),
            None => self.wrong(format!("the field `{name}` is missing in it")),
        }
    }

    /// The field, which has to be there; nothing of one that is `null`, as Python and Go write what
    /// is not there.
    pub(super) fn need_or_null(&self, name: &str) -> Result<Option<Self>, Wrong> {
        self.need(name).map(|at| Some(at).filter(|at| *at.json != Json::Null))
    }

    pub(super) fn fields(&self) -> Result<Vec<(&'a str, Self)>, Wrong> {
        let Json::Object(fields) = self.json else { return self.wrong("an object is expected") };
        let at = |(name, json): &'a (String, Json)| {
            (name.as_str(), self.inside(Part::Field(name.clone()), json))
        };
        Ok(fields.iter().map(at).collect())
    }

    /// What a list holds; `null` holds nothing, as Go writes it.
    pub(super) fn items(&self) -> Result<Vec<Self>, Wrong> {
        match self.json {
            Json::Null => Ok(Vec::new()),
            Json::List(items) => {
                let at = |(nth, json)| self.inside(Part::Item(nth), json);
                Ok(items.iter().enumerate().map(at).collect())
            }
            _ => self.wrong("a list is expected"),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, Wrong> {
        match self.json.as_text() {
            Some(text) => Ok(text),
            None => self.wrong("a text is expected"),
        }
    }

    /// A text that names something.
    pub(super) fn name(&self) -> Result<&'a str, Wrong> {
        match self.text()? {
            "" => self.wrong("it is empty"),
            name => Ok(name),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self) -> Result<u64, Wrong> {
        match self.json.as_u64() {
            Some(count) => Ok(count),
            None => self.wrong("a whole number from 0 to 18446744073709551615 is expected"),
        }
    }

    pub(super) fn number(&self) -> Result<(), Wrong> {
        match self.json {
            Json::Number(_) => Ok(()),
            _ => self.wrong("a number is expected"),
        }
    }

    pub(super) fn truth(&self) -> Result<bool, Wrong> {
        match self.json.as_bool() {
            Some(is) => Ok(is),
            None => self.wrong("true or false is expected"),
        }
    }

    /// A moment, as a text or in seconds.
    pub(super) fn time(&self) -> Result<(), Wrong> {
        match self.json {
            Json::Text(_) | Json::Number(_) => Ok(()),
            _ => self.wrong("a time is expected"),
        }
    }

    /// Holds these fields, where they are there and not `null`, against a rule.
    pub(super) fn each<T>(
        &self,
        names: &[&str],
        rule: impl Fn(&Self) -> Result<T, Wrong>,
    ) -> Result<(), Wrong> {
        names.iter().filter_map(|name| self.field(name)).try_for_each(|at| rule(&at).map(drop))
    }
}
