//! The disk of one life of the program, with a plug that can be pulled. What was on it at that
//! moment stays as it was: a program that is dead writes nothing.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::crash::{Crash, Point};
use crate::store::Disk;
use crate::testing::platter::Platter;
use crate::testing::sim_disk::SimDisk;

/// What the loop unwinds with when it is killed inside an effect.
pub(super) struct Killed;

#[derive(Debug)]
pub(super) struct Plug {
    disk: SimDisk,
    dies: Option<Crash>,
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    flushes: u64,
    effects: u64,
    dead: bool,
    /// What was done, in order.
    events: Vec<String>,
}

impl Plug {
    pub(super) fn new(platter: Platter, dies: Option<Crash>) -> Self {
        Self { disk: SimDisk::of(platter), dies, life: Mutex::default() }
    }

    pub(super) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(super) fn is_dead(&self) -> bool {
        self.life().dead
    }

    /// Flushes and effects of this life.
    pub(super) fn counts(&self) -> (u64, u64) {
        let life = self.life();
        (life.flushes, life.effects)
    }

    /// What was done last.
    pub(super) fn last_events(&self, most: usize) -> Vec<String> {
        let events = &self.life().events;
        events.iter().skip(events.len().saturating_sub(most)).cloned().collect()
    }

    /// An effect is about to reach the world; which one it is.
    pub(super) fn before_effect(&self, what: impl FnOnce() -> String) -> u64 {
        let mut life = self.life();
        if !life.dead {
            life.effects += 1;
            let nth = life.effects;
            life.events.push(format!("effect {nth}: {}", what()));
        }
        let nth = life.effects;
        self.end_if(life, Point::Before(nth));
        nth
    }

    /// The effect has reached the world, and the answer is on its way.
    pub(super) fn after_effect(&self, nth: u64) {
        self.end_if(self.life(), Point::After(nth));
    }

    /// Ends the life for good: the loop unwinds, and the disk takes nothing more.
    fn end_if(&self, mut life: MutexGuard<'_, Life>, at: Point) {
        life.dead |= self.dies.is_some_and(|crash| crash.at == at);
        let dead = life.dead;
        drop(life);
        if dead {
            // Not `panic!`, which would print each of them.
            std::panic::resume_unwind(Box::new(Killed));
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead() { Err(io::Error::other("the program was killed")) } else { Ok(()) }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Plug {
    fn len(&self) -> io::Result<u64> {
        self.alive()?;
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.alive()?;
        self.disk.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.alive()?;
        self.disk.write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive()?;
        self.disk.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        {
            let mut life = self.life();
            if !life.dead {
                life.flushes += 1;
                let nth = life.flushes;
                life.dead = self.dies.is_some_and(|crash| crash.at == Point::Flush(nth));
                let happened = if life.dead { ", which does not happen" } else { "" };
                life.events.push(format!("flush {nth}{happened}"));
            }
        }
        self.alive()?;
        self.disk.sync()
    }
}
