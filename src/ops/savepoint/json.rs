//! A savepoint as JSON. Its names are held by a golden file and by the guide: people edit it, and other
//! programs read it.
//!
//! The id covers what the checkpoint holds; a checksum covers all the rest, so that a digit that is
//! another one by accident is told from one that was changed on purpose.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, RunName, StoreId};
use crate::ledger::Form;
use crate::position::Position;
use crate::record::{
    CODEC_BINCODE, CODEC_JSON, Entries, Maps, Payload, Shape, compact_json, encode, sorted_json,
};
use crate::seq::{Epoch, Incarnation};
use crate::step::{About, Savepoint};

const VERSION: u32 = 1;
/// The field that holds the state.
const STATE: &str = "state";

/// The longest file, for states up to so many bytes: most values are longer as JSON.
pub(super) fn text_limit(state_limit: usize) -> usize {
    state_limit.saturating_mul(8).saturating_add(1 << 20)
}

/// All of it but the state, which is read when its shape is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "milepost_savepoint")]
    _version: IgnoredAny,
    id: String,
    checksum: String,
    run: RunName,
    position: WrittenPosition,
    steps: u64,
    schema: WrittenSchema,
    labels: WrittenLabels,
    saved_at_ms: u64,
    automatic: bool,
    origin: Origin,
    #[serde(rename = "state")]
    _state: IgnoredAny,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenPosition {
    Start,
    Index(u64),
    Offsets(BTreeMap<String, u64>),
    Token(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSchema {
    name: String,
    version: u32,
    codec: WrittenCodec,
    /// Of a state in JSON there is none.
    shape: Option<Shape>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum WrittenCodec {
    Binary,
    Json,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLabels {
    identifying: BTreeMap<String, String>,
    beside: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    store: String,
    incarnation: u64,
    epoch: u64,
    number: u64,
}

/// The text of a savepoint, proven to be read back as the same.
///
/// # Errors
/// `Invalid` if JSON cannot say what is in it; `LimitExceeded` if it is too long or too deep for that.
pub(super) fn text_of(savepoint: &Savepoint, state_limit: usize) -> Result<String> {
    let cannot =
        |why: &str| Error::invalid(format!("{why}: `export` it without JSON. Nothing was written"));
    let Savepoint { about, state } = savepoint;
    let limit = text_limit(state_limit);
    let shown = Payload::from_parts(about.codec, state.clone()).to_json(
        about.form.shape(),
        Maps::Pairs,
        limit,
    );
    let shown = shown.map_err(|error| {
        let kind = if error.is_limit() { ErrorKind::LimitExceeded } else { ErrorKind::Damaged };
        Error::new(kind, format!("the state cannot be written as JSON: {error}"))
    })?;
    let text = written(about, &shown)?;
    if text.len() > limit {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "as JSON it has more than {limit} bytes: `export` it without. Nothing was written"
            ),
        ));
    }
    let unfaithful =
        |why: &str| cannot(&format!("its state does not come back from JSON as it was ({why})"));
    match savepoint_in(text.as_bytes(), state_limit, false) {
        Ok((back, _)) if back.about == *about && back.state == *state => Ok(text),
        Ok(_) => Err(unfaithful("it has a value for which JSON has no word of its own")),
        Err(error) => Err(unfaithful(&error.to_string())),
    }
}

fn written(about: &About, state: &str) -> Result<String> {
    let position = match about.position.clone() {
        Position::Start => WrittenPosition::Start,
        Position::Index(index) => WrittenPosition::Index(index),
        Position::Offsets(offsets) => WrittenPosition::Offsets(offsets),
        Position::Token(token) => WrittenPosition::Token(token),
    };
    let schema = WrittenSchema {
        name: about.schema.clone(),
        version: about.version,
        codec: if about.codec == CODEC_JSON { WrittenCodec::Json } else { WrittenCodec::Binary },
        shape: about.form.shape().cloned(),
    };
    let labels =
        WrittenLabels { identifying: about.identifying.clone(), beside: about.labels.clone() };
    let origin = Origin {
        store: about.store.to_string(),
        incarnation: about.incarnation.get(),
        epoch: about.epoch.get(),
        number: about.number,
    };
    let fields = [
        ("milepost_savepoint", json(&VERSION)?),
        ("id", json(&about.id.to_string())?),
        ("checksum", json(&checksum(about)?)?),
        ("run", json(&about.run)?),
        ("position", json(&position)?),
        ("steps", json(&about.steps)?),
        ("saved_at_ms", json(&about.at.as_ms())?),
        ("automatic", json(&about.automatic)?),
        ("labels", json(&labels)?),
        ("origin", json(&origin)?),
        ("schema", json(&schema)?),
        (STATE, state.to_owned()),
    ];
    let lines = fields.map(|(name, value)| format!("  \"{name}\": {value}"));
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invalid(error.to_string()))
}

