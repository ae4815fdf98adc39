//! The rows of `meta`: who this store is, and how far it has come.

use serde::{Deserialize, Serialize};

use super::integrity::Sum;
use super::snapshot::{Read, unreadable};
use super::tables::{META_HEAD, Record, Table};
use crate::clock::{Clock, SinceBoot, Timestamp};
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
    pub(super) horizon: Horizon,
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
            horizon: Horizon::default(),
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

    /// The bytes of all rows, keys and values.
    pub(super) fn live_bytes(&self) -> u64 {
        self.sums.iter().fold(0, |all, (_, sum)| all.saturating_add(sum.bytes))
    }

    pub(super) fn set_sum(&mut self, table: Table, new: Sum) {
        match self.sums.iter_mut().find(|(id, _)| *id == table.id()) {
            Some((_, sum)) => *sum = new,
            None => self.sums.push((table.id(), new)),
        }
    }
}

/// Up to where the store has forgotten: that something is not there says nothing of what is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Horizon {
    /// Keys that expired on or before this deadline have been forgotten.
    pub(super) keys: Timestamp,
    /// Settled intents up to this number may have been forgotten.
    pub(super) intents: u64,
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

/// How far ahead the clock may be of what its witnesses saw pass, in ms.
const LEAP_MS: u64 = 24 * 60 * 60 * 1000;

/// What the store knows of time: it only goes forward, and a leap of more than a day that a witness
/// contradicts expires nothing before a second opening agrees.
///
/// Between two readings of one start of the machine, the time since that start is the witness: it says
/// how long the pause was. Where the machine was started in between, only the file's own times are: a
/// file that was changed later than now says that the clock was wrong then, or is now. Where none of
/// them contradicts, the clock is believed: that of a machine which was started anew is taken to be
/// right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct ClockMark {
    /// The latest moment that was believed.
    pub(super) high_water: Timestamp,
    /// The other witness, at that moment.
    pub(super) boot: Option<SinceBoot>,
    /// Where the clock leapt to, while nobody has confirmed it.
    pub(super) suspect: Option<Suspect>,
}

/// A leap that was contradicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suspect {
    pub(super) at: Timestamp,
    pub(super) boot: Option<SinceBoot>,
}

/// A reading of the wall clock, and what its witnesses say at the same moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) now: Timestamp,
    pub(super) boot: Option<SinceBoot>,
    /// When the file of the store was last changed.
    pub(super) file: Option<Timestamp>,
}

impl Reading {
    /// What a clock says, of a store whose file was last changed then.
    pub(super) fn of(clock: &dyn Clock, file: Option<Timestamp>) -> Self {
        Self { now: clock.now(), boot: clock.since_boot(), file }
    }

    /// How long it is since another reading, by the machine's own clock.
    fn ms_since(&self, boot: Option<SinceBoot>) -> Option<u64> {
        self.boot?.ms_after(&boot?)
    }

    /// Whether the clock has gone further than a day beyond what passed.
    fn leaps(&self, from: Timestamp, passed_ms: u64) -> bool {
        self.now.as_ms().saturating_sub(from.as_ms()) > LEAP_MS.saturating_add(passed_ms)
    }

    /// Whether a witness says that no such time has passed since then.
    fn is_contradicted(&self, from: Timestamp, boot: Option<SinceBoot>) -> bool {
        self.ms_since(boot).is_some_and(|passed_ms| self.leaps(from, passed_ms))
    }

    /// Whether the file was changed at a time that is still to come.
    fn is_before_the_file(&self) -> bool {
        self.file.is_some_and(|file| file.as_ms().saturating_sub(self.now.as_ms()) > LEAP_MS)
    }
}

impl ClockMark {
    /// A reading at an opening. A second one that no witness contradicts since the leap confirms it:
    /// two sittings agree.
    pub(super) fn at_open(self, reading: &Reading) -> Self {
        let Reading { now, boot, .. } = *reading;
        match self.suspect {
            Some(Suspect { at, boot }) if now >= at && !reading.is_contradicted(at, boot) => {
                Self::believed(reading)
            }
            _ if self.high_water != Timestamp::default()
                && reading.leaps(self.high_water, 0)
                && (reading.is_contradicted(self.high_water, self.boot)
                    || reading.is_before_the_file()) =>
            {
                Self { suspect: Some(Suspect { at: now, boot }), ..self }
            }
            _ => self.gone_on(reading),
        }
    }

    /// A reading while the store is open, `witness_ms` after the last one by the process's own clock,
    /// which does not count while the machine sleeps.
    pub(super) fn at_commit(self, reading: &Reading, witness_ms: u64) -> Self {
        let passed_ms = witness_ms.max(reading.ms_since(self.boot).unwrap_or_default());
        if reading.leaps(self.high_water, passed_ms) {
            let Reading { now, boot, .. } = *reading;
            let suspect = self.suspect.or(Some(Suspect { at: now, boot }));
            return Self { suspect, ..self };
        }
        self.gone_on(reading)
    }

