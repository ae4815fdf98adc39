//! A disk that fails when told to, and knows what a power cut would leave of it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost::Disk;

use super::Rng;

/// What of the operation that fails reaches the disk all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    Half,
    All,
}

/// Which operation fails, and how. Counted are writes, resizes and flushes, from 0.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub at: usize,
    pub effect: Effect,
    pub error: io::ErrorKind,
    /// Whether all operations behind it fail too.
    pub stays: bool,
}

impl Fault {
    pub fn at(at: usize) -> Self {
        Self { at, effect: Effect::Nothing, error: io::ErrorKind::Other, stays: true }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last flush, in their order.
    pending: Vec<Op>,
    done: usize,
    fault: Option<Fault>,
    sync_takes: Option<Duration>,
    reads_before_failure: Option<usize>,
}

/// A disk whose operations can be made to fail, and whose unflushed writes can be lost.
#[derive(Debug, Default)]
pub struct FaultDisk(Mutex<State>);

impl FaultDisk {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(State { live: bytes.clone(), durable: bytes, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on: counts start at 0.
    pub fn arm(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.done = 0;
        state.fault = fault;
    }

    /// The read after so many good ones fails, once.
    pub fn fail_read(&self, after: Option<usize>) {
        self.state().reads_before_failure = after;
    }

    /// Every flush takes so long, as on a real disk.
    pub fn slow_down(&self, sync_takes: Duration) {
        self.state().sync_takes = Some(sync_takes);
    }

    /// Writes, resizes and flushes since [`arm`](Self::arm).
    pub fn operations(&self) -> usize {
        self.state().done
    }

    /// What reads see: a killed process leaves this.
    pub fn live(&self) -> Vec<u8> {
        self.state().live.clone()
    }

    /// What was flushed, and nothing else.
    pub fn durable(&self) -> Vec<u8> {
        self.state().durable.clone()
    }

    /// A power cut: of what was not flushed some was written, some not, some in part.
    pub fn after_power_cut(&self, rng: &mut Rng) -> Vec<u8> {
        let state = self.state();
        let mut bytes = state.durable.clone();
        for op in &state.pending {
            match op {
                _ if rng.one_in(3) => {}
                Op::SetLen(len) => bytes.resize(*len, 0),
                Op::Write(at, data) => {
                    if bytes.len() < at + data.len() {
                        bytes.resize(at + data.len(), 0);
                    }
                    let torn = rng.one_in(3);
                    // In sectors: each of them whole, any of them missing.
                    for (nth, sector) in data.chunks(512).enumerate() {
                        if !torn || rng.one_in(2) {
                            let start = at + nth * 512;
                            bytes[start..start + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        bytes
    }
}

impl State {
    fn apply(&mut self, op: Op) {
        match &op {
            Op::SetLen(len) => self.live.resize(*len, 0),
            Op::Write(at, data) => self.live[*at..at + data.len()].copy_from_slice(data),
        }
        self.pending.push(op);
    }

    fn flush(&mut self) {
        self.durable.clone_from(&self.live);
        self.pending.clear();
    }

    /// Counts an operation; the fault if this is the one that fails, and what of it is done.
    fn next(&mut self) -> Option<(Effect, io::Error)> {
        let at = self.done;
        self.done += 1;
        let fault = self.fault?;
        let error = io::Error::from(fault.error);
        match at.cmp(&fault.at) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some((fault.effect, error)),
            std::cmp::Ordering::Greater => fault.stays.then_some((Effect::Nothing, error)),
        }
    }
}

impl Disk for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        match &mut state.reads_before_failure {
            Some(0) => {
                state.reads_before_failure = None;
                return Err(io::Error::other("a bad sector"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let start = usize::try_from(offset).unwrap();
        let bytes = state.live.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let start = usize::try_from(offset).unwrap();
        assert!(start + bytes.len() <= state.live.len(), "a write past the end of the disk");
        let (part, result) = match state.next() {
            None => (bytes.len(), Ok(())),
            Some((Effect::Nothing, error)) => (0, Err(error)),
            Some((Effect::Half, error)) => (bytes.len() / 2, Err(error)),
            Some((Effect::All, error)) => (bytes.len(), Err(error)),
        };
        if part > 0 {
            state.apply(Op::Write(start, bytes[..part].to_vec()));
        }
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let op = Op::SetLen(usize::try_from(len).unwrap());
        match state.next() {
            None => {
                state.apply(op);
                Ok(())
            }
            Some((Effect::All, error)) => {
                state.apply(op);
                Err(error)
            }
            Some((_, error)) => Err(error),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let takes = self.state().sync_takes;
        takes.into_iter().for_each(std::thread::sleep);
        let mut state = self.state();
        match state.next() {
            None => {
                state.flush();
                Ok(())
            }
            Some((Effect::All, error)) => {
                state.flush();
                Err(error)
            }
            // Neither: what is pending stays pending, and a power cut may keep any of it.
            Some((_, error)) => Err(error),
        }
    }
}