/// Over everything but the state, which the id covers.
fn checksum(about: &About) -> Result<String> {
    let bytes = encode(about).map_err(|error| Error::invalid(error.to_string()))?;
    let mut hasher = blake3::Hasher::new_derive_key("milepost savepoint json 1");
    Ok(hasher.update(&bytes).finalize().to_hex().to_string())
}

/// The savepoint in a text, and whether that was edited, which has to be allowed.
///
/// # Errors
/// `Invalid` if it is no savepoint, or does not fit its shape; `Damaged` if it was edited and must not
/// be; `TooNew`.
pub(super) fn savepoint_in(
    text: &[u8],
    state_limit: usize,
    may_be_edited: bool,
) -> Result<(Savepoint, bool)> {
    check_version(text)?;
    let written: Written = parsed(text)?;
    let said = (written.id.clone(), written.checksum.clone());
    let mut about = about_of(written)?;
    let holds = |about: &mut About, state: &[u8]| -> Result<bool> {
        about.id = about.id_of(state);
        Ok(said.0 == about.id.to_string() && said.1 == checksum(about)?)
    };
    // As it is in the text, for what has an order of its own; else as it is stored, for an editor may
    // have sorted what has none.
    let sorted = state_in(&about.form, text, state_limit, Entries::Sorted)?;
    let mut state = state_in(&about.form, text, state_limit, Entries::AsInTheText)?;
    let mut holds_now = holds(&mut about, &state)?;
    if !holds_now && sorted != state && holds(&mut about, &sorted)? {
        (state, holds_now) = (sorted, true);
    }
    let holds = holds_now;
    about.id = about.id_of(&state);
    if !holds && !may_be_edited {
        return Err(Error::damaged(
            "the savepoint does not hold what its id and its checksum say: take another copy of it; or, \
             if it was edited on purpose, say so with `SavepointOptions::edited`. Nothing was changed",
        ));
    }
    Ok((Savepoint { about, state }, !holds))
}

/// The bytes of the state in a text.
fn state_in(form: &Form, text: &[u8], state_limit: usize, entries: Entries) -> Result<Vec<u8>> {
    match (form, entries) {
        (Form::Shape { shape, .. }, _) => {
            shape.read_json(text, STATE, state_limit, entries).map_err(unfit)
        }
        (_, Entries::AsInTheText) => compact_json(text, STATE).map_err(unfit),
        (_, Entries::Sorted) => sorted_json(text, STATE).map_err(unfit),
    }
}

/// A newer form is told from a text that is none.
fn check_version(text: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        milepost_savepoint: u32,
    }
    let Version { milepost_savepoint: version } = parsed(text)?;
    if version == VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooNew,
        format!(
            "the savepoint has the form {version}, this program knows {VERSION}: upgrade it. Nothing \
             was changed"
        ),
    ))
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(unfit)
}

fn unfit(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("it does not read as a savepoint in JSON: {error}. Nothing was changed"))
}

/// All but the state; the id is not known before that is read.
fn about_of(written: Written) -> Result<About> {
    let (codec, form) = match (written.schema.codec, written.schema.shape) {
        (WrittenCodec::Json, None) => (CODEC_JSON, Form::Json),
        (WrittenCodec::Binary, Some(shape)) => {
            (CODEC_BINCODE, Form::Shape { fingerprint: shape.fingerprint(), shape })
        }
        (WrittenCodec::Json, Some(_)) => {
            return Err(unfit("schema.shape: a state in JSON has none"));
        }
        (WrittenCodec::Binary, None) => return Err(unfit("schema.shape: it is missing")),
    };
    let position = match written.position {
        WrittenPosition::Start => Position::Start,
        WrittenPosition::Index(index) => Position::Index(index),
        WrittenPosition::Offsets(offsets) => Position::Offsets(offsets),
        WrittenPosition::Token(token) => Position::Token(token),
    };
    let store = store_id(&written.origin.store)
        .ok_or_else(|| unfit("origin.store: it is not 32 hexadecimal digits"))?;
    Ok(About {
        id: CheckpointId::from_bytes([0; 32]),
        run: written.run,
        position,
        steps: written.steps,
        schema: written.schema.name,
        version: written.schema.version,
        form,
        codec,
        identifying: written.labels.identifying,
        labels: written.labels.beside,
        at: Timestamp::from_ms(written.saved_at_ms),
        automatic: written.automatic,
        store,
        incarnation: Incarnation::new(written.origin.incarnation),
        epoch: Epoch::new(written.origin.epoch),
        number: written.origin.number,
    })
}

fn store_id(hex: &str) -> Option<StoreId> {
    let is_hex = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| is_hex)?;
    Some(StoreId::from_bytes(number.to_be_bytes()))
}
