//! The line of groups: plans join the open group; one of those who wait closes it and commits it for
//! all, while the next one fills. Concurrency alone: what a group is, and how it is committed, is the
//! caller's. So this file can be run by a model checker with other primitives (`line/model.rs`).
//!
//! A call that runs code of the user's does so before it joins, and holds no lock meanwhile: it looks
//! at the groups (`look`), runs that code, and joins (`enter`).
//!
//! Invariants:
//! - At most one thread leads at a time.
//! - The group in flight stays visible to plans until its commit has returned.
//! - Whoever stops leading sees to it that a group that is not empty has somebody to lead it: one of
//!   those who wait for it, or the helper.
//! - A group's ticket is completed exactly once, after its commit has returned. A failed commit ends
//!   the line: the group in flight gets the failure, the open one and all later plans the poison.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sync::{
    Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering, Thread, Waker, current, park, yield_now,
};

/// What a line is made of.
pub(super) trait Group: Sized {
    /// The group that opens when this one is closed.
    fn following(&self) -> Self;
    /// About how much memory it takes, in bytes.
    fn bytes(&self) -> usize;
    /// How much it writes, in rows.
    fn size(&self) -> usize;
}

/// Why the line ended; what a failed commit left.
pub(super) trait Fate: Clone {
    /// What those get who come after it.
    fn poison(&self) -> Self;
}

/// How much may stand in the open group before those who want to join have to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) members_max: usize,
    pub(super) bytes_max: usize,
}

pub(super) struct Line<G, F> {
    state: Mutex<State<G, F>>,
    /// Told when a closed group has left room for others.
    emptied: Condvar,
    room: Room,
}

/// What is seen and changed under the line's lock.
pub(super) struct State<G, F> {
    /// The group that plans join.
    pub(super) open: G,
    /// The group that is being committed.
    pub(super) in_flight: Option<Arc<G>>,
    /// How many plans the group before the open one had.
    members_before: usize,
    /// How much the group before the open one wrote.
    pub(super) size_before: usize,
    pub(super) members: usize,
    tickets: VecDeque<Arc<Ticket<F>>>,
    leading: bool,
    /// How many callers wait for room: with none, nobody has to be told of it.
    crowded: usize,
    fate: Option<F>,
    /// Set while the line is being ended: nobody joins any more.
    closing: Option<F>,
    helper: Helper,
}

enum Helper {
    None,
    /// Parked, or about to look.
    Some(Thread),
}

/// What the members of one group wait for.
pub(super) struct Ticket<F> {
    state: Mutex<TicketState<F>>,
    done: AtomicBool,
}

struct TicketState<F> {
    outcome: Option<Result<(), F>>,
    threads: Vec<Thread>,
    wakers: Vec<Waker>,
}

