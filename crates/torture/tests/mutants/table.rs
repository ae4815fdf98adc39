//! The mutants: what each does wrong, and who has to find that.

/// One bug.
pub(crate) struct Mutant {
    /// What the store does wrong with it.
    pub(crate) bug: &'static str,
    pub(crate) patches: &'static [Patch],
    pub(crate) fate: Fate,
}

/// A place in the sources: the text stands there exactly once, and the other takes its place.
pub(crate) struct Patch {
    pub(crate) file: &'static str,
    pub(crate) is: &'static str,
    pub(crate) becomes: &'static str,
}

/// What has to become of a bug.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// Each of these finds it.
    FoundBy(&'static [Finder]),
    /// None of these finds it, and that is right.
    Survives { finders: &'static [Finder], because: &'static str },
}

/// Who looks for bugs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finder {
    /// A class of the torture, at the scale of so many images of T1.
    Class(&'static str, u32),
    /// A test of `tests/it`.
    Test(&'static str),
}

impl Fate {
    pub(crate) fn finders(&self) -> &'static [Finder] {
        match self {
            Self::FoundBy(finders) | Self::Survives { finders, .. } => finders,
        }
    }
}

impl Finder {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Class(name, _) | Self::Test(name) => name,
        }
    }
}

use Fate::{FoundBy, Survives};
use Finder::Test;

// As few cases as show the bugs, and a second or three of them.
const T1: Finder = Finder::Class("T1", 1_000);
const T2: Finder = Finder::Class("T2", 100);
const T3: Finder = Finder::Class("T3", 1_000);
const T4: Finder = Finder::Class("T4", 3_000);
const T5: Finder = Finder::Class("T5", 5_000);
const T6: Finder = Finder::Class("T6", 3_000);
const T7: Finder = Finder::Class("T7", 5_000);
const T7B: Finder = Finder::Class("T7b", 5_000);
const T8: Finder = Finder::Class("T8", 2_000);
const T9: Finder = Finder::Class("T9", 100);
/// Where file systems may be mounted, as it says.
const T9F: Finder = Finder::Class("T9F", 100);
const T10: Finder = Finder::Class("T10", 100);
const T11: Finder = Finder::Class("T11", 5_000);
const T12: Finder = Finder::Class("T12", 1_000);
const T13: Finder = Finder::Class("T13", 3_000);
const T14: Finder = Finder::Class("T14", 5_000);
const T15: Finder = Finder::Class("T15", 2_000);
const T16: Finder = Finder::Class("T16", 100);
const T17: Finder = Finder::Class("T17", 2_000);
const T18: Finder = Finder::Class("T18", 100);
const T20: Finder = Finder::Class("T20", 1_000);
const T24: Finder = Finder::Class("T24", 2_500);

