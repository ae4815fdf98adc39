//! A disk in memory that starts as a sound file with some damage, and remembers which of its bytes
//! were asked for. Starting one copies nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use milepost::Disk;

const PAGE: usize = 4096;

/// What is wrong with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// This byte is another one.
    Byte {
        at: usize,
        value: u8,
    },
    /// It ends here; bytes past its old end are this one.
    Length {
        len: usize,
        fill: u8,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none 0 0"),
            Self::Byte { at, value } => write!(f, "byte {at} {value}"),
            Self::Length { len, fill } => write!(f, "length {len} {fill}"),
        }
    }
}

impl FromStr for Damage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or_else(|| format!("no damage: \"{text}\""));
        let (what, at, byte) = (next()?, next()?, next()?);
        let at = at.parse().map_err(|_| format!("no place: {at}"))?;
        let byte = byte.parse().map_err(|_| format!("no byte: {byte}"))?;
        match what {
            "none" => Ok(Self::None),
            "byte" => Ok(Self::Byte { at, value: byte }),
            "length" => Ok(Self::Length { len: at, fill: byte }),
            _ => Err(format!("no damage: {what}")),
        }
    }
}

pub(crate) struct Patched {
    base: Arc<[u8]>,
    damage: Damage,
    state: Mutex<State>,
}

struct State {
    len: usize,
    /// Below this, what was never written is the base's; above, it is zero.
    from_base: usize,
    pages: BTreeMap<usize, Box<[u8]>>,
    written: bool,
    /// Which bytes of the base were asked for, while they were still as they were.
    read: Option<Vec<bool>>,
}

impl Patched {
    pub(crate) fn new(base: Arc<[u8]>, damage: Damage) -> Self {
        let len = if let Damage::Length { len, .. } = damage { len } else { base.len() };
        let state =
            State { len, from_base: len, pages: BTreeMap::new(), written: false, read: None };
        Self { base, damage, state: Mutex::new(state) }
    }

    /// The same file with the same damage, before anything was written to it.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.base.clone(), self.damage)
    }

    /// Writes all of it to a file.
    pub(crate) fn write_to(&self, file: &Path) -> milepost::Result<()> {
        let written = self.len().and_then(|len| {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
            self.read(0, &mut bytes)?;
            std::fs::write(file, bytes)
        });
        written.map_err(milepost::Error::abort)
    }

    /// Notes from now on which bytes are read.
    pub(crate) fn watched(self) -> Self {
        self.state().read = Some(vec![false; self.base.len()]);
        self
    }

    /// Which bytes of the base were read.
    pub(crate) fn read_bytes(&self) -> Vec<bool> {
        self.state().read.clone().unwrap_or_default()
    }

    /// Whether anything was written to it, or its length changed.
    pub(crate) fn was_changed(&self) -> bool {
        self.state().written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One page as it was before anybody wrote to it.
    fn original(&self, page: usize, from_base: usize) -> Box<[u8]> {
        let start = page * PAGE;
        let mut bytes = vec![0; PAGE];
        let end = from_base.min(start + PAGE);
        if let Damage::Length { fill, .. } = self.damage {
            bytes.iter_mut().take(end.saturating_sub(start)).for_each(|byte| *byte = fill);
        }
        let base = self.base.get(start..end.min(self.base.len())).unwrap_or_default();
        bytes.iter_mut().zip(base).for_each(|(byte, base)| *byte = *base);
        if let Damage::Byte { at, value } = self.damage
            && at / PAGE == page
            && let Some(byte) = bytes.get_mut(at % PAGE)
        {
            *byte = value;
        }
        bytes.into()
    }
}

/// The parts of a range by page: page, offset in it, length.
fn parts(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = offset;
    std::iter::from_fn(move || {
        let left = (offset + len).checked_sub(at).filter(|left| *left > 0)?;
        let part = (at / PAGE, at % PAGE, left.min(PAGE - at % PAGE));
        at += part.2;
        Some(part)
    })
}

/// The range as numbers of this machine, if it lies within `len`.
fn within(offset: u64, bytes: usize, len: usize) -> io::Result<usize> {
    usize::try_from(offset)
        .ok()
        .filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= len))
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Disk for Patched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = &mut *self.state();
        let offset = within(offset, out.len(), state.len)?;
        let mut rest = out;
        for (page, inside, size) in parts(offset, rest.len()) {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(size);
            rest = after;
            let start = page * PAGE + inside;
            if let Some(written) = state.pages.get(&page) {
                part.copy_from_slice(written.get(inside..inside + size).unwrap_or_default());
                continue;
            }
            if let Some(read) = &mut state.read {
                read.iter_mut().skip(start).take(size).for_each(|read| *read = true);
            }
            let original = self.original(page, state.from_base);
            part.copy_from_slice(original.get(inside..inside + size).unwrap_or_default());
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.state();
        let offset = within(offset, bytes.len(), state.len)?;
        state.written = true;
        let mut rest = bytes;
        for (page, inside, size) in parts(offset, bytes.len()) {
            let (part, after) = rest.split_at(size);
            rest = after;
            let from_base = state.from_base;
            let whole = state.pages.entry(page).or_insert_with(|| self.original(page, from_base));
            if let Some(old) = whole.get_mut(inside..inside + size) {
                old.copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let state = &mut *self.state();
        state.written |= len != state.len;
        if len < state.len {
            state.from_base = state.from_base.min(len);
            state.pages.retain(|page, _| page * PAGE < len);
            if let Some(last) = state.pages.get_mut(&(len / PAGE)) {
                last.iter_mut().skip(len % PAGE).for_each(|byte| *byte = 0);
            }
        }
        state.len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Patched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patched({})", self.damage)
    }
}