impl<F: Clone> Ticket<F> {
    fn new() -> Arc<Self> {
        let state = TicketState { outcome: None, threads: Vec::new(), wakers: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), done: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, TicketState<F>> {
        // No code that can panic runs under it.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What became of the group, once it is known.
    pub(super) fn outcome(&self) -> Option<Result<(), F>> {
        if self.done.load(Ordering::Acquire) { self.lock().outcome.clone() } else { None }
    }

    /// The outcome; or the waker is kept, and woken when there is one.
    pub(super) fn outcome_or_wake(&self, waker: &Waker) -> Option<Result<(), F>> {
        // Wakers are the user's code: cloned and dropped while nothing is locked.
        let waker = waker.clone();
        let mut state = self.lock();
        if state.outcome.is_none() && !state.wakers.iter().any(|kept| kept.will_wake(&waker)) {
            state.wakers.push(waker);
            return None;
        }
        let outcome = state.outcome.clone();
        drop(state);
        outcome
    }

    /// Notes this thread down to be woken; false if there is nothing to wait for any more.
    fn enlist(&self) -> bool {
        let mut state = self.lock();
        if state.outcome.is_none() {
            state.threads.push(current());
        }
        state.outcome.is_none()
    }

    fn complete(&self, outcome: Result<(), F>) {
        let (threads, wakers) = {
            let mut state = self.lock();
            state.outcome = Some(outcome);
            self.done.store(true, Ordering::Release);
            (std::mem::take(&mut state.threads), std::mem::take(&mut state.wakers))
        };
        // Each by itself: one condition for all would wake them into one another's way.
        threads.iter().for_each(Thread::unpark);
        for waker in wakers {
            // The waker of one caller must not keep the answer from the others.
            drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
        }
    }

    /// Wakes one of the threads that wait, to lead; false if there is none.
    fn promote_one(&self) -> bool {
        // It looks for itself what there is to do, and is told again if it waits again.
        let Some(thread) = self.lock().threads.pop() else { return false };
        thread.unpark();
        true
    }
}

impl<G: Group, F: Fate> Line<G, F> {
    pub(super) fn new(first: G, room: Room) -> Self {
        Self {
            state: Mutex::new(State {
                open: first,
                in_flight: None,
                members_before: 0,
                size_before: 0,
                members: 0,
                tickets: VecDeque::from([Ticket::new()]),
                leading: false,
                crowded: 0,
                fate: None,
                closing: None,
                helper: Helper::None,
            }),
            emptied: Condvar::new(),
            room,
        }
    }

    /// Locks the line whatever has become of it.
    pub(super) fn look(&self) -> MutexGuard<'_, State<G, F>> {
        // A panic inside a plan unwinds before the open group is touched: the state is whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Locks the line for a plan, once there is room in the open group. `arrive` is called before the
    /// lock is taken, each time that it is: for what belongs to the plan and is not ours to call.
    ///
    /// # Errors
    /// The fate of a line that has ended.
    pub(super) fn enter<A>(
        &self,
        commit: &impl Fn(&G) -> Result<(), F>,
        arrive: impl Fn() -> A,
    ) -> Result<(MutexGuard<'_, State<G, F>>, A), F> {
        loop {
            let arrived = arrive();
            let mut state = self.look();
            if let Some(fate) = state.refusal() {
                return Err(fate.clone());
            }
            if state.members == 0
                || (state.members < self.room.members_max
                    && state.open.bytes() < self.room.bytes_max)
            {
                return Ok((state, arrived));
            }
            if state.leading {
                state.crowded += 1;
                state = self.emptied.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                state.crowded -= 1;
            } else {
                self.lead(state, commit);
            }
        }
    }

    /// Returns when the ticket's group is durable, or has failed. Leads if nobody else does.
    ///
    /// # Errors
    /// The fate of the group.
    pub(super) fn wait(
        &self,
        ticket: &Arc<Ticket<F>>,
        commit: &impl Fn(&G) -> Result<(), F>,
    ) -> Result<(), F> {
        loop {
            if let Some(outcome) = ticket.outcome() {
                return outcome;
            }
            let state = self.look();
            if state.may_lead(ticket) {
                self.gather(state, ticket, commit);
                continue;
            }
            // While the line is locked, so that a leader that stops sees us.
            let must_wait = ticket.enlist();
            drop(state);
            if must_wait {
                park();
            }
        }
    }

    /// Leads, after a look at who else is coming: those whom the last commit woke are about to plan
    /// their next step, and one commit for all of them is cheaper than one for each. A lone caller
    /// follows no crowd and does not wait.
    fn gather<'l>(
        &'l self,
        mut state: MutexGuard<'l, State<G, F>>,
        ticket: &Arc<Ticket<F>>,
        commit: &impl Fn(&G) -> Result<(), F>,
    ) {
        loop {
            let (before, here) = (state.members_before, state.members);
            if here >= before {
                break;
            }
            drop(state);
            yield_now();
            state = self.look();
            if !state.may_lead(ticket) {
                return;
            }
            if state.members == here {
                break;
            }
        }
        self.lead(state, commit);
    }

    /// Closes the open group and commits it on this thread.
    fn lead(&self, mut state: MutexGuard<'_, State<G, F>>, commit: &impl Fn(&G) -> Result<(), F>) {
        let following = state.open.following();
        let group = Arc::new(std::mem::replace(&mut state.open, following));
        let ticket = state.ticket();
        state.tickets.push_back(Ticket::new());
        state.in_flight = Some(group.clone());
        state.leading = true;
        state.members_before = std::mem::take(&mut state.members);
        state.size_before = group.size();
        let crowded = state.crowded > 0;
        drop(state);
        if crowded {
            self.emptied.notify_all();
        }

        let outcome = commit(&group);

        let mut state = self.look();
        state.leading = false;
        state.in_flight = None;
        state.tickets.pop_front();
        let stranded = outcome.as_ref().err().map(|fate| {
            let poison = fate.poison();
            state.fate = Some(poison.clone());
            if let Helper::Some(helper) = &state.helper {
                helper.unpark();
            }
            (state.ticket(), poison)
        });
        // The next leader first: it gets going while the others wake up.
        if stranded.is_none() {
            state.see_to_open();
        }
        drop(state);
        ticket.complete(outcome);
        if let Some((ticket, poison)) = stranded {
            ticket.complete(Err(poison));
            self.emptied.notify_all();
        }
    }

    /// Commits whatever stands in the line, and ends it.
    ///
    /// # Errors
    /// The fate of a line that had ended before, or ends in this.
    pub(super) fn end(&self, commit: &impl Fn(&G) -> Result<(), F>, fate: F) -> Result<(), F> {
        loop {
            let mut state = self.look();
            if let Some(fate) = &state.fate {
                return Err(fate.clone());
            }
            state.closing = Some(fate.clone());
            if state.leading {
                let ticket = state.tickets.front().cloned();
                drop(state);
                if let Some(ticket) = ticket {
                    self.wait(&ticket, commit)?;
                }
            } else if state.members > 0 {
                self.lead(state, commit);
            } else {
                state.fate = Some(fate);
                let Helper::Some(helper) = &state.helper else { return Ok(()) };
                helper.unpark();
                return Ok(());
            }
        }
    }

    /// Says of a line that was ended that it failed after all, to all who come from now on.
    pub(super) fn fail(&self, fate: &F) {
        self.look().fate = Some(fate.poison());
    }

    /// Ends the line without committing what stands in it.
    pub(super) fn abandon(&self, fate: &F) {
        let mut state = self.look();
        if state.fate.is_none() {
            state.fate = Some(fate.clone());
            if let Helper::Some(helper) = &state.helper {
                helper.unpark();
            }
            let ticket = state.ticket();
            drop(state);
            ticket.complete(Err(fate.poison()));
            self.emptied.notify_all();
        }
    }

    /// Leads every group that has nobody waiting for it, until the line ends. For one helper thread.
    pub(super) fn help(&self, commit: &impl Fn(&G) -> Result<(), F>) {
        loop {
            let mut state = self.look();
            if state.fate.is_some() {
                return;
            }
            if !state.leading && state.members > 0 {
                self.lead(state, commit);
            } else {
                state.helper = Helper::Some(current());
                drop(state);
                park();
            }
        }
    }
}

impl<G: Group, F: Fate> State<G, F> {
    /// The ticket of the open group.
    pub(super) fn ticket(&self) -> Arc<Ticket<F>> {
        self.tickets.back().cloned().expect("the open group always has a ticket")
    }

