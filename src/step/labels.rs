//! Labels: what a caller says of a checkpoint.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The most labels of one checkpoint.
const LABELS_MAX: usize = 32;
/// The longest name or value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 512;

/// What a caller says of a checkpoint: names and values.
///
/// ```
/// use milepost::Labels;
/// let labels = Labels::new().identifying("config", "9f3a").with("why", "before the upgrade");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels {
    pub(super) identifying: BTreeMap<String, String>,
    pub(super) beside: BTreeMap<String, String>,
}

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A label that says something about the checkpoint. It is no part of its id: the same state
    /// has the same id under whatever label.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.beside.insert(name.into(), value.into());
        self
    }

    /// A label that is part of the content, and so of the id: the same state under another value is
    /// another checkpoint.
    #[must_use]
    pub fn identifying(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.identifying.insert(name.into(), value.into());
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let all = || self.identifying.iter().chain(&self.beside);
        if all().any(|(name, _)| name.is_empty()) {
            return Err(Error::invalid("a label without a name: give it one. Nothing was written"));
        }
        if let Some(name) = self.identifying.keys().find(|name| self.beside.contains_key(*name)) {
            return Err(Error::invalid(format!(
                "there are two labels \"{name}\", one that is part of the id and one that is not: \
                 rename one of them. Nothing was written"
            )));
        }
        let is_long = |text: &String| text.len() > LABEL_BYTES_MAX;
        if all().count() > LABELS_MAX || all().any(|(name, value)| is_long(name) || is_long(value))
        {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "a checkpoint has at most {LABELS_MAX} labels, of at most {LABEL_BYTES_MAX} \
                     bytes: say less. Nothing was written"
                ),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Labels {
    /// The names, never the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.identifying.keys()).entries(self.beside.keys()).finish()
    }
}
