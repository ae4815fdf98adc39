//! How an open store ended.

use std::sync::Arc;

use super::line;
use crate::error::{Error, ErrorKind};

/// Why the store takes no more calls; an error that many callers get.
#[derive(Clone)]
pub(super) struct Fate {
    kind: ErrorKind,
    message: Arc<str>,
    /// Nothing failed: the store was closed.
    is_close: bool,
}

impl Fate {
    pub(super) fn of(error: &Error) -> Self {
        Self { kind: error.kind(), message: format!("{error:#}").into(), is_close: false }
    }

    /// The end of a store that was closed.
    pub(super) fn closed() -> Self {
        Self { is_close: true, ..Self::of(&closed()) }
    }

    pub(super) fn is_close(&self) -> bool {
        self.is_close
    }

    pub(super) fn error(&self) -> Error {
        Error::new(self.kind, self.message.to_string())
    }
}

impl line::Fate for Fate {
    fn poison(&self) -> Self {
        let kind = match self.kind {
            ErrorKind::Fenced => ErrorKind::Fenced,
            _ => ErrorKind::Poisoned,
        };
        let message = format!(
            "the store takes no more calls since a commit failed; nothing of this call was \
             written. Open it again. The failure: {}",
            self.message
        );
        Self { kind, message: message.into(), is_close: false }
    }
}

/// The store was closed while other handles on it were left.
pub(super) fn closed() -> Error {
    Error::invalid("the store was closed by this process: open it again")
}
