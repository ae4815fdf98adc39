//! A value of the user's, as it stands inside a record.

use std::any::type_name;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::caught::caught;
use super::chunk::Chunked;
use super::codec::{DecodeError, EncodeError, decode};
use super::frame::{CODEC_BINCODE, CODEC_CHUNKS, CODEC_JSON};
use super::json;
use super::proof::{Proof, Proven, cut_guarded, decode_same, encode_guarded};
use super::shape::{Maps, Shape, ViewError};

/// How the values of a type are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Codec {
    /// Small and fast: numbers and texts one behind the other, without names. What they mean is in
    /// the type's shape, which the store keeps beside them.
    #[default]
    Binary,
    /// JSON: larger and several times slower. For types that have no shape: serde's `untagged`,
    /// `tag` and `flatten`, and values that hold anything. It has no NaN, no infinities, and one word
    /// for `None`, `Some(None)` and `Some(())`: such a value is refused. A type in JSON that was changed without a
    /// new version is not told: what no longer fits is an error of serde's, or a default of yours.
    Json,
}

/// Encoded bytes, and how they were encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    codec: u8,
    bytes: Bytes,
}

/// A value of the user's whose type has a row among the schemas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Typed {
    pub(crate) schema: u32,
    pub(crate) payload: Payload,
}

impl Payload {
    /// Encodes a value, and proves that it comes back.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self, EncodeError> {
        Self::in_codec(Codec::Binary, value, 0).map(|proven| proven.bytes)
    }

    /// [`of`](Payload::of), in the codec that the type wants, a value that has about so many bytes.
    pub(crate) fn in_codec<T: Serialize + DeserializeOwned>(
        codec: Codec,
        value: &T,
        about: usize,
    ) -> Result<Proven<Self, T>, EncodeError> {
        let (codec, Proven { bytes, back }) = match codec {
            Codec::Binary => (CODEC_BINCODE, encode_guarded(value, about)?),
            Codec::Json => (CODEC_JSON, json::encode_guarded(value)?),
        };
        Ok(Proven { bytes: Self { codec, bytes: Bytes(bytes) }, back })
    }

    /// Encodes a value that is large and came of one that was cut `before`, and cuts it. One in JSON is
    /// proven each time.
    pub(crate) fn cut<T: Serialize + DeserializeOwned>(
        codec: Codec,
        value: &T,
        before: &Arc<Chunked>,
        proof: Proof,
    ) -> Result<Chunked, EncodeError> {
        match codec {
            Codec::Binary => cut_guarded(value, before, proof),
            Codec::Json => {
                let json = json::encode_guarded(value)?.bytes;
                Ok(Chunked::of(CODEC_JSON, &json, Some(Arc::clone(before))))
            }
        }
    }

    /// Bytes that were encoded before, in this codec.
    pub(crate) fn from_parts(codec: u8, bytes: Vec<u8>) -> Self {
        Self { codec, bytes: Bytes(bytes) }
    }

    /// How the bytes were encoded.
    pub(crate) fn codec(&self) -> u8 {
        self.codec
    }

    /// Whether these bytes only say which chunks the value's own bytes are in.
    pub(crate) fn is_chunked(&self) -> bool {
        self.codec == CODEC_CHUNKS
    }

    /// The value, read as the type it was written as.
    pub(crate) fn value<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self.codec {
            CODEC_BINCODE => decode(&self.bytes.0),
            CODEC_JSON => json::decode(&self.bytes.0),
            other => Err(DecodeError::Codec(other)),
        }
    }

    /// [`value`](Payload::value), for a type that may panic over the bytes: that is a refusal.
    pub(crate) fn value_or_refusal<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        refusing(|| self.value())
    }

    /// The value, and the proof that it was written as this type: for payloads whose type no schema
    /// names. A type that panics over the bytes refuses them: what unwinds would end the pass of a
    /// relay, and with it those that come after.
    pub(crate) fn value_of_type<T: Serialize + DeserializeOwned>(&self) -> Result<T, DecodeError> {
        if self.codec != CODEC_BINCODE {
            return Err(DecodeError::Codec(self.codec));
        }
        refusing(|| decode_same(&self.bytes.0))
    }

    /// The value as JSON, read through its shape unless it is JSON itself.
    pub(crate) fn to_json(
        &self,
        shape: Option<&Shape>,
        maps: Maps,
        out_max: usize,
    ) -> Result<String, ViewError> {
        match (self.codec, shape) {
            (CODEC_JSON, _) => String::from_utf8(self.bytes.0.clone())
                .map_err(|_| ViewError::Unfit("JSON is text, and this is none")),
            (CODEC_BINCODE, Some(shape)) => shape.to_json(&self.bytes.0, maps, out_max),
            _ => Err(ViewError::Unfit("it is not in the codec that its schema says")),
        }
    }

    /// The encoded bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }
}

/// What `read` reads; a panic is a refusal.
fn refusing<T>(read: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    caught(read).unwrap_or_else(|said| {
        let why = format!("its `Deserialize` panicked: {said}");
        Err(DecodeError::Refused { name: type_name::<T>(), why })
    })
}
