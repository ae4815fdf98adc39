//! The law: what may stand where. A change of the house begins here.

use What::{Code, Names, Written};

/// The floors from the ground up. A file imports from its own floor or from those below it. The
/// doors (`src/lib.rs`, `crates/`, `examples/`) stand above all of them.
pub(crate) const FLOORS: &[&[&str]] = &[
    &["error", "id", "position", "seq", "clock", "topic"],
    &["record"],
    &["store"],
    &["ledger"],
    &["step"],
    &["exec"],
    &["ops"],
    &["testing"],
];

/// Floors that do not see a floor below them, though imports would run downhill.
pub(crate) const BLIND: &[(&str, &str)] = &[("exec", "store")];

/// What a floor may take from the crate root. Everybody else imports from the room that owns the
/// item. `exec` is built on steps alone, and holds the store as a stranger does: by the public
/// handle, of which it sees what is `pub`, and never by `store`'s insides.
pub(crate) const FROM_ROOT: &[(&str, &str)] = &[("exec", "Store")];

/// Rooms whose files never import one another.
pub(crate) const STRANGERS: &[&str] = &["ledger"];

/// The most lines of a file in the `src/` of a package. Long unit tests go into the room's `tests.rs`.
pub(crate) const FILE_LINES_MAX: usize = 450;

/// The fewest words in the reason of an `expect`.
pub(crate) const REASON_WORDS_MIN: usize = 4;

/// The fewest words in the name of a test: it is a sentence.
pub(crate) const TEST_WORDS_MIN: usize = 3;

/// One line of the house: what must not stand in some places.
pub(crate) struct Line {
    pub(crate) what: &'static [What],
    /// Where it is refused: folders end in a slash.
    pub(crate) within: &'static [&'static str],
    /// Where it may stand all the same.
    pub(crate) except: &'static [&'static str],
    pub(crate) say: &'static str,
}

pub(crate) enum What {
    /// Names next to each other in a path.
    Names(&'static [&'static str]),
    /// Text in code.
    Code(&'static str),
    /// Text anywhere, comments included.
    Written(&'static str),
}

pub(crate) const LINES: &[Line] = &[
    Line {
        what: &[Names(&["bincode"])],
        within: &["src/", "crates/", "examples/"],
        except: &["src/record/codec.rs"],
        say: "only src/record/codec.rs names bincode: encode and decode through `record`",
    },
    Line {
        what: &[Names(&["redb"])],
        within: &["src/", "crates/", "examples/"],
        except: &["src/store/"],
        say: "only src/store/ names redb: use what `store` offers, or let it offer more",
    },
    Line {
        what: &[Names(&["SystemTime", "now"]), Names(&["Instant", "now"])],
        within: &["src/"],
        except: &["src/clock.rs"],
        say: "only src/clock.rs reads the clock: take a `Timestamp`, or ask the `Clock`",
    },
    Line {
        what: &[
            Names(&["thread", "spawn"]),
            Names(&["thread", "scope"]),
            Names(&["thread", "Builder"]),
        ],
        within: &["src/"],
        except: &["src/store/group.rs", "src/exec/"],
        say: "in the library, threads start only in src/store/group.rs and src/exec/",
    },
    Line {
        what: &[Names(&["std", "fs"]), Names(&["std", "io"]), Names(&["std", "net"])],
        within: &["src/record/"],
        except: &[],
        say: "`record` performs no I/O: bytes in, bytes out",
    },
    Line {
        what: &[Names(&["std", "time"]), Names(&["crate", "clock"])],
        within: &["src/record/"],
        except: &[],
        say: "`record` knows no time: take it as a number",
    },
    Line {
        what: &[Names(&["store", "Store"]), Code(".commit(")],
        within: &["src/ledger/"],
        except: &[],
        say: "`ledger` says what a record is and never commits: do this in `step`",
    },
    Line {
        what: &[Code(".commit(")],
        within: &["src/exec/", "src/testing/"],
        except: &[],
        say: "only `step` and `ops` commit: put there what is to be committed, and call it",
    },
    Line {
        what: &[Code(".unwrap()"), Code(".unwrap_err()"), Code(".expect_err(")],
        within: &["src/", "crates/torture/src/", "crates/import/src/"],
        except: &[],
        say: "say why it cannot be, by `.expect(\"reason\")`, or return an `Error` that says what to do",
    },
    Line {
        what: &[Code("todo!"), Code("unimplemented!")],
        within: &["src/", "crates/"],
        except: &[],
        say: "finish it, or leave the call out until it can be finished",
    },
    Line {
        what: &[Code("dbg!")],
        within: &["src/", "crates/", "examples/", "tests/", "benches/"],
        except: &[],
        say: "take it out: it was for one evening",
    },
    Line {
        what: &[Code("#[path")],
        within: &["src/", "crates/torture/src/", "crates/import/src/", "examples/"],
        except: &[],
        say: "put the file where its module is: nobody reaches around a wall",
    },
    Line {
        what: &[Written("FIXME")],
        within: &["src/", "crates/", "examples/", "benches/"],
        except: &[],
        say: "fix it, or open an issue and say in the comment what holds today",
    },
];

pub(crate) fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}
