//! The commit path of one open store: plans, the line of groups they join, and the engine that
//! commits a group. What is durable is shown to readers before those who wait are told.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use super::awaited::{Awaited, GroupTicket, Joins, State};
use super::backend::Medium;
use super::closing::Closing;
use super::engine::Engine;
use super::fate::{Fate, closed};
use super::head::{ClockMark, Reading};
use super::held::{Held, HoldKind};
use super::layers::{Depth, Layers};
use super::line::{Line, Room};
use super::lock::LockFile;
use super::marks::{Clocks, Marks, forget_max};
use super::numbers::{Numbers, Reserved};
use super::options::{Limits, Options};
use super::overlay::{Group, Overlay, Scratch};
use super::owner::Home;
use super::plan::{Frame, Plan};
use super::retention::{Retention, SettledRetention};
use super::snapshot::{Read, Row, Snapshot};
use super::tables::Table;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::seq::{CommitSeq, Epoch, Incarnation};

/// The commit path of one open store.
pub(super) struct Committer {
    pub(super) line: Line<Group, Fate>,
    marks: Mutex<Marks>,
    reserved: Mutex<Reserved>,
    /// Memory for the rows of the next plan.
    scratch: Mutex<Scratch>,
    pub(super) engine: Mutex<Option<Engine>>,
    /// What reads outside steps see; replaced when a group has become durable.
    pub(super) durable: RwLock<Arc<Snapshot>>,
    /// Started with the first step that nobody waits for.
    helper: Mutex<bool>,
    pub(super) closing: Closing,
    clock: Arc<dyn Clock>,
    pub(super) held: Held,
    /// Asked by every call before it takes any lock.
    pub(super) home: Home,
    pub(super) schemas: super::schemas::Schemas,
    pub(super) store: StoreId,
    pub(super) epoch: Epoch,
    pub(super) retention: Retention,
    pub(super) compact_on_close_bytes: u64,
    settled: SettledRetention,
    limits: Limits,
}

impl Committer {
    pub(super) fn new(
        engine: Engine,
        medium: &Medium,
        store: StoreId,
        options: &Options,
    ) -> Result<Arc<Self>> {
        let durable = engine.snapshot()?;
        let head = &engine.head;
        let marks = Marks::of(head, options.clock.elapsed());
        let first = Group { seq: head.seq.next(), rows: Overlay::default() };
        let room =
            Room { members_max: options.in_flight_steps, bytes_max: options.in_flight_bytes };
        let epoch = head.epoch;
        let lock = engine.lock.as_ref().and_then(LockFile::number).into_iter();
        Ok(Arc::new(Self {
            line: Line::new(first, room),
            marks: Mutex::new(marks),
            reserved: Mutex::default(),
            scratch: Mutex::default(),
            engine: Mutex::new(Some(engine)),
            durable: RwLock::new(durable),
            helper: Mutex::new(false),
            closing: Closing::default(),
            clock: options.clock.clone(),
            held: Held::default(),
            home: Home::of(lock.chain(medium.numbers().iter().copied()).collect()),
            schemas: super::schemas::Schemas::new(options.values.clone()),
            store,
            epoch,
            retention: options.retention,
            compact_on_close_bytes: options.compact_on_close_bytes,
            settled: options.settled,
            limits: options.limits,
        }))
    }

