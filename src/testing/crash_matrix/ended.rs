//! How one life of the loop ended.

use std::any::Any;

/// How a life ended.
pub(super) enum Ended {
    Well,
    Error(String),
    Panic(String),
    /// Inside an effect.
    Killed,
}

impl Ended {
    /// By a panic of the loop's own.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref().copied()).unwrap_or("without words");
        Self::Panic(words.to_owned())
    }

    /// What kept the loop from its end.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            Self::Well => None,
            Self::Error(error) => Some(format!("the error \"{error}\"")),
            Self::Panic(words) => Some(format!("the panic \"{words}\"")),
            Self::Killed => Some("a kill".to_owned()),
        }
    }
}
