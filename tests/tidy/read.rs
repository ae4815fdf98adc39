//! Reads sources as text, by hand. Comments, strings and test code are blanked, and then a path
//! (`a::b::{c, d}`) is a path wherever it stands, in a `use` or in the middle of an expression.
//!
//! What this does not see: a path through a renamed import (`use std::time::Instant as I`), a
//! `super::` inside an inline module, and paths that a macro puts together. Nobody writes these by
//! accident.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// A file of the project.
pub(crate) struct Source {
    /// From the project's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and strings blanked; lines stay where they are.
    pub(crate) plain: String,
    /// The same with test code blanked too.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Self {
        let is_rust = Path::new(&path).extension().is_some_and(|extension| extension == "rs");
        let plain = if is_rust { plain(&text) } else { String::new() };
        let code = without_tests(&plain);
        Self { path, text, plain, code }
    }

    /// Whether it is a source of one of the packages, and neither a test nor a page.
    pub(crate) fn is_source(&self) -> bool {
        let member = ["crates/", "examples/"].iter().find_map(|room| self.path.strip_prefix(room));
        let in_member = member.and_then(|path| path.split_once('/')).map(|(_, path)| path);
        in_member.unwrap_or(&self.path).starts_with("src/")
    }

    pub(crate) fn is_rust(&self) -> bool {
        !self.plain.is_empty()
    }

    /// The module on one of the floors that this file is; none for doors and for other files.
    pub(crate) fn module(&self) -> Option<Vec<&str>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        (path != "lib").then(|| path.split('/').collect())
    }

    /// The modules that it compiles for tests only, as paths without an ending.
    fn test_modules(&self) -> Vec<String> {
        let folder = ["lib.rs", "main.rs", "mod.rs"]
            .iter()
            .find_map(|door| self.path.strip_suffix(door))
            .map_or_else(|| self.path.replace(".rs", "/"), str::to_owned);
        let (all, ours) = (declared(&self.plain), declared(&self.code));
        all.difference(&ours).map(|module| format!("{folder}{module}")).collect()
    }

    pub(crate) fn say(&self, line: usize, what: impl Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The files together: one that another file compiles for tests only has no code.
pub(crate) fn together(mut files: Vec<Source>) -> Vec<Source> {
    let tests: Vec<String> = files.iter().flat_map(Source::test_modules).collect();
    let is_test = |path: &str| {
        tests
            .iter()
            .filter_map(|test| path.strip_prefix(test))
            .any(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    for file in files.iter_mut().filter(|file| is_test(&file.path)) {
        file.code.clear();
    }
    files
}

/// The modules that stand in files of their own.
fn declared<'a>(code: &'a str) -> BTreeSet<&'a str> {
    let tokens = tokens(code);
    let name = |part: &[Token<'a>]| match part {
        [Token { text: "mod", .. }, name, Token { text: ";", .. }] => Some(name.text),
        _ => None,
    };
    tokens.windows(3).filter_map(name).collect()
}

/// A path in code, as written.
#[derive(Debug, PartialEq)]
pub(crate) struct Mention<'a> {
    pub(crate) line: usize,
    pub(crate) names: Vec<&'a str>,
}

/// A word, `::`, or any other character alone.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

/// Every path in the code, the trees of `use` spread out; also those of one name.
pub(crate) fn paths(code: &str) -> Vec<Mention<'_>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = [text(&tokens, at.wrapping_sub(2)), text(&tokens, at.wrapping_sub(1))];
        let begins = match before {
            // In `a..b` a path begins, in `a.b` none does.
            [dot, "."] => dot == "." && is_name(text(&tokens, at)),
            // `pub(in path)` imports nothing.
            [_, "::"] | ["(", "in"] => false,
            [_, "use"] => true,
            _ => is_name(text(&tokens, at)),
        };
        at = if begins { spread(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path or one tree of them, and says where it ends.
fn spread<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    found: &mut Vec<Mention<'a>>,
) -> usize {
    let goes_on = |at| is_name(text(tokens, at)) || matches!(text(tokens, at), "*" | "{");
    if text(tokens, at) == "{" {
        at += 1;
        loop {
            at = match text(tokens, at) {
                "" => return at,
                "}" => return at + 1,
                "as" => at + 2,
                _ if goes_on(at) => spread(tokens, at, prefix, found),
                _ => at + 1,
            };
        }
    }
    let names = [prefix, &[text(tokens, at)]].concat();
    if text(tokens, at + 1) == "::" && goes_on(at + 2) {
        return spread(tokens, at + 2, &names, found);
    }
    found.extend(tokens.get(at).map(|token| Mention { line: token.line, names }));
    at + 1
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (line, mut rest) in (1..).zip(code.lines()) {
        loop {
            rest = rest.trim_start();
            let Some(first) = rest.chars().next() else { break };
            let len = match rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            let (text, behind) = rest.split_at(len);
            found.push(Token { line, text });
            rest = behind;
        }
    }
    found
}

/// How many tokens the bracket takes that `tokens` begin with, with all it holds.
pub(crate) fn closing(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The text with comments, strings and characters blanked.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = plain.chars().next_back().is_some_and(is_word);
        let len = opaque(rest, in_word);
        let (part, behind) = rest.split_at(if len == 0 { first.len_utf8() } else { len });
        plain.push_str(&if len == 0 { part.to_owned() } else { blank(part) });
        rest = behind;
    }
    plain
}

