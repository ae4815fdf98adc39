//! How a run is opened: [`Store::run`] for most programs, [`OpenRun`] for all that can be asked for.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migrations::Migrations;
use super::on_damage::OnDamage;
use super::pick_up::{First, pick_up};
use super::run::Run;
use super::saves::{Autosave, Saves};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::Versioned;
use crate::store::{HoldKind, Retention, Store};

/// How a run is to be opened: see [`Store::open_run`].
#[must_use = "nothing is opened before `open` is called"]
pub struct OpenRun<'a, S> {
    store: &'a Store,
    name: &'a str,
    init: Option<Box<dyn FnOnce() -> S + 'a>>,
    migrations: Option<&'a Migrations>,
    on_damage: OnDamage,
    autosave: Option<Autosave>,
    retention: Option<Retention>,
}

impl Store {
    /// Opens a run: with its newest state and position, or from the start with `S::default()` if
    /// there is none of that name. When it returns, it is durable that this epoch picked it up.
    ///
    /// # Example: where a program continues
    ///
    /// ```
    /// use milepost::{Store, Versioned};
    ///
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// struct Momentum {
    ///     holdings: i64,
    /// }
    ///
    /// impl Versioned for Momentum {
    ///     const NAME: &'static str = "momentum";
    ///     const VERSION: u32 = 1;
    /// }
    ///
    /// let store = Store::in_memory()?;
    /// let run = store.run::<Momentum>("spy-daily")?;
    /// assert_eq!((run.next_index(), run.state().holdings), (0, 0));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Conflict` if this process has the run open already; `SchemaMismatch` if the state was
    /// written as another type, an older version, or with other fields under the same version, which
    /// the error names; `TooNew` if as a newer one; `Invalid` if the type cannot be stored;
    /// `Aborted` if [`Versioned::validate`] refuses the state; `BeyondHorizon` if the run was ended
    /// and removed; `Damaged` if its bytes are not what was written. Nothing was changed then.
    pub fn run<S>(&self, name: &str) -> Result<Run<S>>
    where
        S: Versioned + Serialize + DeserializeOwned + Default + 'static,
    {
        self.open_run(name).init(S::default).open()
    }

    /// A run to be opened by [`OpenRun::open`], for all that [`run`](Store::run) does not ask: the
    /// first state of a type without `Default`, migrations, damage, and which checkpoints are saved.
    ///
    /// # Example: a first state that is not the default
    ///
    /// ```
    /// use milepost::{Autosave, Store, Versioned};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Account {
    ///     owner: String,
    ///     cents: i64,
    /// }
    ///
    /// impl Versioned for Account {
    ///     const NAME: &'static str = "account";
    ///     const VERSION: u32 = 1;
    /// }
    ///
    /// let store = Store::in_memory()?;
    /// let mut run = store
    ///     .open_run("account-7")
    ///     .init(|| Account { owner: "Ada".to_owned(), cents: 10_000 })
    ///     .autosave(Autosave::every_steps(1_000))
    ///     .open()?;
    /// run.step("deposit-1", 0, |tx| {
    ///     tx.state.cents += 500;
    ///     Ok(())
    /// })?;
    /// drop(run);
    /// // Without `init` it is opened only if it is there.
    /// let run = store.open_run::<Account>("account-7").open()?;
    /// assert_eq!((run.state().owner.as_str(), run.state().cents), ("Ada", 10_500));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn open_run<'a, S>(&'a self, name: &'a str) -> OpenRun<'a, S> {
        OpenRun {
            store: self,
            name,
            init: None,
            migrations: None,
            on_damage: OnDamage::Fail,
            autosave: None,
            retention: None,
        }
    }
}

impl<'a, S> OpenRun<'a, S> {
    /// Begins the run with this state if there is none of that name. Without it, such a run is
    /// `NotFound`. It is called under no lock.
    pub fn init(mut self, init: impl FnOnce() -> S + 'a) -> Self {
        self.init = Some(Box::new(init));
        self
    }

    /// Migrates a state of an older version. The migrated state is written with the next step, or
    /// with [`Run::rewind`]; until then the run is stored as it was, and the older program can still
    /// open it.
    pub fn migrations(mut self, migrations: &'a Migrations) -> Self {
        self.migrations = Some(migrations);
        self
    }

    /// What to do if the record of the run was damaged, and a repair put it into quarantine.
    /// [`Run::fell_back`] says what came of it. The damaged record stays in quarantine. If the run
    /// has emitted effects that its state does not know then, nothing is sent or claimed before
    /// [`Store::reconcile`] was called.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Saves a checkpoint every so often until the handle is dropped; the labels of the steps' own
    /// [`checkpoint`](crate::Tx::checkpoint)s stay theirs.
    pub fn autosave(mut self, autosave: Autosave) -> Self {
        self.autosave = Some(autosave);
        self
    }

    /// Which checkpoints of this run are kept, until the handle is dropped: in place of
    /// [`Options::retention`](crate::Options::retention).
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }
}

impl<S> OpenRun<'_, S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    /// Opens the run. When it returns, it is durable that this epoch picked it up, and what was done
    /// about damage.
    ///
    /// # Errors
    /// Those of [`Store::run`], of which `SchemaMismatch` names the migration that is missing, and
    /// `Aborted` is also what a migration that fails or panics ends with. `NotFound` if there is no
    /// run of that name and no [`init`](OpenRun::init); `Invalid` if the migrations branch, or form a
    /// circle; `Damaged` too if no checkpoint to fall back on is intact. A record that is damaged and
    /// not in quarantine is `Damaged` whatever was asked for: close the store and run
    /// [`repair`](crate::repair) on it first. Nothing was changed then.
    pub fn open(self) -> Result<Run<S>> {
        let name = RunName::new(self.name)?;
        let hold = self.store.hold(HoldKind::Run, name.as_str().as_bytes())?.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("the run \"{name}\" is open in this process already: use that handle"),
            )
        })?;
        let none = Migrations::new();
        let migrations = self.migrations.unwrap_or(&none);
        let first = First::of(self.init);
        let picked = pick_up::<S>(self.store, &name, self.on_damage, migrations, first)?;
        let mut saves = Saves::new(picked.record.created);
        (saves.autosave, saves.retention) = (self.autosave, self.retention);
        Ok(Run::of(self.store, name, picked, saves, hold))
    }
}

impl<S> fmt::Debug for OpenRun<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRun").field("name", &self.name).finish_non_exhaustive()
    }
}
