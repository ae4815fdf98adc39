//! Bytes in, bytes out: how a value becomes the bytes of a row, and how the bytes are proven before
//! they become a value again.
//!
//! This floor performs no I/O, reads no clock and knows no table by name.

mod bytes;
mod canonical;
mod caught;
mod chunk;
mod codec;
mod depth;
mod frame;
mod json;
mod json_diff;
mod key_list;
mod name;
mod order;
mod payload;
mod proof;
mod request;
mod savepoint;
mod shape;
mod tree;
mod writing;

pub use payload::Codec;

pub(crate) use json::{compact as compact_json, sorted as sorted_json};

pub(crate) use bytes::Bytes;
pub(crate) use chunk::{CHUNK_BYTES_MAX, Chunk, ChunkId, Chunked, Packed};
pub(crate) use codec::{
    DecodeError, EncodeError, PAYLOAD_BYTES_MAX, decode, encode, encode_behind,
};
pub(crate) use frame::{
    CODEC_BINCODE, CODEC_CHUNKS, CODEC_JSON, FRAME_BYTES, FrameError, Header, is_framed,
    open as open_frame, seal, seal_in_place,
};
pub(crate) use json_diff::changes;
pub(crate) use key_list::{KeyList, unpack};
pub(crate) use name::{named, unnamed};
pub(crate) use payload::{Payload, Typed};
pub(crate) use proof::{Proof, Proven, SMALL_BYTES_MAX};
pub(crate) use request::fingerprint;
pub(crate) use savepoint::{HEAD_BYTES_MAX, PREFIX_BYTES, Prefix, SavepointError, is_savepoint};
pub(crate) use shape::{Entries, Maps, Shape, Untraceable};
