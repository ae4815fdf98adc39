//! What a fault class is: a numbered row of cases, each of which a seed decides.

use std::path::PathBuf;

use milepost::testing::Rng;

/// One row of the fault plan.
pub(crate) trait Class: Sync {
    /// Its number in the plan, such as `T1`.
    fn id(&self) -> &'static str;

    /// What goes wrong in it, in a few words.
    fn about(&self) -> &'static str;

    /// Makes what all its cases start from.
    ///
    /// # Errors
    /// Why it cannot be run here; the run then fails, since a class that was not run proves nothing.
    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String>;
}

/// The cases of a class under one seed.
pub(crate) trait Cases: Sync {
    /// How many cases make a run of the class, `scale` being 1 for the floor of the fault plan's "in
    /// CI" column. Exhaustive classes may ignore it.
    fn count(&self, scale: f64) -> u64;

    /// Runs one case: the same number does the same under the same seed. Panics are caught by the
    /// caller and count as a crash.
    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome;

    /// Whether cases may run beside each other.
    fn is_parallel(&self) -> bool {
        true
    }
}

/// What is the same for all classes of a run.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    /// How many trades the year of T18 has.
    pub(crate) trades: u64,
    /// A folder on a real disk, for classes that need one; each takes a folder of its own in it.
    pub(crate) folder: PathBuf,
}

/// What one case has to itself.
pub(crate) struct Scene {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    /// An empty folder, made when it is first asked for and removed with the case.
    folder: Option<tempfile::TempDir>,
    within: PathBuf,
}

impl Scene {
    pub(crate) fn new(setting: &Setting, class: &str, nth: u64) -> Self {
        let rng = Rng::of(setting.seed, class, nth);
        Self { seed: setting.seed, rng, folder: None, within: setting.folder.clone() }
    }

    /// An empty folder of this case.
    pub(crate) fn folder(&mut self) -> Result<PathBuf, String> {
        if self.folder.is_none() {
            let made = tempfile::Builder::new().prefix("case-").tempdir_in(&self.within);
            self.folder = Some(made.map_err(|error| format!("making a folder: {error}"))?);
        }
        Ok(self.folder.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default())
    }
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything acknowledged was there, and nothing else.
    Same,
    /// The store refused, with an error that says so, and touched nothing.
    TypedError,
    /// The newest commit is gone, whole, in the one place where the manual says that this may
    /// happen. Counted apart, so that nobody takes it for [`Same`](Self::Same).
    RolledBack,
    /// What the manual says can happen, by the name it has in the report. Counted apart too.
    Limit(&'static str),
    /// A wrong value, or an absence that is not true.
    Wrong(String),
    /// A panic, an abort, a hang or an allocation past the limits.
    Crash(String),
    /// Another invariant of the plan does not hold: which, and how.
    Violation(String),
}
