//! The names of things: newtypes, so that an epoch is never taken for a sequence. A name that is
//! deserialized is held to the same rules as one that is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::seq::Incarnation;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name, 1 to 200 bytes without control characters.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an empty or longer name, or
            /// one with a control character.
            pub fn new(name: &str) -> Result<Self> {
                checked_name($what, name).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let name = Box::<str>::deserialize(from)?;
                Self::new(&name).map_err(de::Error::custom)
            }
        }
    };
}

name! {
    /// Which run: a named stream of steps with one state and one position.
    RunName, "run"
}
name! {
    /// The name of a queue of intents; see [`Topic`](crate::Topic).
    TopicName, "topic"
}
name! {
    /// Which name space of idempotency keys a claim belongs to.
    Scope, "scope"
}

/// The longest name of a run, a topic or a scope, in bytes: it must fit in one length byte.
pub(crate) const NAME_BYTES_MAX: usize = 200;

fn checked_name(what: &str, name: &str) -> Result<Arc<str>> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a {what} name has 1 to {NAME_BYTES_MAX} bytes, this one has {}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("a {what} name has no control characters: {name:?}")));
    }
    Ok(name.into())
}

/// A hash of a request: tells a repeat of the same request from another one under the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The first 128 bits of the BLAKE3 hash of `bytes`.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hash128(bytes))
    }
}

/// The first 128 bits of a BLAKE3 hash.
pub(crate) fn hash128(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(blake3::hash(bytes).as_bytes().split_at(16).0);
    short
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Which store: drawn at random when it is created, and the same for ever after.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// A new id. It need not be unpredictable, only different: it is drawn from what the standard
    /// library seeds its hash maps with, the time, the process and `salt`.
    pub(crate) fn draw(now_ms: u64, salt: &[u8]) -> Self {
        use std::hash::{BuildHasher, RandomState};
        let mut seed = salt.to_vec();
        for part in [
            RandomState::new().hash_one(now_ms),
            RandomState::new().hash_one(std::process::id()),
            now_ms,
        ] {
            seed.extend_from_slice(&part.to_le_bytes());
        }
        Self(hash128(&seed))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        Self(*b"milepost golden!")
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// Which checkpoint: the BLAKE3 hash of what it holds. The same state of the same schema, at the
/// same position and under the same identifying labels, has the same id, in whichever store.
///
/// As text it is 64 hexadecimal digits; [`Checkpoints::find`](crate::Checkpoints::find) takes its
/// first few.
///
/// ```
/// let id: milepost::CheckpointId = "ab".repeat(32).parse()?;
/// assert_eq!(id.to_string(), "ab".repeat(32));
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId([u8; 32]);

impl CheckpointId {
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for CheckpointId {
    type Err = Error;

    /// # Errors
    /// `Invalid` for anything but 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| {
            Error::invalid(format!(
                "the id of a checkpoint has 64 hexadecimal digits, this is {} bytes of text: find it \
                 by its first digits with `find`",
                text.len()
            ))
        })?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointId({self})")
    }
}

/// Which intent: its topic, and its number in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntentId {
    topic: TopicName,
    sequence: u64,
}

impl IntentId {
    pub(crate) fn new(topic: TopicName, sequence: u64) -> Self {
        Self { topic, sequence }
    }

    /// The queue it stands in.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Its number: intents are numbered through the whole store, in the order of their commits.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.sequence)
    }
}

/// The id an effect carries to its receiver: the same for every attempt, and never used again.
///
/// 34 characters of `[a-z0-9]`, so it fits every client order id we know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ExternalId(Box<str>);

/// "mp", and a hash of 128 bits.
const EXTERNAL_ID_BYTES: usize = 34;

impl ExternalId {
    pub(crate) fn derive(store: StoreId, incarnation: Incarnation, intent: &IntentId) -> Self {
        let mut seed = store.as_bytes().to_vec();
        seed.extend_from_slice(&incarnation.get().to_le_bytes());
        seed.extend_from_slice(&intent.sequence.to_le_bytes());
        seed.extend_from_slice(intent.topic.as_str().as_bytes());
        Self(format!("mp{}", Fingerprint::of_bytes(&seed)).into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ExternalId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let id = Box::<str>::deserialize(from)?;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if id.len() == EXTERNAL_ID_BYTES && id.bytes().all(is_plain) {
            Ok(Self(id))
        } else {
            Err(de::Error::custom("an external id has 34 characters of `[a-z0-9]`"))
        }
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{decode, encode};

    #[test]
    fn an_external_id_is_the_same_for_every_attempt_and_fits_an_exchange() {
        let store = StoreId::draw(1, b"x");
        let intent = IntentId::new(TopicName::new("orders").unwrap(), 7);
        let id = ExternalId::derive(store, Incarnation::new(1), &intent);
        assert_eq!(id, ExternalId::derive(store, Incarnation::new(1), &intent));
        assert!(id.as_str().len() <= 36);
        assert!(id.as_str().chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    }

    #[test]
    fn a_restored_copy_never_uses_an_external_id_again() {
        let store = StoreId::draw(1, b"x");
        let intent = IntentId::new(TopicName::new("orders").unwrap(), 7);
        assert_ne!(
            ExternalId::derive(store, Incarnation::new(1), &intent),
            ExternalId::derive(store, Incarnation::new(2), &intent)
        );
    }

    #[test]
    fn a_name_is_not_empty_not_long_and_has_no_control_characters() {
        assert!(RunName::new("").is_err());
        assert!(RunName::new(&"x".repeat(201)).is_err());
        assert!(RunName::new("a\nb").is_err());
        assert_eq!(RunName::new("btc-5m").unwrap().as_str(), "btc-5m");
    }

    #[test]
    fn a_name_that_is_read_is_held_to_the_rules_of_one_that_is_made() {
        fn refuses<T: Serialize + de::DeserializeOwned + fmt::Debug>(bad: &[&str]) {
            for text in bad {
                let error = decode::<T>(&encode(text).unwrap()).unwrap_err();
                assert!(!error.to_string().is_empty());
                assert!(serde_json::from_value::<T>((*text).into()).is_err(), "{text:?}");
            }
        }
        let long = "x".repeat(201);
        refuses::<RunName>(&["", &long, "a\nb"]);
        refuses::<TopicName>(&["", &long, "a\0b"]);
        refuses::<Scope>(&["", &long, "\u{7f}"]);
        let upper = "MP".repeat(17);
        refuses::<ExternalId>(&["", &upper, &"a".repeat(33), &"a".repeat(35), &"ä".repeat(17)]);
    }

    #[test]
    fn a_name_is_written_as_its_text_and_comes_back() {
        let topic = TopicName::new("orders").unwrap();
        assert_eq!(encode(&topic).unwrap(), encode("orders").unwrap());
        assert_eq!(serde_json::to_string(&topic).unwrap(), "\"orders\"");
        let id =
            ExternalId::derive(StoreId::fixed(), Incarnation::new(1), &IntentId::new(topic, 7));
        assert_eq!(encode(&id).unwrap(), encode(id.as_str()).unwrap());
        assert_eq!(decode::<ExternalId>(&encode(&id).unwrap()).unwrap(), id);
        let name = RunName::new("btc-5m").unwrap();
        assert_eq!(decode::<RunName>(&encode(&name).unwrap()).unwrap(), name);
    }

    #[test]
    fn two_stores_drawn_at_the_same_moment_differ() {
        assert_ne!(StoreId::draw(1, b"x"), StoreId::draw(1, b"x"));
    }
}
