//! Bytes in, bytes out: how a value becomes the bytes of a row, and how the bytes are proven before
//! they become a value again.
//!
//! This floor performs no I/O, reads no clock and knows no table by name.

mod canonical;
mod chunk;
mod codec;
mod depth;
mod frame;
mod json;
mod key_list;
mod name;
mod payload;
mod shape;
mod writing;

pub use payload::Codec;

pub(crate) use chunk::{CHUNK_BYTES_MAX, Chunk, ChunkId, Packed, cut};
pub(crate) use codec::{Bytes, DecodeError, EncodeError, PAYLOAD_BYTES_MAX, decode, encode};
pub(crate) use frame::{CODEC_BINCODE, CODEC_CHUNKS, FrameError, Header, open as open_frame, seal};
pub(crate) use key_list::{KeyList, unpack};
pub(crate) use name::{named, unnamed};
pub(crate) use payload::Payload;
pub(crate) use shape::{Shape, Untraceable};