    /// Ahead, or as it was; no leap is left to be confirmed.
    fn gone_on(self, reading: &Reading) -> Self {
        if reading.now >= self.high_water {
            Self::believed(reading)
        } else {
            Self { suspect: None, ..self }
        }
    }

    /// What somebody who looked at another clock confirms, or nothing contradicts.
    pub(super) fn believed(reading: &Reading) -> Self {
        Self { high_water: reading.now, boot: reading.boot, suspect: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = LEAP_MS;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    /// A reading of a machine that was started in `boot`, so long ago.
    fn reading(ms: u64, (boot, elapsed_ms): (u8, u64)) -> Reading {
        Reading { now: at(ms), boot: Some(SinceBoot { boot: [boot; 16], elapsed_ms }), file: None }
    }

    fn mark(ms: u64) -> ClockMark {
        ClockMark::believed(&reading(ms, (1, 0)))
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

    const GOLDEN_HEAD: &str = "a3d9a06d6dcf23cb7cc38bdf7347b509e65c594e7635ae2a104f24bfb15db4da";

    #[test]
    fn a_clock_that_goes_back_moves_nothing_back() {
        assert_eq!(mark(5_000).at_open(&reading(1, (1, 9))), mark(5_000));
        assert_eq!(mark(5_000).at_commit(&reading(1, (1, 9)), 0), mark(5_000));
    }

    #[test]
    fn a_leap_that_the_machine_did_not_see_is_believed_only_when_a_second_opening_agrees() {
        let far = 1_000 + 400 * DAY;
        let leapt = mark(1_000).at_open(&reading(far, (1, 5)));
        assert_eq!(leapt.high_water, at(1_000));
        assert_eq!(leapt.suspect.unwrap().at, at(far));
        // Back to normal: the leap is forgotten.
        assert_eq!(leapt.at_open(&reading(2_000, (1, 9))).suspect, None);
        assert_eq!(leapt.at_open(&reading(2_000, (1, 9))).high_water, at(2_000));
        // Agreed: a second sitting sees the same time, or as much more as has passed.
        for (later, passed) in [(60_000, 60_000), (DAY, 5), (7 * DAY, 7 * DAY)] {
            let later = reading(far + later, (1, 5 + passed));
            assert_eq!(leapt.at_open(&later), ClockMark::believed(&later));
        }
        let rebooted = reading(far + 7 * DAY, (2, 5));
        assert_eq!(leapt.at_open(&rebooted), ClockMark::believed(&rebooted));
        // Another leap on top is another suspicion.
        let again = leapt.at_open(&reading(1_000 + 900 * DAY, (1, 6)));
        assert_eq!(again.suspect.unwrap().at, at(1_000 + 900 * DAY));
        assert_eq!(again.high_water, at(1_000));
    }

    /// Against: a weekly job in which nothing ever expires.
    #[test]
    fn a_long_pause_that_nothing_contradicts_is_believed_at_once() {
        for (boot, elapsed_ms) in [(1, 7 * DAY), (1, 6 * DAY), (2, 5)] {
            let week = reading(1_000 + 7 * DAY, (boot, elapsed_ms));
            assert_eq!(mark(1_000).at_open(&week), ClockMark::believed(&week));
        }
        let unknown = Reading { boot: None, ..reading(1_000 + 7 * DAY, (1, 0)) };
        assert_eq!(mark(1_000).at_open(&unknown), ClockMark::believed(&unknown));
    }

    #[test]
    fn a_file_that_was_changed_later_than_now_contradicts_a_leap_and_no_small_step() {
        let seen = |ms: u64, file: u64| Reading { file: Some(at(file)), ..reading(ms, (2, 5)) };
        let leap = mark(1_000).at_open(&seen(1_000 + 30 * DAY, 400 * DAY));
        assert_eq!(
            (leap.high_water, leap.suspect.map(|leap| leap.at)),
            (at(1_000), Some(at(1_000 + 30 * DAY)))
        );
        assert_eq!(leap.at_open(&seen(2_000 + 30 * DAY, 400 * DAY)).suspect, None);
        let same = seen(1_000 + 30 * DAY, 1_000 + 30 * DAY);
        assert_eq!(mark(1_000).at_open(&same), ClockMark::believed(&same));
        assert_eq!(mark(1_000).at_open(&seen(2_000, 400 * DAY)).suspect, None);
    }

    #[test]
    fn a_leap_inside_a_process_is_believed_only_as_far_as_its_own_clock_went() {
        let week = 1_000 + 3 * DAY;
        let busy = mark(1_000).at_commit(&reading(week, (1, 0)), 3 * DAY);
        assert_eq!(busy.high_water, at(week));
        // The process's clock stood still while the machine was asleep.
        let asleep = mark(1_000).at_commit(&reading(week, (1, 3 * DAY)), 5);
        assert_eq!((asleep.high_water, asleep.suspect), (at(week), None));
        let lied_to = mark(1_000).at_commit(&reading(week, (1, 5)), 5);
        assert_eq!(lied_to.high_water, at(1_000));
        assert!(lied_to.suspect.is_some());
    }
}
