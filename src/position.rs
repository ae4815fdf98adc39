//! Positions: how far a run is in its input.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How far a run is in its input.
///
/// A number is an [`Index`](Position::Index), a text a [`Token`](Position::Token), a map from
/// partitions, or an array of pairs, [`Offsets`](Position::Offsets):
///
/// ```
/// use milepost::Position;
///
/// assert_eq!(Position::from(7), Position::Index(7));
/// assert_eq!(Position::from("page-3"), Position::Token("page-3".to_owned()));
/// let offsets = Position::from([("eu", 5), ("us", 9)]);
/// assert_eq!(offsets.to_string(), "eu:5 us:9");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Position {
    /// Before the first input.
    #[default]
    Start,
    /// The number of the last input that was done.
    Index(u64),
    /// The offset of the last input that was done, for each partition.
    Offsets(BTreeMap<String, u64>),
    /// Where the source says to go on; it has no order that we could check.
    Token(String),
}

/// What a step does to the position of its run: anything that a [`Position`] can be made from moves it
/// there, and `()` leaves it where it is, for inputs that come in no order (web hooks).
pub trait IntoPosition {
    /// Where the run is after the step; `None` if the step leaves the position where it is.
    fn into_position(self) -> Option<Position>;
}

impl<P: Into<Position>> IntoPosition for P {
    fn into_position(self) -> Option<Position> {
        Some(self.into())
    }
}

impl IntoPosition for () {
    fn into_position(self) -> Option<Position> {
        None
    }
}

impl Position {
    /// The number, if it is one.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        if let Self::Index(index) = self { Some(*index) } else { None }
    }

    /// The number of the next input: 0 before the first one, 1 more than that of the last one. 0 too
    /// for a position that is no number: a step with a number is refused there. `u64::MAX` has no
    /// next number and is its own.
    pub(crate) fn next_index(&self) -> u64 {
        self.index().map_or(0, |last| last.saturating_add(1))
    }

    /// The position after moving on to `to`; offsets of partitions that `to` does not name stay.
    ///
    /// # Errors
    /// `Invalid` if that would go back, or to another kind of position.
    pub(crate) fn advance(&self, to: Self) -> Result<Self> {
        match (self, to) {
            (Self::Index(from), Self::Index(to)) if to < *from => Err(goes_back(from, to)),
            (Self::Offsets(from), Self::Offsets(to)) => merge(from, to).map(Self::Offsets),
            (Self::Start, to)
            | (Self::Index(_), to @ Self::Index(_))
            | (Self::Token(_), to @ Self::Token(_)) => Ok(to),
            (from, to) => Err(Error::invalid(format!(
                "the position was {from} and cannot become {to}: use one kind of position in a \
                 run, or `rewind`"
            ))),
        }
    }
}

fn merge(from: &BTreeMap<String, u64>, to: BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>> {
    let mut merged = from.clone();
    for (partition, offset) in to {
        if let Some(before) = from.get(&partition)
            && offset < *before
        {
            return Err(goes_back(format!("{before} of {partition}"), offset));
        }
        merged.insert(partition, offset);
    }
    Ok(merged)
}

fn goes_back(from: impl fmt::Display, to: u64) -> Error {
    Error::invalid(format!(
        "the position would go back from {from} to {to}: feed inputs in order, or call `rewind` if \
         that is meant. Nothing was written"
    ))
}

impl From<u64> for Position {
    fn from(index: u64) -> Self {
        Self::Index(index)
    }
}

impl From<&str> for Position {
    fn from(token: &str) -> Self {
        Self::Token(token.to_owned())
    }
}

impl From<String> for Position {
    fn from(token: String) -> Self {
        Self::Token(token)
    }
}

impl From<BTreeMap<String, u64>> for Position {
    fn from(offsets: BTreeMap<String, u64>) -> Self {
        Self::Offsets(offsets)
    }
}

impl<P: Into<String>, const N: usize> From<[(P, u64); N]> for Position {
    /// Of a partition that is named twice, the last offset counts.
    fn from(offsets: [(P, u64); N]) -> Self {
        Self::Offsets(offsets.map(|(partition, at)| (partition.into(), at)).into())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the start"),
            Self::Index(index) => index.fmt(f),
            Self::Offsets(offsets) => {
                for (nth, (partition, offset)) in offsets.iter().enumerate() {
                    write!(f, "{}{partition}:{offset}", if nth == 0 { "" } else { " " })?;
                }
                Ok(())
            }
            Self::Token(token) => write!(f, "\"{token}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(pairs: &[(&str, u64)]) -> Position {
        Position::Offsets(pairs.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect())
    }

    #[test]
    fn a_position_never_goes_back_unless_asked() {
        let at = Position::Index(5);
        assert!(at.advance(4.into()).is_err());
        assert_eq!(at.advance(5.into()).unwrap(), at);
        assert_eq!(at.advance(9.into()).unwrap(), Position::Index(9));
        assert!(at.advance(Position::Start).is_err());
        assert!(at.advance(Position::Token("x".into())).is_err());
    }

    #[test]
    fn each_partition_goes_forward_by_itself() {
        let at = offsets(&[("a", 5), ("b", 7)]);
        assert_eq!(at.advance(offsets(&[("a", 6)])).unwrap(), offsets(&[("a", 6), ("b", 7)]));
        assert!(at.advance(offsets(&[("a", 9), ("b", 6)])).is_err());
        assert_eq!(
            at.advance(offsets(&[("c", 0)])).unwrap(),
            offsets(&[("a", 5), ("b", 7), ("c", 0)])
        );
    }
}
