//! The error of the deserializer that holds no data.

use std::fmt::{self, Display};

use serde::de;

/// Why a made-up value was not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) message: String,
    /// Whether no other value would help.
    pub(super) is_final: bool,
}

impl Refusal {
    pub(super) fn for_good(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_final: true }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Self { message: message.to_string(), is_final: false }
    }
}
