//! The rules: each is a function from sources to complaints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::{Import, imports};
use crate::law::What::{self, Code, Names, Written};
use crate::law::{
    BLIND, FILE_LINES_MAX, FROM_ROOT, LINES, Line, REASON_WORDS_MIN, STRANGERS, TEST_WORDS_MIN,
    floor_of,
};
use crate::read::{Source, Token, closing, is_word, lines_where, lines_with, paths, tokens};

pub(crate) fn downhill(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    for import in imports(files) {
        let Some(own) = import.from.first().copied() else { continue };
        let Some(floor) = floor_of(own) else {
            said.push(import.say(format!("`{own}` has no floor: give it one in FLOORS")));
            continue;
        };
        let Some(other) = import.to.first().copied() else {
            if !FROM_ROOT.contains(&(own, import.item)) {
                said.push(import.say(format!(
                    "takes `{}` from the crate root: import it from the room that owns it",
                    import.item
                )));
            }
            continue;
        };
        if BLIND.contains(&(own, other)) {
            said.push(import.say(format!(
                "{own}/ does not import {other}/: do it in a floor between them, and call that"
            )));
        }
        if floor_of(other).is_none_or(|other| other > floor) {
            said.push(import.say(format!(
                "`{own}` imports `{other}`, which runs uphill: move the item down, or this up"
            )));
        }
    }
    said
}

pub(crate) fn no_circle(files: &[Source]) -> Vec<String> {
    let imports = imports(files);
    let neighbours: Vec<_> =
        imports.iter().filter_map(|import| Some((import, import.neighbours()?))).collect();
    let mut streets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, (from, to)) in &neighbours {
        streets.entry(from).or_default().insert(to);
    }
    let back = |(import, (from, to)): &(&Import<'_>, (String, String))| {
        let way = way(&streets, to, from)?;
        Some(import.say(format!(
            "{from} imports {to}, and there is a way back: {}. Move what both need into a third \
             file",
            way.join(" → ")
        )))
    };
    neighbours.iter().filter_map(back).collect()
}

/// The shortest way through the streets.
fn way<'a>(
    streets: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    from: &'a str,
    to: &str,
) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::from([from]);
    let mut open = VecDeque::from([vec![from]]);
    while let Some(walked) = open.pop_front() {
        let here = *walked.last()?;
        if here == to {
            return Some(walked);
        }
        for next in streets.get(here).into_iter().flatten().filter(|next| seen.insert(next)) {
            open.push_back([walked.as_slice(), &[next]].concat());
        }
    }
    None
}

pub(crate) fn not_by_the_own_door(files: &[Source]) -> Vec<String> {
    let own_door =
        |import: &&Import<'_>| !import.to.is_empty() && import.from.starts_with(&import.to);
    let say = |import: &Import<'_>| {
        import.say(format!(
            "takes `{}` from the door of its own room: import it from the file that owns it; if \
             that is mod.rs, move it into a file of its own or a floor down",
            import.item
        ))
    };
    imports(files)
        .iter()
        .filter(|import| import.from != import.to)
        .filter(own_door)
        .map(say)
        .collect()
}

pub(crate) fn strangers_never_meet(files: &[Source]) -> Vec<String> {
    let in_one_room = |import: &&Import<'_>| {
        STRANGERS.iter().any(|room| {
            import.from.first() == Some(room)
                && import.to.first() == Some(room)
                && import.neighbours().is_some()
        })
    };
    let say = |import: &Import<'_>| {
        import.say("files of this room never meet: bring the two facts together in `step`")
    };
    imports(files).iter().filter(in_one_room).map(say).collect()
}

pub(crate) fn lines_kept(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for line in LINES.iter().filter(|line| line.governs(&file.path)) {
            for at in line.what.iter().flat_map(|what| what.found_in(file)) {
                said.push(file.say(at, line.say));
            }
        }
    }
    said
}

impl Line {
    fn governs(&self, path: &str) -> bool {
        let under =
            |place: &&str| path == *place || (place.ends_with('/') && path.starts_with(place));
        self.within.iter().any(under) && !self.except.iter().any(under)
    }
}