    /// Plans, joins the open group, and returns when that group is durable. `work` runs under the
    /// line's lock: no code of the user's may be called in it.
    pub(super) fn commit<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        let (value, awaited) = self.join(Joins::AndWaits, None, &mut None, work)?;
        awaited.map_or(Ok(()), |awaited| self.wait(&awaited.ticket))?;
        Ok(value)
    }

    /// Plans and joins the open group. What is awaited says when what was planned, or what was read
    /// and is about to be answered, is durable. `looked` is what the clocks said when the call looked
    /// at the store; `numbers` are those that were taken for this plan: if it joins, they are used.
    /// `work` runs under the line's lock, as in [`commit`](Self::commit).
    pub(super) fn join<T>(
        &self,
        joins: Joins,
        looked: Option<Clocks>,
        numbers: &mut Option<Numbers>,
        work: impl FnOnce(&mut Plan<'_>) -> Result<T>,
    ) -> Result<(T, Option<Awaited>)> {
        self.home.check()?;
        let (mut state, clocks) = self
            .line
            .enter(&|group| self.commit_group(group), || self.clocks_after(looked))
            .map_err(|fate| fate.error())?;
        // A copy: a leader reads the marks meanwhile. Only plans change them, under the line's lock.
        let mut marks = self.marks();
        let frame = self.frame(&state, &mut marks, clocks);
        let durable = self.durable();
        let mut reserved = self.reserved();
        let mut plan = self.plan(Layers::of(&state, &durable), &reserved, frame, &marks);
        let value = work(&mut plan)?;
        let Plan { mut writes, row, next_id, incarnation, horizon, due, newest_read, .. } = plan;
        let awaited = if writes.is_empty() {
            if due != marks.due {
                self.lock_marks().due = due;
            }
            Awaited::of(&state, newest_read.get())
        } else {
            marks.next_id = next_id;
            marks.incarnation = incarnation;
            marks.horizon = horizon;
            marks.due = due;
            *self.lock_marks() = marks;
            state.open.rows.merge(&mut writes);
            writes.clear();
            // Under the same lock: who sees the rows sees that the numbers are no longer to come.
            if let Some(numbers) = numbers.take() {
                reserved.end(&numbers);
            }
            let ticket = state.joined();
            if joins == Joins::AndLeaves {
                state.see_to_open();
            }
            Some(Awaited { seq: state.open.seq, ticket })
        };
        *self.scratch() = Scratch::of(writes, row);
        Ok((value, awaited))
    }

    fn plan<'p>(
        &'p self,
        under: Layers<'p>,
        reserved: &'p Reserved,
        frame: Frame,
        marks: &Marks,
    ) -> Plan<'p> {
        let Scratch { writes, row } = std::mem::take(&mut *self.scratch());
        Plan {
            under,
            held: &self.held,
            frame,
            writes: writes.unwrap_or_default(),
            row,
            next_id: marks.next_id,
            reserved,
            incarnation: marks.incarnation,
            horizon: marks.horizon,
            due: marks.due,
            newest_read: Cell::new(Depth::Durable),
            aside: 0,
        }
    }

    /// What a plan would come to that joined now; nothing of it is kept. `work` runs under the line's
    /// lock, as in [`commit`](Self::commit).
    pub(super) fn try_out<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        let clocks = self.clocks();
        let state = self.look_open()?;
        let mut marks = self.marks();
        let frame = self.frame(&state, &mut marks, clocks);
        let durable = self.durable();
        let reserved = self.reserved();
        work(&mut self.plan(Layers::of(&state, &durable), &reserved, frame, &marks))
    }

    /// What a call sees of the store before it joins. No lock is held when it returns.
    pub(super) fn look(&self) -> Result<(Frame, Incarnation, Clocks)> {
        let clocks = self.clocks();
        let state = self.look_open()?;
        let mut marks = self.marks();
        let mut frame = self.frame(&state, &mut marks, clocks);
        if marks.due.first > frame.believed {
            frame.forget_max = 0;
        }
        Ok((frame, marks.incarnation, clocks))
    }

    /// A row as it is now, also if it is not durable yet, and what has to be awaited then.
    pub(super) fn row(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<(Option<Vec<u8>>, Option<Awaited>)> {
        let state = self.look_open()?;
        let durable = self.durable();
        if let Some((value, depth)) = Layers::of(&state, &durable).find(table, key) {
            return Ok((value.map(<[u8]>::to_vec), Awaited::of(&state, depth)));
        }
        drop(state);
        // The groups above had nothing of it, and were looked at before this snapshot could go.
        Ok((durable.get(table, key)?, None))
    }

    /// Whether a row is there that is durable.
    pub(super) fn is_durable(&self, table: Table, key: &[u8]) -> Result<bool> {
        // Under the line's lock: while the file is made shorter, nothing is shown to readers.
        let state = self.look_open()?;
        let durable = self.durable();
        drop(state);
        Ok(durable.get(table, key)?.is_some())
    }

    /// Rows as they are now; see [`row`](Self::row).
    pub(super) fn rows(
        &self,
        scan: impl FnOnce(Layers<'_>) -> Result<(Vec<Row>, Depth)>,
    ) -> Result<(Vec<Row>, Option<Awaited>)> {
        let state = self.look_open()?;
        let (rows, depth) = scan(Layers::of(&state, &self.durable()))?;
        Ok((rows, Awaited::of(&state, depth)))
    }

    /// Takes the next number for something of a name, before it joins: whatever of that name joins
    /// before it has a lower one, see [`Plan::take_id_of`].
    pub(super) fn reserve(&self, name: &[u8], numbers: &mut Option<Numbers>) -> Result<u64> {
        let _line = self.look_open()?;
        Ok(self.reserved().take(&mut self.lock_marks().next_id, name, numbers))
    }

    /// Gives numbers back that were taken and not used.
    pub(super) fn give_back(&self, numbers: &Numbers) {
        // In a forked child the line may be locked for ever, and nothing is taken from it.
        if self.home.check().is_ok() {
            let _line = self.line.look();
            self.reserved().end(numbers);
            numbers.give_back(&mut self.lock_marks().next_id);
        }
    }

    /// The line as it is now, unless no plan can join it any more.
    fn look_open(&self) -> Result<MutexGuard<'_, State>> {
        self.home.check()?;
        let state = self.line.look();
        match state.refusal() {
            Some(fate) => Err(fate.error()),
            None => Ok(state),
        }
    }

    fn reserved(&self) -> MutexGuard<'_, Reserved> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clocks. They may be the user's, so no lock is held.
    fn clocks(&self) -> Clocks {
        Clocks { reading: Reading::of(&*self.clock, None), elapsed: self.clock.elapsed() }
    }

    /// The clocks again, in the same call. Reading them costs as much as one of its rows, and times
    /// are stored in milliseconds: a reading that is younger than one is used again.
    fn clocks_after(&self, looked: Option<Clocks>) -> Clocks {
        let is_fresh = |looked: &Clocks| {
            self.clock.elapsed().saturating_sub(looked.elapsed) < Duration::from_millis(1)
        };
        looked.filter(is_fresh).unwrap_or_else(|| self.clocks())
    }

    fn frame(&self, state: &State, marks: &mut Marks, clocks: Clocks) -> Frame {
        let Clocks { reading, elapsed } = clocks;
        marks.read_clock(&reading, elapsed);
        Frame {
            store: self.store,
            epoch: self.epoch,
            seq: state.open.seq,
            now: reading.now,
            believed: marks.clock.high_water,
            lived: marks.lived(elapsed),
            horizon: marks.horizon.keys,
            limits: self.limits,
            settled: self.settled,
            forget_max: forget_max(state.members, state.size_before),
        }
    }

    /// Returns when the ticket's group is durable, or has failed.
    pub(super) fn wait(&self, ticket: &GroupTicket) -> Result<()> {
        self.home.check()?;
        self.line.wait(ticket, &|group| self.commit_group(group)).map_err(|fate| fate.error())
    }

    /// Waits until all that was planned so far is durable.
    pub(super) fn flush(&self) -> Result<()> {
        self.home.check()?;
        let state = self.line.look();
        if let Some(fate) = state.fate() {
            return Err(fate.error());
        }
        let ticket =
            if state.members > 0 { Some(state.ticket()) } else { state.ticket_in_flight() };
        drop(state);
        ticket.map_or(Ok(()), |ticket| self.wait(&ticket))
    }

    pub(super) fn commit_group(&self, group: &Group) -> Result<(), Fate> {
        self.write(&group.rows, group.seq, self.marks(), false).map_err(|error| Fate::of(&error))
    }

    /// One transaction; then what is durable is shown to readers.
    pub(super) fn write(
        &self,
        rows: &Overlay,
        seq: CommitSeq,
        marks: Marks,
        clean: bool,
    ) -> Result<()> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_mut().ok_or_else(closed)?;
        let mut head = engine.head.clone();
        head.seq = seq;
        head.clean = clean;
        head.next_id = marks.next_id;
        head.incarnation = marks.incarnation;
        head.horizon = marks.horizon;
        head.clock = marks.clock;
        engine.commit(rows, head)?;
        self.show(engine.snapshot()?);
        Ok(())
    }

    fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn marks(&self) -> Marks {
        *self.lock_marks()
    }

    fn lock_marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable state.
    pub(super) fn durable(&self) -> Arc<Snapshot> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The durable state, unless the store takes no more calls.
    pub(super) fn read(&self) -> Result<Arc<Snapshot>> {
        self.home.check()?;
        match self.line.look().fate() {
            Some(fate) => Err(fate.error()),
            None => Ok(self.durable()),
        }
    }

    /// A row that nobody is at: not while the name is held, nor while a group that is open or being
    /// committed writes or removes the row. All of it as of one moment, in which no plan is made.
    pub(super) fn unattended(
        &self,
        (kind, name): (HoldKind, &[u8]),
        table: Table,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        self.home.check()?;
        let state = self.line.look();
        let groups = [Some(&state.open), state.in_flight.as_deref()];
        let is_on_its_way = groups.into_iter().flatten().any(|group| group.rows.has(table, key));
        if is_on_its_way || self.held.has(kind, name) {
            return Ok(None);
        }
        self.durable().get(table, key)
    }

    /// Confirms the wall clock: what it says now is believed.
    pub(super) fn trust_clock(&self) -> Result<()> {
        self.home.check()?;
        let Clocks { reading, elapsed } = self.clocks();
        let _no_plan = self.line.look();
        let mut marks = self.lock_marks();
        marks.clock = ClockMark::believed(&reading);
        marks.witness = elapsed;
        Ok(())
    }

    pub(super) fn clock_suspect(&self) -> Result<Option<Timestamp>> {
        self.home.check()?;
        Ok(self.marks().clock.suspect.map(|suspect| suspect.at))
    }

    /// Runs `work` on the engine while no commit is under way.
    pub(super) fn quiesced<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        self.home.check()?;
        self.with_engine(work)
    }

    pub(super) fn with_engine<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        work(engine.as_mut().ok_or_else(|| self.ended())?)
    }

    /// Why there is no engine any more: a failure, if there was one, or that the store was closed.
    fn ended(&self) -> Error {
        self.line.look().fate().map_or_else(closed, Fate::error)
    }

    /// Starts the thread that commits what nobody waits for, once.
    pub(super) fn start_helper(self: &Arc<Self>) -> Result<()> {
        self.home.check()?;
        let mut started = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if !*started {
            // The thread ends with the line, which ends before the last handle goes.
            let committer = self.clone();
            thread::Builder::new()
                .name("milepost-commit".into())
                .spawn(move || committer.line.help(&|group| committer.commit_group(group)))
                .map_err(|error| Error::io("starting the thread that commits", error))?;
            *started = true;
        }
        Ok(())
    }
}
