//! The rows of `meta`: who this store is, and how far it has come.

use serde::{Deserialize, Serialize};

use super::integrity::Sum;
use super::snapshot::{Read, unreadable};
use super::tables::{META_HEAD, Record, Table};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreId;
use crate::seq::{COUNT_MAX, CommitSeq, Epoch, Incarnation};

/// The key of [`Identity`].
pub(super) const META_IDENTITY: &[u8] = b"identity";
/// The keys of all [`Unclean`] rows begin so.
pub(crate) const META_UNCLEAN: &[u8] = b"unclean/";

/// The version of the layout on disk that this program reads and writes.
pub(super) const FORMAT: u32 = 1;

/// Written once, when the store is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) format: u32,
    pub(super) store: StoreId,
    pub(super) created: Timestamp,
}

impl Record for Identity {
    const TABLE: Table = Table::Meta;
}

/// Who the store is; `None` if nothing says so.
///
/// # Errors
/// `TooNew` for a format that a newer program writes, `Damaged` for one that nobody ever wrote; those
/// of reading a record.
pub(super) fn read_identity(rows: &impl Read) -> Result<Option<Identity>> {
    let identity = rows.record::<Identity>(META_IDENTITY)?;
    match &identity {
        Some(Identity { format, .. }) if *format > FORMAT => Err(Error::new(
            ErrorKind::TooNew,
            format!(
                "the store has format {format}, this program knows {FORMAT}: upgrade it. Nothing \
                 was changed"
            ),
        )),
        Some(Identity { format: 0, .. }) => {
            Err(unreadable(Table::Meta, META_IDENTITY, "there never was a format 0"))
        }
        _ => Ok(identity),
    }
}

/// How far the store has come; `None` if nothing says so.
///
/// # Errors
/// `Damaged` for numbers that no store reaches; those of reading a record.
pub(super) fn read_head(rows: &impl Read) -> Result<Option<Head>> {
    let head = rows.record::<Head>(META_HEAD)?;
    match head.as_ref().and_then(Head::fault) {
        Some(fault) => Err(unreadable(Table::Meta, META_HEAD, &fault)),
        None => Ok(head),
    }
}

/// Written in every commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) incarnation: Incarnation,
    pub(super) epoch: Epoch,
    /// This commit's own number.
    pub(super) seq: CommitSeq,
    /// Whether the last holder closed the store in order; false while it is open.
    pub(super) clean: bool,
    pub(super) clock: ClockMark,
    /// The next number for an intent, a quarantined record or an audit row.
    pub(super) next_id: u64,
    /// Keys that expired on or before this deadline have been forgotten.
    pub(super) horizon: Timestamp,
    /// One accumulator a table, by the table's number; this row itself is in none of them.
    pub(super) sums: Vec<(u8, Sum)>,
}

impl Record for Head {
    const TABLE: Table = Table::Meta;
}

impl Head {
    pub(super) fn first(clock: ClockMark) -> Self {
        Self {
            incarnation: Incarnation::new(1),
            epoch: Epoch::new(0),
            seq: CommitSeq::new(0),
            clean: true,
            clock,
            next_id: 1,
            horizon: Timestamp::default(),
            sums: Table::ALL.into_iter().map(|table| (table.id(), Sum::default())).collect(),
        }
    }

    /// Which of its numbers no store reaches. Whoever opens the store counts on from them, and a number
    /// that wraps would be given out twice.
    fn fault(&self) -> Option<String> {
        let numbers = [
            ("incarnation", self.incarnation.get()),
            ("epoch", self.epoch.get()),
            ("commit", self.seq.get()),
            ("next number", self.next_id),
        ];
        let (what, number) = numbers.into_iter().find(|(_, number)| *number >= COUNT_MAX)?;
        Some(format!("its {what} is {number}, and no store counts so far"))
    }

    pub(super) fn sum(&self, table: Table) -> Sum {
        self.sums
            .iter()
            .find(|(id, _)| *id == table.id())
            .map_or_else(Sum::default, |(_, sum)| *sum)
    }

    pub(super) fn set_sum(&mut self, table: Table, new: Sum) {
        match self.sums.iter_mut().find(|(id, _)| *id == table.id()) {
            Some((_, sum)) => *sum = new,
            None => self.sums.push((table.id(), new)),
        }
    }
}

/// An epoch that did not end in order, and the last commit of it that is on disk.
///
/// A commit that was under way when it ended had the next number. That number is never used for
/// another commit, so whether it was committed has one answer for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unclean {
    pub(crate) last: CommitSeq,
}

impl Record for Unclean {
    const TABLE: Table = Table::Meta;
}

