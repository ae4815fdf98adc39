//! What a power cut leaves of a folder: recorded calls of the system, replayed under what a file system
//! promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use milepost::testing::{Change, Image, Platter, Rng, SystemCall};

/// What a file system promises before a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// POSIX alone: a name is durable after its folder was flushed, and names become durable in any
    /// order; a flush of a file says nothing of its name.
    Strict,
    /// A journal, as ext4 has: names become durable in their order, and with the flush of any file.
    Journal,
}

/// A change of a folder.
#[derive(Debug, Clone)]
enum Name {
    Add(PathBuf, u64),
    Move(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

/// A folder at one moment: what is durable of it, and what may be.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    names: BTreeMap<PathBuf, u64>,
    pending: Vec<Name>,
    files: BTreeMap<u64, File>,
    /// The marks that were passed.
    pub(crate) marks: Vec<u64>,
}

#[derive(Debug, Default, Clone)]
struct File {
    durable: Platter,
    pending: Vec<Change>,
}

/// The file that was there when the recording began.
const FIRST: u64 = 0;

impl Folder {
    /// An empty folder; or one with this file, durable.
    pub(crate) fn with(first: Option<(&Path, &[u8])>) -> Self {
        let mut folder = Self::default();
        if let Some((name, bytes)) = first {
            folder.names.insert(name.to_owned(), FIRST);
            let durable = Platter::from_bytes(bytes);
            folder.files.insert(FIRST, File { durable, pending: Vec::new() });
        }
        folder
    }

    /// Makes these calls.
    pub(crate) fn play(mut self, calls: &[SystemCall], model: Model) -> Self {
        for call in calls {
            self.make(call, model);
        }
        self
    }

    fn make(&mut self, call: &SystemCall, model: Model) {
        match call {
            SystemCall::Create { name, file } => {
                self.files.insert(*file, File::default());
                self.pending.push(Name::Add(name.clone(), *file));
            }
            SystemCall::Write { file, offset, bytes } => {
                let change = Change::Write { offset: *offset, bytes: bytes.clone() };
                self.file(*file).pending.push(change);
            }
            SystemCall::Resize { file, len } => {
                self.file(*file).pending.push(Change::Resize { len: *len });
            }
            SystemCall::Flush { file } => {
                let file = self.file(*file);
                let pending = std::mem::take(&mut file.pending);
                Image::Everything.apply(&mut file.durable, &pending);
                if model == Model::Journal {
                    self.settle_names();
                }
            }
            SystemCall::Link { file, to } => {
                let file = self.known(*file);
                self.pending.push(Name::Add(to.clone(), file));
            }
            SystemCall::Rename { file, from, to } => {
                let file = self.known(*file);
                self.pending.push(Name::Move(from.clone(), to.clone(), file));
            }
            SystemCall::Remove { name } => self.pending.push(Name::Remove(name.clone())),
            SystemCall::FlushFolder => self.settle_names(),
            SystemCall::Mark(number) => self.marks.push(*number),
        }
    }

    /// A file that was not made in the recording was there before.
    fn known(&self, file: u64) -> u64 {
        if self.files.contains_key(&file) { file } else { FIRST }
    }

    fn file(&mut self, file: u64) -> &mut File {
        let file = self.known(file);
        self.files.entry(file).or_default()
    }

    fn settle_names(&mut self) {
        for name in std::mem::take(&mut self.pending) {
            apply(&mut self.names, &name);
        }
    }

    /// What a power cut leaves now: one of the many things it may.
    pub(crate) fn cut(&self, model: Model, rng: &mut Rng) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.names.clone();
        let count = self.pending.len() as u64;
        let kept = rng.below(count + 1);
        let way = rng.below(4);
        for (nth, name) in self.pending.iter().enumerate() {
            let nth = nth as u64;
            let is_kept = match (model, way) {
                (Model::Journal, _) | (Model::Strict, 0) => nth < kept,
                (Model::Strict, 1) => nth != kept,
                (Model::Strict, 2) => nth == kept,
                (Model::Strict, _) => rng.one_in(2),
            };
            if is_kept {
                apply(&mut names, name);
            }
        }
        let mut images = BTreeMap::new();
        let mut left = BTreeMap::new();
        for (name, file) in names {
            // Two names of one file have the same bytes.
            let bytes = images.entry(file).or_insert_with(|| self.content(file, rng));
            left.insert(name, bytes.clone());
        }
        left
    }

    fn content(&self, file: u64, rng: &mut Rng) -> Vec<u8> {
        let Some(file) = self.files.get(&file) else { return Vec::new() };
        let mut platter = file.durable.clone();
        draw(&file.pending, rng).apply(&mut platter, &file.pending);
        platter.to_vec()
    }
}

/// Mostly one of the images that have a name, at times any at all.
fn draw(pending: &[Change], rng: &mut Rng) -> Image {
    if rng.one_in(3) {
        return Image::Random { seed: rng.next_u64() };
    }
    let every = Image::every(pending);
    let nth = usize::try_from(rng.below(every.len() as u64)).unwrap_or(0);
    every.get(nth).copied().unwrap_or(Image::Nothing)
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &Name) {
    match change {
        Name::Add(name, file) => drop(names.insert(name.clone(), *file)),
        Name::Move(from, to, file) => {
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        Name::Remove(name) => drop(names.remove(name)),
    }
}
