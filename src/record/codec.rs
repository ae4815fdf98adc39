//! Values to bytes and back: bincode 2, with the limit checked before decoding and no bytes left
//! over after it. The only file that names bincode.
//!
//! bincode's bytes do not describe themselves. A type that serde writes one way and reads another
//! would lose data without a word, so each value goes through `proof`: encode, decode, encode again, and
//! compare.

use std::any::type_name;

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::canonical;
use super::depth::Reading;
use super::writing::Writing;

/// The largest payload any store can be set to take, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = (256 << 20) - 1;

/// Why a value cannot be written.
#[derive(Debug, Error)]
pub(crate) enum EncodeError {
    #[error("`{name}` cannot be stored: {why}")]
    Refused { name: &'static str, why: String },
    #[error(
        "`{name}` does not come back as it was written ({why}). serde's `skip_serializing`, \
         `tag`, `untagged` and `flatten`, a `Deserialize` that refuses some values, or a hand-written \
         pair of `Serialize` and `Deserialize` that disagree do this: remove the attribute, or \
         store a plain struct in its place"
    )]
    Unfaithful { name: &'static str, why: String },
}

/// Why bytes are not a value of the type asked for.
#[derive(Debug, Error)]
pub(crate) enum DecodeError {
    #[error("{len} bytes are over the limit of {limit}")]
    Limit { len: usize, limit: usize },
    #[error("the bytes are not a `{name}`: {source}")]
    Type { name: &'static str, source: bincode::error::DecodeError },
    /// Said by the type's own `Deserialize`, or by [`depth`](super::depth).
    #[error("the bytes are not a `{name}`: {why}")]
    Refused { name: &'static str, why: String },
    #[error("the bytes are not a `{name}`: {left} bytes are left over")]
    LeftOver { name: &'static str, left: usize },
    #[error("the bytes are not a `{name}` in JSON: {source}")]
    Json { name: &'static str, source: serde_json::Error },
    #[error("the bytes are in codec {0}, which this program does not know")]
    Codec(u8),
    #[error("the bytes were not written as a `{name}`: they do not encode back to themselves")]
    Other { name: &'static str },
}

impl DecodeError {
    /// Whether a newer program wrote the bytes, rather than one with another type.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(self, Self::Codec(_))
    }
}

/// The canonical bytes of `value`: equal values give equal bytes.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    // Most records are smaller; growing to that in small steps costs more than writing it.
    encode_behind(Vec::with_capacity(256), value)
}

/// What is there, and the canonical bytes of `value` behind it.
pub(crate) fn encode_behind<T: Serialize + ?Sized>(
    bytes: Vec<u8>,
    value: &T,
) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writing::into(bytes);
    write(value, &mut out)?;
    Ok(out.bytes)
}

pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Writing,
) -> Result<(), EncodeError> {
    canonical::write(value, out)
        .map_err(|refusal| EncodeError::Refused { name: type_name::<T>(), why: refusal.0 })
}

/// Reads a value from exactly `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let reading = Reading::of(bytes.len());
    let type_error = |source| match source {
        bincode::error::DecodeError::OtherString(why) => {
            let field = reading.refused_in().map_or(String::new(), |field| format!("`{field}`: "));
            DecodeError::Refused { name: type_name::<T>(), why: format!("{field}{why}") }
        }
        source => DecodeError::Type { name: type_name::<T>(), source },
    };
    let base = config::standard();
    // bincode takes its limit as a constant, and counts what it reads by the size of the number in
    // memory: a one-byte u128 counts 16. So the limit is 16 times a payload's size class, and what
    // a hostile length field can make it allocate stays in proportion to the payload.
    let (value, used) = match bytes.len() {
        0..=0xfff => decode_with(&reading, bytes, base.with_limit::<0x1_0000>()),
        0x1000..=0xffff => decode_with(&reading, bytes, base.with_limit::<0x10_0000>()),
        0x1_0000..=0xf_ffff => decode_with(&reading, bytes, base.with_limit::<0x100_0000>()),
        0x10_0000..=0xff_ffff => decode_with(&reading, bytes, base.with_limit::<0x1000_0000>()),
        0x100_0000..=PAYLOAD_BYTES_MAX => {
            decode_with(&reading, bytes, base.with_limit::<0xffff_ffff>())
        }
        len => return Err(DecodeError::Limit { len, limit: PAYLOAD_BYTES_MAX }),
    }
    .map_err(type_error)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::LeftOver { name: type_name::<T>(), left }),
    }
}