impl Unclean {
    /// What stands where nobody knows any more which the last commit was.
    pub(crate) const LOST: Self = Self { last: CommitSeq::new(u64::MAX) };
}

/// The key of the [`Unclean`] row of an epoch.
pub(crate) fn unclean_key(epoch: Epoch) -> Vec<u8> {
    [META_UNCLEAN, &epoch.get().to_be_bytes()].concat()
}

/// How long a pause between two readings of the clock is believed without a second witness, in ms.
const LEAP_MS: u64 = 24 * 60 * 60 * 1000;

/// What the store knows of time: it only goes forward, and a leap of more than a day needs a second
/// witness before anything expires by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct ClockMark {
    /// The latest moment that was believed.
    pub(super) high_water: Timestamp,
    /// Where the clock leapt to, while nobody has confirmed it.
    pub(super) suspect: Option<Timestamp>,
}

impl ClockMark {
    /// A reading of the clock at an opening. A second opening within a day after the leap confirms
    /// it: two sittings agree.
    pub(super) fn at_open(self, now: Timestamp) -> Self {
        let leap = |from: Timestamp| now.as_ms().saturating_sub(from.as_ms()) > LEAP_MS;
        match self.suspect {
            Some(suspect) if now >= suspect && !leap(suspect) => Self::believed(now),
            _ if self.high_water != Timestamp::default() && leap(self.high_water) => {
                Self { suspect: Some(now), ..self }
            }
            _ => Self { high_water: self.high_water.max(now), suspect: None },
        }
    }

    /// A reading while the store is open, `witness_ms` after the last one by the process's own
    /// clock.
    pub(super) fn at_commit(self, now: Timestamp, witness_ms: u64) -> Self {
        let ahead_ms = now.as_ms().saturating_sub(self.high_water.as_ms());
        if ahead_ms > LEAP_MS.saturating_add(witness_ms) {
            return Self { suspect: self.suspect.or(Some(now)), ..self };
        }
        Self { high_water: self.high_water.max(now), suspect: None }
    }

    /// What somebody who looked at another clock confirms.
    pub(super) fn believed(now: Timestamp) -> Self {
        Self { high_water: now, suspect: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = LEAP_MS;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn mark(ms: u64) -> ClockMark {
        ClockMark::believed(at(ms))
    }

    /// Stores in the field begin with these bytes: a difference needs a new `VERSION`.
    #[test]
    fn the_head_is_written_as_it_always_was() {
        let mut head = Head::first(mark(1_767_225_600_000));
        head.epoch = Epoch::new(3);
        head.seq = CommitSeq::new(300);
        let mut sum = head.sum(Table::Keys);
        sum.add(Table::Keys, b"key", b"row");
        head.set_sum(Table::Keys, sum);
        let hash = |head: &Head| blake3::hash(&crate::record::encode(head).unwrap()).to_hex();
        assert_eq!(hash(&head).as_str(), GOLDEN_HEAD);
    }

    const GOLDEN_HEAD: &str = "5aa9311a7a8354c52288fd91658826ca2ca1d9898c23a90ee9fac3face98325a";

    #[test]
    fn a_clock_that_goes_back_moves_nothing_back() {
        assert_eq!(mark(5_000).at_open(at(1)).high_water, at(5_000));
        assert_eq!(mark(5_000).at_commit(at(1), 0).high_water, at(5_000));
    }

    #[test]
    fn a_leap_between_two_opens_is_believed_only_when_a_second_open_agrees() {
        let leapt = mark(1_000).at_open(at(1_000 + 400 * DAY));
        assert_eq!(leapt.high_water, at(1_000));
        assert_eq!(leapt.suspect, Some(at(1_000 + 400 * DAY)));
        // Back to normal: the leap is forgotten.
        assert_eq!(leapt.at_open(at(2_000)), mark(2_000));
        // Agreed: a second sitting sees the same time.
        let later = at(1_000 + 400 * DAY + 60_000);
        assert_eq!(leapt.at_open(later), ClockMark::believed(later));
        // Another leap on top is another suspicion.
        assert!(leapt.at_open(at(1_000 + 900 * DAY)).suspect.is_some());
    }

    #[test]
    fn a_leap_inside_a_process_is_believed_only_as_far_as_its_own_clock_went() {
        let asleep = mark(1_000).at_commit(at(1_000 + 3 * DAY), 3 * DAY);
        assert_eq!(asleep, mark(1_000 + 3 * DAY));
        let lied_to = mark(1_000).at_commit(at(1_000 + 3 * DAY), 5);
        assert_eq!(lied_to.high_water, at(1_000));
        assert!(lied_to.suspect.is_some());
    }
}