pub(crate) const MUTANTS: &[Mutant] = &[
    // The disk.
    Mutant {
        bug: "a flush is skipped, and said to be done",
        patches: &[Patch {
            file: "src/store/backend.rs",
            is: "self.disk.sync().inspect_err(|_| mark_unsynced(&*self.disk))",
            becomes: "Ok(())",
        }],
        fate: FoundBy(&[T11, T12]),
    },
    Mutant {
        bug: "the disk skips its flushes",
        patches: &[Patch {
            file: "src/testing/sim_disk.rs",
            is: "if state.sabotage != Some(Sabotage::SkipSyncs) {",
            becomes: "if state.trace.is_none() {",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        bug: "the disk drops what is written to the header",
        patches: &[Patch {
            file: "src/testing/sim_disk.rs",
            is: "if self.sabotage == Some(Sabotage::DropHeader) && change.is_header() {",
            becomes: "if self.trace.is_some() && change.is_header() {",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        // The pages are flushed first, so that only the header itself can be torn: both slots and
        // the byte that says which of them counts, which then is believed without a look.
        bug: "a header is taken for something that a disk writes as a whole",
        patches: &[Patch {
            file: "src/store/backend.rs",
            is: "self.disk.write(offset, data)",
            becomes: "
        if offset == 0 && data.len() >= 320 {
            let (mut now, mut new) = (data.to_vec(), data.to_vec());
            self.disk.read(0, &mut now)?;
            // Not while the file is being made.
            if data.starts_with(b\"redb\") && now[..9] == new[..9] {
                if now[64..320] != new[64..320] && now[9] & 1 == new[9] & 1 {
                    return Ok(());
                }
                self.disk.sync()?;
                new[9] |= 4;
                return self.disk.write(0, &new);
            }
        }
        self.disk.write(offset, data)",
        }],
        fate: FoundBy(&[T2]),
    },
    Mutant {
        bug: "a flush that failed is not noted in the file",
        patches: &[Patch {
            file: "src/store/backend.rs",
            is: "let _ = disk.write(MARK_OFFSET, &[MARK]);",
            becomes: "let _ = (disk, MARK);",
        }],
        fate: FoundBy(&[T5]),
    },
    Mutant {
        bug: "the note of a failed flush is not looked at",
        patches: &[Patch {
            file: "src/store/backend.rs",
            is: "if mark != [MARK] {",
            becomes: "if mark != [MARK] || true {",
        }],
        fate: FoundBy(&[T5]),
    },
    Mutant {
        bug: "the note of a failed flush is taken away before the flush that makes up for it",
        patches: &[Patch {
            file: "src/store/backend.rs",
            is: "    disk.sync()?;\n    // Last: a crash before this does it all again.\n",
            becomes: "",
        }],
        fate: FoundBy(&[T5]),
    },
    Mutant {
        // Where T9 may mount a file system of its own, as it says.
        bug: "a longer file takes its blocks only when they are written",
        patches: &[Patch {
            file: "src/store/disk.rs",
            is: "self.reserve(now, len)\n            .and_then(|()| self.backend.set_len(len))",
            becomes: "let _ = Self::reserve;\n        self.backend.set_len(len)",
        }],
        fate: FoundBy(&[T9]),
    },
    Mutant {
        bug: "a growth that fails leaves the file longer",
        patches: &[
            Patch {
                file: "src/store/disk.rs",
                is: "[FallocateFlags::KEEP_SIZE, FallocateFlags::empty()]",
                becomes: "[FallocateFlags::empty()]",
            },
            Patch {
                file: "src/store/disk.rs",
                is: "            .map_err(|error| self.put_back(now, error))",
                becomes: "            .inspect_err(|_| drop(Self::put_back))",
            },
        ],
        fate: FoundBy(&[T9F]),
    },
    Mutant {
        bug: "a tail behind the last page stays when the store is opened",
        patches: &[Patch {
            file: "src/store/tail.rs",
            is: "layout <= whole)",
            becomes: "layout <= whole && false)",
        }],
        fate: FoundBy(&[T1, T4]),
    },
    Mutant {
        bug: "a real file is never flushed",
        patches: &[Patch {
            file: "src/store/disk.rs",
            is: "ask(Asked::Flush(&self.file), || {\n            self.backend.sync_data()?;\n            \
                 self.is_served()\n        })",
            becomes: "self.is_served()",
        }],
        fate: FoundBy(&[T20]),
    },
    // The commit.
    Mutant {
        bug: "rows are not counted in the accumulators",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "self.sum.add(self.table, key, value);",
            becomes: "",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        bug: "rows that go stay in the accumulators",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "self.sum.remove(self.table, key, old.value());",
            becomes: "let _ = old;",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        bug: "the head is written before the rows that it sums up",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "            for table in Table::ALL {\n                apply(&txn, table, rows, &mut head)?;\n            }\n            write_head(&txn, &head)?;\n",
            becomes: "            write_head(&txn, &head)?;\n            for table in Table::ALL {\n                apply(&txn, table, rows, &mut head)?;\n            }\n",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        bug: "tables are written in another order",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "for table in Table::ALL {\n                apply(",
            becomes: "for table in Table::ALL.into_iter().rev() {\n                apply(",
        }],
        fate: Survives {
            finders: &[T1],
            because: "a commit is one transaction of the storage engine: there is no moment at which \
                      one table has its rows and another has not",
        },
    },
    Mutant {
        bug: "two fsyncs a commit are one",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "txn.set_two_phase_commit(self.durability == Durability::TwoPhase);",
            becomes: "txn.set_two_phase_commit(false && self.durability == Durability::TwoPhase);",
        }],
        fate: FoundBy(&[T8]),
    },
    Mutant {
        bug: "a commit is noted in the lock file before it is durable",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "        shielded(\"commit\", || {",
            becomes: "        if let Some(lock) = &mut self.lock {\n            lock.note(self.store, &head);\n        }\n        shielded(\"commit\", || {",
        }],
        // A kill would have to come within microseconds; a disk without room is as good.
        fate: FoundBy(&[T9]),
    },
    Mutant {
        bug: "a writer goes on after its file was taken away",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "anchor.check()?;",
            becomes: "let _ = anchor.check();",
        }],
        fate: FoundBy(&[
            T10,
            Test("fence::a_writer_whose_file_was_removed_stops"),
            Test("fence::a_writer_whose_file_was_replaced_stops"),
        ]),
    },
    Mutant {
        bug: "a step or a claim is acknowledged when it is planned",
        patches: &[Patch {
            file: "src/store/handle.rs",
            is: "ticket.map_or(Ok(()), |ticket| self.inner.committer.wait(&ticket))",
            becomes: "{ drop(ticket); Ok(()) }",
        }],
        fate: FoundBy(&[T6, T11]),
    },
    Mutant {
        bug: "what a relay or a decision writes is acknowledged when it is planned",
        patches: &[Patch {
            file: "src/store/group.rs",
            is: "awaited.map_or(Ok(()), |awaited| self.wait(&awaited.ticket))?;",
            becomes: "drop(awaited);",
        }],
        fate: FoundBy(&[T12]),
    },
    Mutant {
        bug: "a submitted step is acknowledged before it is durable",
        patches: &[Patch {
            file: "src/store/pending.rs",
            is: "self.committer.wait(ticket)?;",
            becomes: "let _ = ticket;",
        }],
        fate: FoundBy(&[T6, T14]),
    },
    Mutant {
        bug: "a commit that may be on disk is said not to be",
        patches: &[Patch {
            file: "src/store/engine.rs",
            is: "if self.probe.header_writes() == header_writes {",
            becomes: "if self.probe.header_writes() >= header_writes {",
        }],
        fate: FoundBy(&[T4]),
    },
    Mutant {
        bug: "a handle whose commit failed goes on",
        patches: &[Patch {
            file: "src/store/line.rs",
            is: "            state.fate = Some(poison.clone());\n            if",
            becomes: "            if",
        }],
        fate: FoundBy(&[T10]),
    },
    Mutant {
        bug: "what is on its way to the disk is answered as if it were there",
        patches: &[Patch {
            file: "src/store/awaited.rs",
            is: "Some(Self { seq, ticket: state.ticket_in_flight()? })",
            becomes: "Some(Self { seq, ticket: state.ticket_in_flight()? }).filter(|_| false)",
        }],
        fate: FoundBy(&[T11]),
    },
    Mutant {
        bug: "what is on its way to the disk is not seen by the next step",
        patches: &[Patch {
            file: "src/store/layers.rs",
            is: "let in_flight = state.in_flight.as_ref().map(|group| &group.rows);",
            becomes: "let in_flight = state.in_flight.as_ref().map(|group| &group.rows).filter(|_| false);",
        }],
        fate: FoundBy(&[T11]),
    },
    Mutant {
        bug: "what has expired is not forgotten",
        patches: &[Patch {
            file: "src/store/marks.rs",
            is: "if members == 0 { 64 + 2 * rows_before } else { 0 }",
            becomes: "0 * (members + rows_before)",
        }],
        fate: FoundBy(&[T13, T18]),
    },
    Mutant {
        bug: "the memory of each plan is never given back",
        patches: &[Patch {
            file: "src/store/group.rs",
            is: "            writes.clear();\n            // Under",
            becomes: "            std::mem::forget(std::mem::take(&mut writes));\n            // Under",
        }],
        fate: FoundBy(&[T18]),
    },
    // Opening.
    Mutant {
        bug: "a store that was closed in order is not verified when it is opened",
        patches: &[Patch {
            file: "src/store/open.rs",
            is: "verify_pages(disk.clone())?;",
            becomes: "let _ = verify_pages;",
        }],
        fate: FoundBy(&[T7]),
    },
    Mutant {
        bug: "what verifies a store writes to it",
        patches: &[Patch {
            file: "src/store/shadow.rs",
            is: "            state.pages.insert(page, whole);\n",
            becomes: "            let _ = self.below.write(page * SHADOW_PAGE, &whole);\n            \
                      state.pages.insert(page, whole);\n",
        }],
        fate: FoundBy(&[T7]),
    },
    Mutant {
        bug: "a recovery is not flushed where the storage engine has flushed it",
        patches: &[Patch {
            file: "src/store/shadow.rs",
            is: "Op::Sync => self.below.sync()?,",
            becomes: "Op::Sync => {}",
        }],
        fate: FoundBy(&[T3]),
    },
    Mutant {
        bug: "what the storage engine does to a file reaches it before the file is known",
        patches: &[Patch {
            file: "src/store/shadow.rs",
            is: "is_open: AtomicBool::new(false), held",
            becomes: "is_open: AtomicBool::new(true), held",
        }],
        fate: FoundBy(&[T8, T16]),
    },
    Mutant {
        bug: "a store of a newer format is opened",
        patches: &[Patch {
            file: "src/store/head.rs",
            is: "if *format > FORMAT =>",
            becomes: "if *format > FORMAT && false =>",
        }],
        fate: FoundBy(&[T16]),
    },
    Mutant {
        bug: "the opening after a crash does not remember the crash",
        patches: &[Patch {
            file: "src/store/raise.rs",
            is: "put(&mut rows, &key, &Unclean { last: head.seq })?;",
            becomes: "let _ = (&key, Unclean { last: head.seq });",
        }],
        fate: FoundBy(&[T12]),
    },
    Mutant {
        bug: "an open store looks as if it were closed in order",
        patches: &[Patch {
            file: "src/store/group.rs",
            is: "self.write(&group.rows, group.seq, self.marks(), false)",
            becomes: "self.write(&group.rows, group.seq, self.marks(), true)",
        }],
        fate: FoundBy(&[T12]),
    },
    Mutant {
        bug: "a store that was just opened looks as if it were closed in order",
        patches: &[Patch {
            file: "src/store/raise.rs",
            is: "head.clean = false;",
            becomes: "head.clean = true;",
        }],
        fate: FoundBy(&[T4]),
    },
    Mutant {
        bug: "an opening does not raise the epoch",
        patches: &[Patch {
            file: "src/store/raise.rs",
            is: "head.epoch = head.epoch.next();",
            becomes: "",
        }],
        fate: FoundBy(&[T16]),
    },
    Mutant {
        bug: "a store is made under its own name",
        patches: &[Patch {
            file: "src/store/open.rs",
            is: "let building = beside(path, \"creating\");",
            becomes: "let building = path.to_path_buf();",
        }],
        fate: FoundBy(&[T6]),
    },
    Mutant {
        bug: "a full disk is called a failing one",
        patches: &[Patch {
            file: "src/error.rs",
            is: "io::ErrorKind::StorageFull\n            | io::ErrorKind::QuotaExceeded\n            | io::ErrorKind::FileTooLarge =>",
            becomes: "io::ErrorKind::QuotaExceeded =>",
        }],
        fate: FoundBy(&[T9]),
    },
    Mutant {
        bug: "a panic of the storage engine's destructor goes through",
        patches: &[Patch {
            file: "src/store/fault.rs",
            is: "let _ = catch_unwind(AssertUnwindSafe(move || drop(db)));",
            becomes: "drop(db);",
        }],
        fate: FoundBy(&[Test("security::a_damaged_page_never_brings_down_who_opens_the_store")]),
    },
    Mutant {
        bug: "a panic of the storage engine goes through",
        patches: &[Patch {
            file: "src/store/fault.rs",
            is: "catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(",
            becomes: "Ok::<_, Box<dyn std::any::Any + Send>>(work()).unwrap_or_else(",
        }],
        fate: FoundBy(&[T7B]),
    },
    // Who has the store.
    Mutant {
        bug: "a lock that another has is taken",
        patches: &[Patch {
            file: "src/store/lock.rs",
            is: "Err(TryLockError::WouldBlock) => return Err(locked(store, &path)),",
            becomes: "Err(TryLockError::WouldBlock) => {}",
        }],
        fate: FoundBy(&[T10]),
    },
    Mutant {
        bug: "the file itself is not locked, only its name",
        patches: &[Patch {
            file: "src/store/backend.rs",
            is: "self.locks()?.try_lock_range(start, end)",
            becomes: "{ let _ = (start, end); Ok(true) }",
        }],
        fate: FoundBy(&[T10, Test("fence::under_another_name_the_store_is_still_held")]),
    },
    Mutant {
        bug: "who was killed stays named until its successor has signed",
        patches: &[Patch {
            file: "src/store/lock.rs",
            is: "let _ = file.set_len(note.map_or(0, |note| note.len() as u64 + 1));",
            becomes: "let _ = note;",
        }],
        fate: FoundBy(&[Test(
            "security::while_a_store_is_brought_back_after_a_kill_the_killed_process_is_not_named",
        )]),
    },
    Mutant {
        bug: "others can read the store",
        patches: &[Patch {
            file: "src/store/place.rs",
            is: "options.mode(0o600)",
            becomes: "options.mode(0o644)",
        }],
        fate: FoundBy(&[
            Test("security::every_file_is_for_its_owner_alone_while_it_is_being_made_and_repaired"),
            Test("place::the_store_and_its_lock_are_for_their_owner_alone"),
        ]),
    },
    Mutant {
        bug: "a symlink is followed to the lock",
        patches: &[Patch {
            file: "src/store/lock.rs",
            is: "Place::refuse_symlink(&path)?;",
            becomes: "",
        }],
        fate: FoundBy(&[Test("place::a_lock_file_that_is_a_symlink_is_refused")]),
    },
    Mutant {
        bug: "a symlink is followed to the store",
        patches: &[
            Patch {
                file: "src/store/place.rs",
                is: "let metadata = fs::symlink_metadata(path).map_err(",
                becomes: "let metadata = fs::metadata(path).map_err(",
            },
            Patch {
                file: "src/store/place.rs",
                is: "Ok(metadata) if metadata.is_symlink() =>",
                becomes: "Ok(metadata) if metadata.is_symlink() && false =>",
            },
        ],
        fate: FoundBy(&[
            T10,
            Test("place::a_symlink_is_refused_whether_it_leads_to_a_store_or_nowhere"),
        ]),
    },
    Mutant {
        bug: "a lock is left to whoever else has the file open",
        patches: &[Patch {
            file: "src/store/lock.rs",
            is: "let _ = self.file.unlock();",
            becomes: "",
        }],
        fate: FoundBy(&[Test(
            "fence::what_was_closed_opens_again_while_children_are_being_started",
        )]),
    },
    Mutant {
        bug: "two in one process hold the same thing",
        patches: &[Patch {
            file: "src/store/held.rs",
            is: "fresh.then(|| Hold { held: self.clone(), name })",
            becomes: "{ let _ = fresh; Some(Hold { held: self.clone(), name }) }",
        }],
        fate: FoundBy(&[T11, T12]),
    },
    // The protocol.
    Mutant {
        bug: "the key of a step is not written with it",
        patches: &[Patch {
            file: "src/step/draft.rs",
            is: "settled: std::mem::take(&mut self.settled),",
            becomes: "settled: Vec::new(),",
        }],
        fate: FoundBy(&[T6]),
    },
    Mutant {
        bug: "the state is not written with the step",
        patches: &[Patch {
            file: "src/step/draft.rs",
            is: "plan.put(&run_key(&self.run), &record)?;",
            becomes: "let _ = run_key(&self.run);",
        }],
        fate: FoundBy(&[T12]),
    },
    Mutant {
        bug: "a call in doubt is taken for a new one",
        patches: &[Patch {
            file: "src/step/claim.rs",
            is: "Doubt::of(record, &row, request, open(hold)).map(Claimed::InDoubt)",
            becomes: "{ let _ = (record, request); Ok(Claimed::Fresh(Claim(open(hold)))) }",
        }],
        fate: FoundBy(&[T12]),
    },
    Mutant {
        bug: "a call whose answer is on its way to the disk is in doubt",
        patches: &[Patch {
            file: "src/store/group.rs",
            is: "if is_on_its_way || self.held.has(kind, name) {",
            becomes: "if !is_on_its_way && self.held.has(kind, name) {",
        }],
        fate: FoundBy(&[
            T11,
            Test("claim::a_claim_whose_answer_is_on_its_way_to_the_disk_is_not_in_doubt"),
        ]),
    },
    Mutant {
        bug: "the same key with another request is the same request",
        patches: &[Patch {
            file: "src/ledger/key.rs",
            is: "(Some(then), Some(now)) if then.fingerprint == now.fingerprint => Self::Same,",
            becomes: "(Some(then), Some(now)) if then.shape == now.shape => Self::Same,",
        }],
        fate: FoundBy(&[T11]),
    },
    Mutant {
        bug: "an effect is sent before it is written down that it is",
        patches: &[Patch {
            file: "src/exec/relay.rs",
            is: "            match advance(&self.store, &delivery.id, false, |_| Ok(IntentEvent::Send)) {",
            becomes: "            endpoint.call(&delivery);\n            \
                      match advance(&self.store, &delivery.id, false, |_| Ok(IntentEvent::Send)) {",
        }],
        fate: FoundBy(&[T6, T12]),
    },
    Mutant {
        bug: "what was being sent in a crash is sent again unasked",
        patches: &[Patch {
            file: "src/ledger/intent.rs",
            is: "(Stage::InFlight, Event::Abandon) => Ok(Stage::InDoubt {\n            \
                 why: \"whoever was sending it ended before the answer was written down\".into(),\n        \
                 }),",
            becomes: "(Stage::InFlight, Event::Abandon) => Ok(Stage::Prepared),",
        }],
        fate: FoundBy(&[T6, T12]),
    },
    // The history.
    Mutant {
        bug: "who lists a chunk that is there already is not counted",
        patches: &[Patch {
            file: "src/step/content.rs",
            is: "return refer_to(plan, id);",
            becomes: "return Ok(());",
        }],
        fate: FoundBy(&[
            T1,
            Test(
                "large_state::two_runs_with_one_state_share_its_chunks_and_the_last_one_takes_them_along",
            ),
        ]),
    },
    Mutant {
        bug: "a checkpoint of a large state does not refer to its chunks",
        patches: &[Patch {
            file: "src/step/history.rs",
            is: "            refer(plan, large.chunks())?;\n",
            becomes: "            let _ = large;\n",
        }],
        fate: FoundBy(&[
            T1,
            Test("checkpoints::a_checkpoint_of_a_large_state_keeps_its_chunks_and_gives_them_back"),
        ]),
    },
    Mutant {
        bug: "who lists a chunk no more is still counted",
        patches: &[Patch {
            file: "src/step/content.rs",
            is: "plan.put_aside(&count_key(id), &ContentRecord::Count(count - 1))?;",
            becomes: "let _ = count;",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        bug: "a chunk that nobody lists any more stays",
        patches: &[Patch {
            file: "src/step/content.rs",
            is: "plan.forget(Table::Contents, &chunk_key(id));",
            becomes: "",
        }],
        fate: FoundBy(&[
            T1,
            Test("large_state::a_state_that_grows_and_shrinks_leaves_no_chunk_behind"),
        ]),
    },
    Mutant {
        bug: "a chunk goes while others list it",
        patches: &[Patch {
            file: "src/step/content.rs",
            is: "match referrers(plan, id)? {",
            becomes: "match referrers(plan, id)?.min(1) {",
        }],
        fate: FoundBy(&[
            T1,
            Test("checkpoints::a_checkpoint_of_a_large_state_keeps_its_chunks_and_gives_them_back"),
        ]),
    },
    Mutant {
        bug: "a chunk is believed whatever its name says",
        patches: &[Patch {
            file: "src/step/content.rs",
            is: ".filter(|bytes| ChunkId::of(bytes) == id)",
            becomes: ".filter(|_| ChunkId::of(&id.0) != id)",
        }],
        fate: FoundBy(&[Test(
            "large_state::a_chunk_that_is_damaged_or_missing_or_another_one_is_told_and_never_taken",
        )]),
    },
    Mutant {
        bug: "a checkpoint is loaded whatever its id says",
        patches: &[Patch {
            file: "src/step/history.rs",
            is: "if content.id([bytes.as_slice()]) != record.id {",
            becomes: "if content.id([bytes.as_slice()]) != record.id && false {",
        }],
        fate: FoundBy(&[Test(
            "checkpoints::a_damaged_checkpoint_is_told_and_never_loaded_and_stops_no_step",
        )]),
    },
    Mutant {
        bug: "a checkpoint goes without a line in the index",
        patches: &[Patch {
            file: "src/step/history.rs",
            is: "plan.put_aside(&id_key(&record.id, place), &CheckpointRow::Id)?;",
            becomes: "",
        }],
        fate: FoundBy(&[Test("checkpoints::checkpoints_are_what_a_list_of_states_would_be")]),
    },
    Mutant {
        bug: "the line in the index of a checkpoint that goes stays",
        patches: &[Patch {
            file: "src/step/history.rs",
            is: "plan.forget(Table::Checkpoints, &id_key(&record.id, &place));",
            becomes: "",
        }],
        fate: FoundBy(&[T1]),
    },
    Mutant {
        bug: "checkpoints that go are still counted",
        patches: &[Patch {
            file: "src/step/history.rs",
            is: "history.count = history.count.saturating_sub(1);",
            becomes: "",
        }],
        fate: FoundBy(&[Test("retention::only_the_last_so_many_stay_and_they_stay_what_they_are")]),
    },
    Mutant {
        bug: "what a checkpoint differs from goes before it",
        patches: &[Patch {
            file: "src/step/history.rs",
            is: "removal.whole.extend(made_whole(rows, run, *sequence, sequences)?);",
            becomes: "",
        }],
        fate: FoundBy(&[
            T1,
            Test(
                "checkpoints::a_checkpoint_in_the_middle_goes_and_its_neighbours_stay_what_they_are",
            ),
        ]),
    },
    Mutant {
        bug: "a retention lets go of the newest checkpoint",
        patches: &[Patch {
            file: "src/store/retention.rs",
            is: "newer > 0 && (is_surplus || bytes > self.keep_bytes)",
            becomes: "is_surplus || bytes > self.keep_bytes",
        }],
        fate: FoundBy(&[Test("retention::the_oldest_go_while_all_states_together_are_too_large")]),
    },
    Mutant {
        bug: "a retention lets go of a pinned checkpoint",
        patches: &[Patch {
            file: "src/step/retain.rs",
            is: "if !record.pinned && !is_doubted(doubts, place.sequence, next) {",
            becomes: "if !is_doubted(doubts, place.sequence, next) {",
        }],
        fate: FoundBy(&[Test("retention::what_is_pinned_stays_and_does_not_save_its_neighbours")]),
    },
    Mutant {
        bug: "what was pinned after a plan was made goes with it",
        patches: &[Patch {
            file: "src/step/retain.rs",
            is: "            !record.pinned && newest",
            becomes: "            newest",
        }],
        fate: FoundBy(&[Test(
            "retention::a_plan_says_what_goes_and_changes_nothing_until_it_is_applied",
        )]),
    },
    Mutant {
        bug: "a retention lets go of the state that an effect in doubt was decided in",
        patches: &[Patch {
            file: "src/step/retain.rs",
            is: "if !record.pinned && !is_doubted(doubts, place.sequence, next) {",
            becomes: "if !record.pinned && !is_doubted(&[], place.sequence, next) {",
        }],
        fate: FoundBy(&[Test(
            "retention::the_checkpoint_before_an_effect_in_doubt_stays_until_it_is_settled",
        )]),
    },
    // Time.
    Mutant {
        bug: "a key expires at half its time",
        patches: &[Patch {
            file: "src/step/seen.rs",
            is: "from.saturating_add(ttl_ms)",
            becomes: "from.saturating_add(ttl_ms / 2)",
        }],
        fate: FoundBy(&[T13]),
    },
    Mutant {
        bug: "a clock that goes back lets a key expire early",
        patches: &[Patch {
            file: "src/step/seen.rs",
            is: "plan.now().max(plan.lived()).max(issued.unwrap_or_default())",
            becomes: "plan.now().max(issued.unwrap_or_default())",
        }],
        fate: FoundBy(&[T13]),
    },
    Mutant {
        bug: "what was forgotten is new again under the time at which it was asked for",
        patches: &[Patch {
            file: "src/step/expire.rs",
            is: "plan.raise_horizon(at);",
            becomes: "",
        }],
        fate: FoundBy(&[T13]),
    },
    Mutant {
        bug: "a leap of the clock between two openings is believed",
        patches: &[Patch {
            file: "src/store/head.rs",
            is: "&& reading.leaps(self.high_water, 0)",
            becomes: "&& reading.leaps(self.high_water, 0)\n                && false",
        }],
        fate: FoundBy(&[T13]),
    },
    // Bytes.
    Mutant {
        bug: "a row is believed whatever its checksum says",
        patches: &[Patch {
            file: "src/record/frame.rs",
            is: "if said != has {",
            becomes: "if said != has && false {",
        }],
        fate: FoundBy(&[T7B, T15]),
    },
    Mutant {
        bug: "the checksum of a row is taken in another order than it always was",
        patches: &[Patch {
            file: "src/record/frame.rs",
            is: "    crc.update(head);\n    crc.update(payload);\n",
            becomes: "    crc.update(payload);\n    crc.update(head);\n",
        }],
        fate: FoundBy(&[T16]),
    },
    Mutant {
        bug: "a length is believed before there are so many bytes",
        patches: &[Patch {
            file: "src/record/codec.rs",
            is: "let (value, used) = match bytes.len() {\n",
            becomes: "let (value, used) = match bytes.len() {\n        \
                      0..=PAYLOAD_BYTES_MAX => bincode::serde::decode_from_slice(bytes, base),\n",
        }],
        fate: FoundBy(&[T14, Test("security::records_with_lengths_that_lie_are_read_in_256_mib")]),
    },
    Mutant {
        bug: "bytes behind a value are passed over",
        patches: &[Patch {
            file: "src/record/codec.rs",
            is: "left => Err(DecodeError::LeftOver { name: type_name::<T>(), left }),",
            becomes: "_ => Ok(value),",
        }],
        fate: FoundBy(&[T15]),
    },
    Mutant {
        bug: "a state of another version is opened",
        patches: &[Patch {
            file: "src/ledger/schema.rs",
            is: "match stored.version.cmp(&version) {",
            becomes: "match version.cmp(&version) {",
        }],
        fate: FoundBy(&[T15]),
    },
    Mutant {
        bug: "`verify` calls every store sound",
        patches: &[Patch {
            file: "src/ops/verify.rs",
            is: "        self.pages.is_none()\n            && self.lost_commits",
            becomes: "        true || self.lost_commits",
        }],
        fate: FoundBy(&[T7B]),
    },
    Mutant {
        bug: "an error shows the value that it is about",
        patches: &[Patch {
            file: "src/step/unfit.rs",
            is: "\"{} was written as another type: {error}. Read it as that one; nothing was changed\",\n                what()\n",
            becomes: "\"{} is {}: {error}\", what(), String::from_utf8_lossy(payload.bytes())\n",
        }],
        fate: FoundBy(&[Test("security::no_handle_and_no_error_prints_a_payload")]),
    },
    // Values.
    Mutant {
        bug: "a value that is read as another one is acknowledged",
        patches: &[Patch {
            file: "src/record/proof.rs",
            is: "if again.bytes != bytes {",
            becomes: "if again.bytes != bytes && false {",
        }],
        fate: FoundBy(&[
            T24,
            Test("comes_back::a_value_that_its_own_type_changes_is_invalid_at_the_step"),
        ]),
    },
    Mutant {
        bug: "a value is read as a type whose fields stand in other places",
        patches: &[Patch {
            file: "src/step/values.rs",
            is: "        check_same::<T>(&schema.form, what)?;\n",
            becomes: "",
        }],
        fate: FoundBy(&[
            T24,
            Test("values::two_fields_that_changed_places_are_never_read_as_each_other"),
        ]),
    },
    Mutant {
        bug: "an intent that cannot be read ends the pass of its relay",
        patches: &[Patch {
            file: "src/exec/relay.rs",
            is: "Err(error) => report.set_aside(id, &error),",
            becomes: "Err(error) => return Err(error),",
        }],
        fate: FoundBy(&[T24]),
    },
    Mutant {
        bug: "a payload whose type panics over it ends the pass of its relay",
        patches: &[Patch {
            file: "src/record/payload.rs",
            is: "refusing(|| decode_same(&self.bytes.0))",
            becomes: "decode_same(&self.bytes.0)",
        }],
        fate: FoundBy(&[T24, Test("values::a_payload_whose_type_panics_over_it_is_set_aside")]),
    },
    Mutant {
        bug: "a `Vec` is believed to have an order by its name",
        patches: &[Patch {
            file: "src/record/writing.rs",
            is: "            Order::Kept | Order::Unknown => self.sorts_unsure(place, entries),\n        }\n    }\n\n    /// Whether a map",
            becomes: "            Order::Kept => self.was_seen_without(place),\n            Order::Unknown => self.sorts_unsure(place, entries),\n        }\n    }\n\n    /// Whether a map",
        }],
        fate: FoundBy(&[Test(
            "sets::a_set_that_is_written_as_a_list_is_canonical_from_its_first_value",
        )]),
    },
    // Setting back.
    Mutant {
        bug: "the note of how far a store has come ends with its closing",
        patches: &[Patch {
            file: "src/store/lock.rs",
            is: "let _ = self.file.set_len(NOTE_BYTES);",
            becomes: "let _ = self.file.set_len(0 * NOTE_BYTES);",
        }],
        fate: FoundBy(&[T17]),
    },
    Mutant {
        bug: "a copy passes for the original",
        patches: &[Patch {
            file: "src/store/raise.rs",
            is: "(OnCopy::Refuse, Some(why)) => return Err(is_copy(store, why)),",
            becomes: "(OnCopy::Refuse, Some(why)) => drop(is_copy(store, why)),",
        }],
        fate: FoundBy(&[Test(
            "copies::a_copy_of_a_live_store_is_refused_and_is_a_store_of_its_own_when_told",
        )]),
    },
    Mutant {
        bug: "the original comes to the incarnation of a copy",
        patches: &[Patch {
            file: "src/store/raise.rs",
            is: "Some(_) => life_of_a_copy(head.incarnation, now),",
            becomes: "Some(_) => head.incarnation.next(),",
        }],
        fate: FoundBy(&[Test(
            "copies::an_original_that_is_set_back_never_comes_to_the_incarnation_of_a_copy",
        )]),
    },
    Mutant {
        bug: "an empty store is made where one was",
        patches: &[Patch {
            file: "src/store/open.rs",
            is: "return Err(left.store_is_gone(path));",
            becomes: "drop(left.store_is_gone(path));",
        }],
        fate: FoundBy(&[Test("copies::no_empty_store_is_made_where_one_was")]),
    },
    Mutant {
        bug: "a store that was set back sends before it is reconciled",
        patches: &[
            Patch { file: "src/step/claim.rs", is: "Unreconciled::refuse(plan)?;", becomes: "" },
            Patch {
                file: "src/step/deliver.rs",
                is: "Unreconciled::refuse(&*store.read()?)?;",
                becomes: "",
            },
            Patch { file: "src/step/intents.rs", is: "Unreconciled::refuse(plan)?;", becomes: "" },
        ],
        fate: FoundBy(&[T17]),
    },
    Mutant {
        bug: "a store that was set back goes on in the same life",
        patches: &[Patch {
            file: "src/step/reconcile.rs",
            is: "    plan.begin_life();\n",
            becomes: "",
        }],
        fate: FoundBy(&[T17]),
    },
    // Making the file shorter, and looking at the commit before the newest.
    Mutant {
        bug: "what is read after a compaction is still that there is nothing to read",
        patches: &[Patch {
            file: "src/store/compact.rs",
            is: "            self.show(engine.snapshot()?);\n",
            becomes: "",
        }],
        fate: FoundBy(&[Test("shut_down::on_a_full_disk_a_file_is_made_shorter")]),
    },
    Mutant {
        bug: "a page of an earlier commit passes for one of the newest",
        patches: &[Patch {
            file: "src/ops/repair.rs",
            is: "if !others.is_empty() && !options.accept_missing_rows {",
            becomes: "if others.len() > 99 && !options.accept_missing_rows {",
        }],
        fate: FoundBy(&[Test(
            "older_slot::a_page_of_an_earlier_commit_never_passes_for_one_of_the_newest",
        )]),
    },
    Mutant {
        bug: "an epoch that was begun is forgotten with the slot it was in",
        patches: &[Patch {
            file: "src/store/inspect.rs",
            is: "(head.clean && inspection.was_closed)",
            becomes: "(head.clean || inspection.was_closed)",
        }],
        fate: FoundBy(&[Test(
            "older_slot::after_any_history_the_commit_before_a_damaged_one_is_given_back_as_it_was",
        )]),
    },
    Mutant {
        bug: "what a close cut off is taken for lost",
        patches: &[Patch {
            file: "src/store/inspect.rs",
            is: "            if longer.read.is_ok() {",
            becomes: "            if longer.read.is_err() {",
        }],
        fate: FoundBy(&[Test(
            "older_slot::after_any_history_the_commit_before_a_damaged_one_is_given_back_as_it_was",
        )]),
    },
];
