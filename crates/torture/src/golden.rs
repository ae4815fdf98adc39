//! Stores as released programs wrote them, complete. A store is mostly zeros, so a golden file holds its
//! length and, for each part of it that is something else, offset, length and bytes, all
//! little-endian.
//!
//! `torture child golden <folder>` writes them, once per release, and they never change after
//! it. Until the first release, delete the files of format 1 and write them again when a layout changes.

use std::path::PathBuf;

use super::judge::Known;
use super::sound::{known_of, orders_of, sound_stores};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    folder: PathBuf,
}

/// A store of a release, and what it must hold.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    bytes: &'static [u8],
    orders: &'static str,
}

macro_rules! golden {
    ($name:literal, $orders:literal) => {
        Golden {
            name: $name,
            bytes: include_bytes!(concat!("../../../tests/golden/stores/", $name, ".store")),
            orders: include_str!(concat!("../../../tests/golden/stores/", $orders, ".orders")),
        }
    };
}

/// What every later program must read.
pub(crate) const RELEASED: &[Golden] =
    &[golden!("format-1-closed", "format-1"), golden!("format-1-killed", "format-1")];

impl Golden {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        expand(self.bytes).ok_or_else(|| format!("{} is no golden store", self.name))
    }

    pub(crate) fn known(&self) -> Known {
        known_of(self.orders)
    }
}

/// Zeros shorter than this are not worth a new part.
const GAP: usize = 16;

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    let mut at = 0;
    while let Some(skip) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte != 0))
    {
        at += skip;
        let rest = bytes.get(at..).unwrap_or_default();
        let gap = rest.windows(GAP).position(|window| window.iter().all(|byte| *byte == 0));
        let part = rest.get(..gap.unwrap_or(rest.len())).unwrap_or_default();
        for number in [at, part.len()] {
            out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend_from_slice(part);
        at += part.len();
    }
    out
}

fn expand(packed: &[u8]) -> Option<Vec<u8>> {
    let (len, mut rest) = packed.split_first_chunk::<8>()?;
    let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(*len)).ok()?];
    while let Some((at, after)) = rest.split_first_chunk::<4>() {
        let (len, after) = after.split_first_chunk::<4>()?;
        let at = usize::try_from(u32::from_le_bytes(*at)).ok()?;
        let (part, after) =
            after.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
        rest = after;
    }
    Some(bytes)
}

/// Writes the golden stores of this program, which must not be there yet.
pub(crate) fn write(args: &Args) -> Result<(), String> {
    let (killed, closed, known) = sound_stores().map_err(|error| error.to_string())?;
    let files = [
        ("format-1-killed.store", pack(&killed)),
        ("format-1-closed.store", pack(&closed)),
        ("format-1.orders", orders_of(&known).into_bytes()),
    ];
    for (name, bytes) in files {
        let path = args.folder.join(name);
        if path.exists() {
            return Err(format!("{} was released: it stays as it is", path.display()));
        }
        std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}
