//! Where a loop is killed, and how, in words that can be read back.

use std::fmt;

/// One end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crash {
    pub(super) left: Left,
    pub(super) at: Point,
}

/// What the end leaves on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// All that was written.
    Kill,
    /// What was flushed.
    PowerCut,
}

/// A moment of a life; flushes and effects are counted from 1, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// The flush is asked for and does not happen.
    Flush(u64),
    /// The world has heard nothing of the effect.
    Before(u64),
    /// The world has done it; the program has not heard the answer.
    After(u64),
}

impl Left {
    pub(super) const BOTH: [Self; 2] = [Self::Kill, Self::PowerCut];
}

impl Point {
    /// Every point of a life with so many flushes and effects.
    pub(super) fn all(flushes: u64, effects: u64) -> impl Iterator<Item = Self> + Clone {
        let around = |nth| [Self::Before(nth), Self::After(nth)];
        (1..=flushes).map(Self::Flush).chain((1..=effects).flat_map(around))
    }
}

const KILL: &str = "kill";
const POWER_CUT: &str = "power cut";
const FLUSH: &str = "at flush";
const BEFORE: &str = "before effect";
const AFTER: &str = "after effect";
const THEN: &str = ", then ";

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = match self.left {
            Left::Kill => KILL,
            Left::PowerCut => POWER_CUT,
        };
        let (at, nth) = match self.at {
            Point::Flush(nth) => (FLUSH, nth),
            Point::Before(nth) => (BEFORE, nth),
            Point::After(nth) => (AFTER, nth),
        };
        write!(f, "{left} {at} {nth}")
    }
}

/// How a chain of crashes, one a life, is told.
pub(super) fn told(chain: &[Crash]) -> String {
    let told: Vec<_> = chain.iter().map(Crash::to_string).collect();
    told.join(THEN)
}

/// The chain that was told so.
pub(super) fn parse(chain: &str) -> Result<Vec<Crash>, String> {
    let parsed: Option<Vec<_>> = chain.split(THEN).map(one).collect();
    parsed.ok_or_else(|| {
        format!(
            "\"{chain}\" names no crash: write it as a failure does, like \"{KILL} {FLUSH} 7\" or \
             \"{POWER_CUT} {AFTER} 3\""
        )
    })
}

fn one(crash: &str) -> Option<Crash> {
    let (left, rest) = match crash.strip_prefix(POWER_CUT) {
        Some(rest) => (Left::PowerCut, rest),
        None => (Left::Kill, crash.strip_prefix(KILL)?),
    };
    let (at, nth) = rest.trim().rsplit_once(' ')?;
    let nth = nth.parse().ok()?;
    let at = match at {
        FLUSH => Point::Flush(nth),
        BEFORE => Point::Before(nth),
        AFTER => Point::After(nth),
        _ => return None,
    };
    Some(Crash { left, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crash_reads_back_as_it_was_told() {
        for left in Left::BOTH {
            for at in Point::all(2, 3) {
                let first = Crash { left, at };
                let chain = [first, Crash { left: Left::Kill, at: Point::Flush(9) }];
                assert_eq!(parse(&told(&[first])), Ok(vec![first]));
                assert_eq!(parse(&told(&chain)), Ok(chain.to_vec()));
            }
        }
        assert!(parse("kill at dawn").is_err());
        assert!(parse("").is_err());
    }
}
