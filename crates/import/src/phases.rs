//! The checkpoint of a pipeline of phases.

use std::path::Path;

use milepost::{Result, Store};

use crate::check::{At, Found, Wrong};
use crate::document::{self, document};
use crate::error::invalid;
use crate::json::{Json, Layout};
use crate::report::ImportReport;
use crate::source::write_new;

/// The statuses that are known, in whatever case, and with or without the name of an enum before them,
/// as Python's `str` writes it; others are kept as they are, and remarked on.
const STATUSES: [&str; 6] = ["pending", "running", "in_progress", "completed", "failed", "skipped"];

document! {
    /// The checkpoint of a pipeline of phases, as in `checkpoint_<test id>.json`: of each phase its
    /// status, times, retries and error, and whatever else it returned.
    ///
    /// It is a state like any other: a run holds it, [`Migrations`](milepost::Migrations) make a type of
    /// yours of it. Fields that are not known here are kept, and given back in their place.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (old, new) = (dir.path().join("checkpoint_1.json"), dir.path().join("new.json"));
    /// # std::fs::write(&old, r#"{"test_id": "1", "phases": {"plan": {"status": "completed",
    /// #     "cost": 0.62}}}"#).unwrap();
    /// use milepost::Store;
    /// use milepost_import::PhasesFile;
    /// let store = Store::in_memory()?;
    /// PhasesFile::read(&old)?.import(&store, "pipeline-1")?;
    /// let run = store.run::<PhasesFile>("pipeline-1")?;
    /// assert_eq!(run.state().status("plan"), Some("completed"));
    /// assert_eq!(run.state().next()?, None);
    /// PhasesFile::of_run(&store, "pipeline-1")?.write(&new)?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    PhasesFile, "milepost.phases", check
}

impl PhasesFile {
    /// Reads a file that the old program wrote. The file is not changed, whatever is in it.
    ///
    /// # Errors
    /// `Damaged` if it is not what that program writes, with file, byte and field;
    /// `NotFound`; `Invalid` for what is no regular file; `LimitExceeded` over 64 MiB; `Io`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        document::read(path.as_ref(), check).map(Self)
    }

    /// Writes it down as the state of a run; all of it is durable when it returns. Doing that again
    /// changes nothing. Steps are the phases that are completed or skipped.
    ///
    /// # Errors
    /// `Conflict` if a run of that name has gone on since, was imported from something else, or is
    /// open; `Invalid` for a bad name, or a document that is none; those of a commit.
    pub fn import(&self, store: &Store, run: &str) -> Result<ImportReport> {
        let found = document::validate(&self.0, check).map_err(invalid)?;
        document::import(store, run, self, found)
    }

    /// Writes a new file for the old program; it is durable when this returns.
    ///
    /// # Errors
    /// `Conflict` if something stands at the path; `Invalid` for a document that the old program could
    /// not read; `Io`, `NoSpace` or `NotFound`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        document::validate(&self.0, check).map_err(invalid)?;
        write_new(path.as_ref(), &(Layout::FILE.write(&self.0) + "\n"))
    }

    /// Which work the phases are of.
    #[must_use]
    pub fn test_id(&self) -> &str {
        self.0.get("test_id").and_then(Json::as_text).unwrap_or_default()
    }

    /// The phases in their order, with all that is known of each.
    #[must_use]
    pub fn phases(&self) -> &[(String, Json)] {
        self.0.get("phases").map_or(&[], Json::fields)
    }

    /// The status of a phase, in the old program's word.
    #[must_use]
    pub fn status(&self, phase: &str) -> Option<&str> {
        self.0.get("phases")?.get(phase)?.get("status")?.as_text()
    }

    /// The first phase that is neither completed nor skipped: where the work goes on. `None` if there
    /// is none.
    ///
    /// # Errors
    /// `Invalid` if a phase before it, or it itself, has a status that is not known: it may have been
    /// done. Find out, and set its status through [`json_mut`](PhasesFile::json_mut).
    pub fn next(&self) -> Result<Option<&str>> {
        for (name, phase) in self.phases() {
            let status = phase.get("status").unwrap_or(&Json::Null);
            match known(status) {
                Some(status) if is_done(status) => {}
                Some(_) => return Ok(Some(name)),
                None => {
                    return Err(invalid(format!(
                        "the phase `{name}` has a status that is not known, so whether it was done \
                         is not either: find out, and set it to \"completed\" or \"pending\""
                    )));
                }
            }
        }
        Ok(None)
    }
}

impl Default for PhasesFile {
    /// No phase.
    fn default() -> Self {
        let mut fields = vec![("test_id".to_owned(), "".into())];
        fields.push(("phases".to_owned(), Json::Object(Vec::new())));
        Self(Json::Object(fields))
    }
}

/// The status that a word means: `completed`, `COMPLETED` and `PhaseStatus.COMPLETED` are one.
fn known(status: &Json) -> Option<&'static str> {
    let word = status.as_text()?.rsplit('.').next()?;
    STATUSES.into_iter().find(|status| status.eq_ignore_ascii_case(word))
}

fn is_done(status: &str) -> bool {
    matches!(status, "completed" | "skipped")
}

fn check(json: &Json) -> Result<Found, Wrong> {
    let root = At::root(json);
    root.fields()?;
    root.need_or_null("test_id")?.map_or(Ok(""), |id| id.text())?;
    root.each(&["test_name", "current_phase", "user_request"], At::text)?;
    root.each(&["started_at", "last_updated_at"], At::time)?;
    root.each(&["total_duration_seconds"], At::number)?;
    root.each(&["total_retries"], At::count)?;
    let mut found = Found::default();
    let phases = root.need_or_null("phases")?.map_or(Ok(Vec::new()), |phases| phases.fields())?;
    for (name, phase) in &phases {
        phase.fields()?;
        let status = phase.need_or_null("status")?;
        let word = status.as_ref().map_or(Ok("null"), At::name)?;
        phase.each(&["phase_name"], At::text)?;
        phase.each(&["started_at", "completed_at"], At::time)?;
        phase.each(&["duration_seconds"], At::number)?;
        phase.each(&["retry_count"], At::count)?;
        match status.and_then(|status| known(status.json)) {
            Some(status) => found.steps += u64::from(is_done(status)),
            None => found.remarks.push(format!(
                "the phase `{name}` has the unknown status `{word}`: nothing goes on before it is \
                 known whether it was done"
            )),
        }
        let own = phase.field("phase_name");
        if let Some(own) = own.as_ref().and_then(|own| own.json.as_text()).filter(|own| own != name)
        {
            found.remarks.push(format!("the phase `{name}` calls itself `{own}`"));
        }
    }
    let current = root.field("current_phase");
    if let Some(current) = current.as_ref().and_then(|current| current.json.as_text())
        && !phases.iter().any(|(name, _)| *name == current)
    {
        found.remarks.push(format!("the current phase `{current}` is not among the phases"));
    }
    Ok(found)
}
