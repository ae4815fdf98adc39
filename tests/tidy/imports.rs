//! Who imports whom.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::law::floor_of;
use crate::read::{Mention, Source, paths};

/// One import between modules of the crate, however it is written.
pub(crate) struct Import<'a> {
    pub(crate) file: &'a Source,
    pub(crate) line: usize,
    /// The module that imports, from the crate root.
    pub(crate) from: Vec<&'a str>,
    /// The module imported from; empty for the crate root.
    pub(crate) to: Vec<&'a str>,
    /// The first name behind the module.
    pub(crate) item: &'a str,
}

impl Import<'_> {
    /// The two sides as neighbours in the innermost room that holds both; none if one is the door
    /// of the other's room, or if they are on different floors.
    pub(crate) fn neighbours(&self) -> Option<(String, String)> {
        let shared = self.from.iter().zip(&self.to).take_while(|(from, to)| from == to).count();
        let side = |names: &[&str]| Some(names.get(..=shared)?.join("::"));
        let (from, to) = (side(&self.from)?, side(&self.to)?);
        (shared > 0 || floor_of(&from) == floor_of(&to)).then_some((from, to))
    }

    pub(crate) fn say(&self, what: impl Display) -> String {
        self.file.say(self.line, what)
    }
}

pub(crate) fn imports(files: &[Source]) -> Vec<Import<'_>> {
    let rooms: BTreeSet<Vec<&str>> = files.iter().filter_map(Source::module).collect();
    let is_room =
        |path: &[&str]| rooms.contains(path) || matches!(path, [name] if floor_of(name).is_some());
    let mut found = Vec::new();
    for file in files {
        let Some(from) = file.module() else { continue };
        for Mention { line, names } in paths(&file.code) {
            let Some(path) = absolute(&from, &names) else { continue };
            let depth =
                (1..=path.len()).rev().find(|depth| path.get(..*depth).is_some_and(is_room));
            let (to, items) = path.split_at(depth.unwrap_or(0));
            let item = items.first().copied().unwrap_or("*");
            found.push(Import { file, line, from: from.clone(), to: to.to_vec(), item });
        }
    }
    found
}

/// The path from the crate root; none if it does not lead through the crate.
fn absolute<'a>(from: &[&'a str], names: &[&'a str]) -> Option<Vec<&'a str>> {
    let (first, rest) = names.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let ups = names.iter().take_while(|name| **name == "super").count();
    match *first {
        "crate" => Some(rest.to_vec()),
        "self" => Some([from, rest].concat()),
        "super" => Some([from.get(..from.len().checked_sub(ups)?)?, names.get(ups..)?].concat()),
        _ => None,
    }
}