/// How many bytes at the beginning of `rest` are a comment, a string or a character.
fn opaque(rest: &str, in_word: bool) -> usize {
    let end = |found: Option<usize>| found.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return end(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        return end(comment(rest));
    }
    if rest.starts_with('"') {
        return end(string(rest));
    }
    if !in_word && let Some(raw) = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r') {
        let inner = raw.trim_start_matches('#');
        let close = format!("\"{}", "#".repeat(raw.len() - inner.len()));
        if let Some(inner) = inner.strip_prefix('"') {
            let before = rest.len() - inner.len();
            return end(inner.find(&close).map(|at| before + at + close.len()));
        }
    }
    let mut letters = rest.char_indices();
    match (letters.next(), letters.next(), letters.next()) {
        (Some((_, '\'')), Some((_, '\\')), Some((_, escaped))) => {
            let before = 2 + escaped.len_utf8();
            end(rest.get(before..).and_then(|rest| rest.find('\'')).map(|at| before + at + 1))
        }
        (Some((_, '\'')), Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Where the comment ends that `rest` begins with; comments nest.
fn comment(rest: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    loop {
        let here = rest.get(at..)?;
        let step = here.find("/*").into_iter().chain(here.find("*/")).min()?;
        depth += if here.get(step..)?.starts_with("/*") { 1 } else { -1 };
        at += step + 2;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Where the string ends that `rest` begins with.
fn string(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if letter == '"' && !escaped {
            return Some(at + 1);
        }
        escaped = letter == '\\' && !escaped;
    }
    None
}

/// The code without the items that are compiled for tests only.
fn without_tests(plain: &str) -> String {
    let mut code = String::with_capacity(plain.len());
    let mut rest = plain;
    if plain.contains("#![cfg(test)]") {
        return code;
    }
    while let Some(at) =
        rest.find("#[cfg(test)]").into_iter().chain(rest.find("#[cfg(all(test")).min()
    {
        let (before, item) = rest.split_at(at);
        let (item, behind) = item.split_at(item_len(item));
        code.push_str(before);
        code.push_str(&blank(item));
        rest = behind;
    }
    code + rest
}

/// How many bytes the item takes that `code` begins with: up to its semicolon or its last brace.
fn item_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(letter, '}' | ';') {
            return at + 1;
        }
    }
    code.len()
}

fn blank(text: &str) -> String {
    text.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect()
}

pub(crate) fn lines_with(text: &str, part: &str) -> Vec<usize> {
    lines_where(text, |line| line.contains(part))
}

pub(crate) fn lines_where(text: &str, mut is_it: impl FnMut(&str) -> bool) -> Vec<usize> {
    (1..).zip(text.lines()).filter(|(_, line)| is_it(line)).map(|(at, _)| at).collect()
}

pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(|first| is_word(first) && !first.is_ascii_digit())
}

/// All text files of the project.
pub(crate) fn house() -> &'static [Source] {
    static HOUSE: OnceLock<Vec<Source>> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let mut files = Vec::new();
        collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
        together(files)
    })
}

/// What git does not track; see `.gitignore`. In a worktree `.git` is a file.
const UNTRACKED: &[&str] = &[".git", "target", "corpus", "artifacts"];

fn collect(folder: &Path, prefix: &str, files: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if UNTRACKED.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(Source::new(path, text));
        }
    }
}

#[test]
fn comments_strings_and_test_code_are_not_read_as_code() {
    let text = r##"
        // one::a
        /* one::b /* one::c */ one::d */
        const S: &str = "one::e \" one::f"; const R: &[u8] = br#"one::g " one::h"#;
        fn f<'a>(x: &'a str) -> [char; 2] { ['"', '\''] } // one::i
        #[cfg(test)]
        fn g() -> [u8; 2] { one::j(); { one::k() } }
        #[cfg(test)] use one::{l, m};
        fn h() { two::n() }
    "##;
    let source = Source::new("src/id.rs".into(), text.into());
    let found: Vec<_> =
        paths(&source.code).into_iter().filter(|path| path.names.len() > 1).collect();
    assert_eq!(found, [Mention { line: 9, names: vec!["two", "n"] }]);
}

#[test]
fn a_file_that_is_compiled_for_tests_only_is_not_read_as_code() {
    let door = "mod a;\n#[cfg(test)]\nmod model;\n#[cfg(all(test, unix))]\nmod tests;";
    let source = |path: &str, text: &str| Source::new(path.into(), text.into());
    let files = together(vec![
        source("src/store/mod.rs", door),
        source("src/store/a.rs", "x::y"),
        source("src/store/model.rs", "x::y"),
        source("src/store/tests/full.rs", "x::y"),
        source("src/store/tests.rs", "x::y"),
        source("src/tests.rs", "x::y"),
    ]);
    let read: Vec<_> = files.iter().map(|file| !paths(&file.code).is_empty()).collect();
    assert_eq!(read, [true, true, false, false, false, true]);
}

#[test]
fn a_path_is_read_wherever_it_stands() {
    let names =
        |text| paths(text).into_iter().map(|path| path.names.join("::")).collect::<Vec<_>>();
    assert_eq!(
        names("use a::{b, c::{self, d as e}, f::*};"),
        ["use", "a::b", "a::c::self", "a::c::d", "a::f::*"]
    );
    assert_eq!(names("Vec::<a::B>::new()"), ["Vec", "a::B"]);
    assert_eq!(names("x.y::<a::B>().z"), ["x", "a::B"]);
    assert_eq!(names("0..a::B"), ["a::B"]);
    assert_eq!(names("use {a, b::c}; use a as b;"), ["use", "a", "b::c", "use", "a", "as", "b"]);
    assert_eq!(names("pub(in a::B) use $crate::c;"), ["pub", "in", "use", "$", "crate::c"]);
}
