//! A value of the user's, as it stands inside a record.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec::{Bytes, DecodeError, EncodeError, decode, decode_same, encode_guarded};
use super::frame::{CODEC_BINCODE, CODEC_CHUNKS};

/// Encoded bytes, and how they were encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    codec: u8,
    bytes: Bytes,
}

impl Payload {
    /// Encodes a value; the first of its type in this process is proven to come back unchanged.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self, EncodeError> {
        Self::of_about(value, 0)
    }

    /// [`of`](Payload::of) a value that has about so many bytes.
    pub(crate) fn of_about<T: Serialize + DeserializeOwned>(
        value: &T,
        len: usize,
    ) -> Result<Self, EncodeError> {
        Ok(Self { codec: CODEC_BINCODE, bytes: Bytes(encode_guarded(value, len)?) })
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
        self.check_codec()?;
        decode(&self.bytes.0)
    }

    /// The value, and the proof that it was written as this type: for payloads whose type no schema
    /// names.
    pub(crate) fn value_of_type<T: Serialize + DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.check_codec()?;
        decode_same(&self.bytes.0)
    }

    /// The encoded bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    fn check_codec(&self) -> Result<(), DecodeError> {
        if self.codec == CODEC_BINCODE { Ok(()) } else { Err(DecodeError::Codec(self.codec)) }
    }
}