fn decode_with<T: DeserializeOwned>(
    reading: &Reading,
    bytes: &[u8],
    config: impl config::Config,
) -> Result<(T, usize), bincode::error::DecodeError> {
    bincode::serde::seed_decode_from_slice(reading.read(), bytes, config)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::bytes::Bytes;
    use super::super::chunk::Chunked;
    use super::super::frame::CODEC_BINCODE;
    use super::super::proof::{Proof, cut_guarded, decode_same, encode_guarded};
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::{BTreeMap, HashMap, HashSet};
    use std::sync::Arc;

    /// As a writer without any limits would do it.
    pub(in super::super) fn unlimited<T: Serialize>(value: &T) -> Vec<u8> {
        bincode::serde::encode_to_vec(value, config::standard()).unwrap()
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Side {
        Buy,
        Sell(u16),
        Both { a: i128, b: Option<char> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sample {
        small: u8,
        signed: (i8, i16, i32, i64),
        wide: (u16, u32, u64, u128),
        float: (u32, u64),
        text: String,
        bytes: Vec<u8>,
        list: Vec<Option<bool>>,
        sides: Vec<Side>,
        map: BTreeMap<u64, String>,
        unit: (),
        array: [u16; 3],
    }

    fn side() -> impl Strategy<Value = Side> {
        prop_oneof![
            Just(Side::Buy),
            any::<u16>().prop_map(Side::Sell),
            (any::<i128>(), any::<Option<char>>()).prop_map(|(a, b)| Side::Both { a, b }),
        ]
    }

    fn sample() -> impl Strategy<Value = Sample> {
        (
            (any::<u8>(), any::<(i8, i16, i32, i64)>(), any::<(u16, u32, u64, u128)>()),
            (any::<(u32, u64)>(), any::<String>(), any::<Vec<u8>>(), any::<[u16; 3]>()),
            (any::<Vec<Option<bool>>>(), prop::collection::vec(side(), 0..4)),
            // One entry at most: bincode keeps a map's own order, ours sorts by encoded bytes.
            prop::collection::btree_map(any::<u64>(), any::<String>(), 0..2),
        )
            .prop_map(
                |((small, signed, wide), (float, text, bytes, array), (list, sides), map)| Sample {
                    small,
                    signed,
                    wide,
                    float,
                    text,
                    bytes,
                    list,
                    sides,
                    map,
                    unit: (),
                    array,
                },
            )
    }

    proptest! {
        #[test]
        fn our_bytes_are_bincodes_bytes(value in sample()) {
            let theirs = unlimited(&value);
            prop_assert_eq!(encode(&value).unwrap(), theirs);
        }

        #[test]
        fn what_was_encoded_decodes_to_the_same(value in sample()) {
            let bytes = encode_guarded(&value, 0).unwrap().bytes;
            prop_assert_eq!(decode::<Sample>(&bytes).unwrap(), value);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode::<Sample>(&bytes);
        }
    }

    #[test]
    fn floats_are_bincodes_too() {
        let value = (1.5f32, -0.0f64, f64::MAX);
        let theirs = unlimited(&value);
        assert_eq!(encode(&value).unwrap(), theirs);
    }

    /// Larger, in each of its parts, than what is written between two cuts.
    #[derive(Clone, Serialize, Deserialize)]
    struct Large {
        rows: Vec<(u64, f64)>,
        names: HashMap<String, Vec<u16>>,
        seen: HashSet<u64>,
        /// Inside of a map's entry nothing can be cut: it is sorted as a whole.
        books: Vec<HashMap<u8, Vec<u64>>>,
        text: String,
        blob: Bytes,
        last: Vec<Bytes>,
    }

    impl Large {
        fn of(size: u64) -> Self {
            let book =
                |n: u64| HashMap::from([(1, (0..n).map(|n| n << 40).collect()), (2, vec![n; 9])]);
            Self {
                rows: (0..size).map(|n| (n << 20, f64::from_bits(n << 40))).collect(),
                names: (0..size).map(|n| (format!("name-{n}"), vec![7; 4])).collect(),
                seen: (0..2 * size).map(|n| n << 30).collect(),
                books: vec![book(size), book(size / 2)],
                text: "milepost ".repeat(usize::try_from(size).unwrap() * 2),
                blob: Bytes((0..5 * size).flat_map(|n| (n * n).to_le_bytes()).collect()),
                last: vec![Bytes(vec![1; 300_000]), Bytes(vec![2; 3])],
            }
        }
    }

    #[test]
    fn what_is_cut_as_it_is_written_is_cut_as_if_it_were_whole() {
        let mut value = Large::of(40_000);
        let mut before = Arc::new(Chunked::empty(CODEC_BINCODE));
        for round in 0..4 {
            let bytes = encode(&value).unwrap();
            let cut = cut_guarded(&value, &before, Proof::Now).unwrap();
            assert!(cut.whole() == bytes, "round {round}");
            assert_eq!(cut.chunks(), Chunked::of(CODEC_BINCODE, &bytes, None).chunks());
            before = Arc::new(cut);
            match round {
                0 => value.rows[20_000].1 = 0.5,
                1 => value.rows.insert(3, (1, 2.0)),
                _ => value = Large::of(9_000),
            }
        }
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut bytes = encode(&7u64).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<u64>(&bytes), Err(DecodeError::LeftOver { left: 1, .. })));
    }

    #[test]
    fn bytes_of_another_type_that_decode_by_chance_are_told() {
        // 200 as a u64 is one byte, and one byte is a fine bool only by its value.
        let bytes = encode(&(1u8, 2u8)).unwrap();
        assert!(decode_same::<(u8, u8)>(&bytes).is_ok());
        // A number written long: no encoder of ours writes it so.
        assert!(matches!(decode_same::<u64>(&[251, 7, 0]), Err(DecodeError::Other { .. })));
    }

    #[test]
    fn bytes_are_written_as_bincode_writes_them_and_never_printed() {
        let bytes = Bytes(b"secret".to_vec());
        assert_eq!(encode(&bytes).unwrap(), encode(&b"secret".to_vec()).unwrap());
        assert_eq!(decode::<Bytes>(&encode(&bytes).unwrap()).unwrap(), bytes);
        assert!(!format!("{bytes:?}").contains("secret"));
    }

    #[test]
    fn a_payload_full_of_wide_numbers_is_under_its_own_limit() {
        // bincode counts 16 bytes for each of these one-byte numbers.
        for len in [200usize, 4_000, 60_000, 1_000_000] {
            let wide = vec![7u128; len];
            assert_eq!(decode::<Vec<u128>>(&encode(&wide).unwrap()).unwrap(), wide);
        }
    }

    #[test]
    fn a_hostile_length_allocates_nothing_like_it() {
        // A string that says it is 2^62 bytes long, in a record of ten.
        let mut bytes = vec![253];
        bytes.extend_from_slice(&(1u64 << 62).to_le_bytes());
        bytes.push(b'x');
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<Vec<u8>>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Lossy {
        #[serde(skip_serializing, default)]
        lost: u64,
        kept: u64,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        A { x: u8 },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A(u8),
    }

    #[test]
    fn a_type_that_does_not_come_back_is_refused_and_the_attributes_are_named() {
        let lossy = Lossy { lost: 1, kept: 2 };
        assert_eq!(lossy.lost, 1);
        let error = encode_guarded(&lossy, 0).unwrap_err().to_string();
        assert!(error.contains("Lossy") && error.contains("skip_serializing"), "{error}");
        let error = encode_guarded(&Tagged::A { x: 1 }, 0).unwrap_err().to_string();
        assert!(error.contains("`tag`"), "{error}");
        assert!(encode_guarded(&Untagged::A(1), 0).is_err());
    }
}