impl What {
    /// The lines it stands on.
    fn found_in(&self, file: &Source) -> Vec<usize> {
        match self {
            Names(names) => paths(&file.code)
                .into_iter()
                .filter(|path| path.names.windows(names.len()).any(|part| part == *names))
                .map(|path| path.line)
                .collect(),
            Code(text) => lines_with(&file.code, text),
            Written(text) => lines_with(&file.text, text),
        }
    }
}

pub(crate) fn excuses_have_a_reason(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let tokens = tokens(&file.plain);
        for (at, token) in tokens.iter().enumerate() {
            let (before, rest) = tokens.split_at(at);
            let opens = token.text == "[" && before.last().is_some_and(|t| "#!".contains(t.text));
            let attribute = rest.get(..if opens { closing(rest) } else { 0 }).unwrap_or_default();
            let excuses = |pair: &[Token<'_>]| {
                let mut texts = pair.iter().map(|token| token.text);
                matches!(texts.next(), Some("allow" | "expect")) && texts.next() == Some("(")
            };
            if attribute.windows(2).any(excuses)
                && !attribute.iter().any(|token| token.text == "reason")
            {
                said.push(file.say(token.line, "say why: add `reason = \"..\"` to the attribute"));
            }
        }
    }
    said
}

/// An assertion in the library gives its reason in place, or by the name of a constant that has it.
pub(crate) fn expectations_say_why(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    let is_ours =
        |file: &&Source| file.path.starts_with("src/") || file.path.starts_with("crates/");
    for file in files.iter().filter(is_ours) {
        for line in lines_with(&file.code, ".expect(") {
            let mut text = file.text.lines().skip(line - 1);
            let first = text.next().and_then(|text| text.split(".expect(").nth(1)).unwrap_or("");
            let argument = if first.is_empty() { text.next().unwrap_or("") } else { first }.trim();
            let quoted = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
            let is_reason =
                quoted.is_some_and(|text| text.split_whitespace().count() >= REASON_WORDS_MIN);
            let is_named = argument.starts_with(|first: char| first.is_ascii_uppercase());
            if !is_reason && !is_named {
                said.push(file.say(line, "say why it cannot be: `.expect(\"reason\")`"));
            }
        }
    }
    said
}

pub(crate) fn files_are_short(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    for file in files.iter().filter(|file| file.is_source()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            said.push(file.say(
                lines,
                format!(
                    "{FILE_LINES_MAX} lines are the most: make it two files, or move its tests to \
                     the room's tests.rs"
                ),
            ));
        }
    }
    said
}

pub(crate) fn tests_are_sentences(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let tokens = tokens(&file.plain);
        for at in 0..tokens.len() {
            let Some((mark, item)) = tokens.get(at..).and_then(|rest| rest.split_at_checked(4))
            else {
                break;
            };
            if !mark.iter().map(|token| token.text).eq(["#", "[", "test", "]"]) {
                continue;
            }
            let Some(name) = item.iter().skip_while(|token| token.text != "fn").nth(1) else {
                continue;
            };
            if name.text.split('_').filter(|word| !word.is_empty()).count() < TEST_WORDS_MIN {
                said.push(file.say(
                    name.line,
                    format!(
                        "`{}` is no sentence: say what holds, in {TEST_WORDS_MIN} words or more",
                        name.text
                    ),
                ));
            }
        }
    }
    said
}

pub(crate) fn no_machine(files: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    for file in files {
        for machine in machines() {
            for at in lines_where(&file.text, |line| names_path(line, &machine)) {
                said.push(
                    file.say(at, format!("`{machine}` is on one machine only: leave it out")),
                );
            }
        }
    }
    said
}

/// Where developers keep things. Put together here, so that this file does not name them itself.
pub(crate) fn machines() -> Vec<String> {
    let mut roots: Vec<String> =
        ["home", "Users", "root", "work"].iter().map(|folder| format!("/{folder}/")).collect();
    roots.push(["..", "shared"].join("/"));
    roots.push(env!("CARGO_MANIFEST_DIR").to_owned());
    roots
}

/// Whether the line has the path, not as the tail of a longer one.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !is_word(before) && !"./-".contains(before))
    })
}
