//! One checkpoint of a registry: a document that its name proves.

use std::path::Path;

use milepost::{Labels, Result};

use crate::check::{At, Found, Wrong};
use crate::document::document;
use crate::json::Json;
use crate::named::{hashes, is_named};
use crate::source::{DOCUMENT_BYTES_MAX, Source};
use crate::time::{Moment, parse_time};

/// The longest text that is made a label, in bytes, and the most labels of one checkpoint.
const LABEL_BYTES_MAX: usize = 512;
const LABELS_MAX: usize = 32;

document! {
    /// One checkpoint of a strategy-state registry: portfolio, orders, the strategy's state, metadata.
    ///
    /// Its file is named by the SHA-256 of its canonical JSON, without `checkpoint_id` and `created_at`;
    /// see [`sha256`](RegistryFile::sha256). [`RegistryFolder`](crate::RegistryFolder) imports a whole tree of them.
    RegistryFile, "milepost.registry-state", check
}

impl RegistryFile {
    /// Reads a file of a registry, and proves it by its name. The file is not changed.
    ///
    /// # Errors
    /// `Damaged` if it is not what the registry writes, with file, byte and field, or if its content is
    /// not what its name says, with both hashes; `NotFound`; `Invalid` for what is no regular file;
    /// `LimitExceeded` over 64 MiB; `Io`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let source = Source::read(path, DOCUMENT_BYTES_MAX)?;
        let state = Self(source.json()?);
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        check(&state.0)
            .and_then(|_| check_name(&state.0, name))
            .map_err(|wrong| source.wrong(wrong))?;
        Ok(state)
    }

    /// The SHA-256 by which the registry names it, of its content as it is now.
    #[must_use]
    pub fn sha256(&self) -> String {
        // Which of the ways to hash it the registry took, only its own id tells.
        let own = self.0.get("checkpoint_id").and_then(Json::as_text);
        if let Some(own) = own.filter(|own| is_named(&self.0, own)) {
            return own.to_owned();
        }
        let [new, _] = hashes(&self.0.in_python_digits());
        new
    }

    /// Of which strategy.
    #[must_use]
    pub fn strategy_name(&self) -> &str {
        self.0.get("strategy_name").and_then(Json::as_text).unwrap_or_default()
    }

    pub(super) fn created(&self) -> Option<Moment> {
        parse_time(self.0.get("created_at")?.as_text()?)
    }

    /// What its checkpoint is found by.
    pub(super) fn labels(&self, sha256: &str, file: &str) -> Labels {
        let mut labels = Labels::new().with("sha256", sha256).with("file", file);
        let mut free = LABELS_MAX - 2;
        let metadata = self.0.get("metadata").map_or(&[][..], Json::fields);
        let named = ["created_at", "timestamp", "strategy_name", "version"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.0.get(name)?)))
            .chain(metadata.iter().map(|(name, value)| (format!("metadata.{name}"), value)));
        for (name, value) in named {
            let text = match value {
                Json::Text(text) => text.clone(),
                Json::Number(_) | Json::Bool(_) => value.to_string(),
                _ => continue,
            };
            if free > 0 && name.len() <= LABEL_BYTES_MAX && text.len() <= LABEL_BYTES_MAX {
                labels = labels.with(name, text);
                free -= 1;
            }
        }
        labels
    }
}

impl Default for RegistryFile {
    /// Of no strategy, and nothing in it.
    fn default() -> Self {
        Self(Json::Object(vec![("strategy_name".to_owned(), "".into())]))
    }
}

fn check(json: &Json) -> Result<Found, Wrong> {
    let root = At::root(json);
    root.fields()?;
    root.need("strategy_name")?.text()?;
    root.each(&["checkpoint_id", "created_at", "timestamp", "version"], |at| {
        if at.text()?.len() > LABEL_BYTES_MAX { at.wrong("it is too long") } else { Ok(()) }
    })?;
    root.each(&["metadata"], At::fields)?;
    Ok(Found::default())
}

/// Holds the content against the name of its file.
fn check_name(json: &Json, name: &str) -> Result<(), Wrong> {
    let root = At::root(json);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.len() != 64 || !name.bytes().all(is_hex) {
        return root.wrong("the name of its file is no SHA-256");
    }
    root.need("strategy_name")?.name()?;
    if let Some(id) = root.field("checkpoint_id")
        && id.text()? != name
    {
        return id.wrong(format!("it is not the name of the file, {name}"));
    }
    if !is_named(json, name) {
        let [content, _] = hashes(json);
        return root.wrong(format!("its content is {content}, and its name says {name}"));
    }
    Ok(())
}