    /// The ticket of the group in flight.
    pub(super) fn ticket_in_flight(&self) -> Option<Arc<Ticket<F>>> {
        if self.in_flight.is_some() { self.tickets.front().cloned() } else { None }
    }

    /// A plan has been merged into the open group.
    pub(super) fn joined(&mut self) -> Arc<Ticket<F>> {
        self.members += 1;
        self.ticket()
    }

    /// A member of the open group will not wait for it: see that somebody leads it.
    pub(super) fn see_to_open(&self) {
        if self.leading || self.members == 0 {
            return;
        }
        if !self.ticket().promote_one()
            && let Helper::Some(helper) = &self.helper
        {
            helper.unpark();
        }
    }

    pub(super) fn fate(&self) -> Option<&F> {
        self.fate.as_ref()
    }

    /// Why no plan may begin or join any more, if none may.
    pub(super) fn refusal(&self) -> Option<&F> {
        self.fate.as_ref().or(self.closing.as_ref())
    }

    /// Whether one who waits for this ticket has to commit its group.
    fn may_lead(&self, ticket: &Arc<Ticket<F>>) -> bool {
        let is_open = self.tickets.back().is_some_and(|open| Arc::ptr_eq(open, ticket));
        is_open && !self.leading && self.fate.is_none()
    }
}
