//! The way from one version of a type to the next.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::unfit::unstorable;
use super::valid::{check_valid, read_valid};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Form, SchemaRecord, TypeVersion, Versioned, check_form, check_schema};
use crate::record::Payload;

/// How the versions of your types become one another: one function for each step from a version to
/// the next.
///
/// Keep the old struct, under a name of its own, with its old `VERSION`:
///
/// ```
/// use milepost::{Migrations, Store, Versioned};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct MomentumV1 { cash: u64 }
/// impl Versioned for MomentumV1 { const NAME: &'static str = "momentum"; const VERSION: u32 = 1; }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Momentum { cents: u64, fees: u64 }
/// impl Versioned for Momentum { const NAME: &'static str = "momentum"; const VERSION: u32 = 2; }
///
/// # let store = Store::in_memory()?;
/// # store.run::<MomentumV1>("spy-daily")?.step("bar-1", 1, |tx| Ok(tx.state.cash = 7))?;
/// let migrations = Migrations::new()
///     .step(|old: MomentumV1| Ok(Momentum { cents: old.cash * 100, fees: 0 }));
/// let run = store.open_run::<Momentum>("spy-daily").migrations(&migrations).open()?;
/// assert_eq!(run.state().cents, 700);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Default)]
#[must_use = "hand it to `OpenRun::migrations` or `Store::migrate`"]
pub struct Migrations {
    links: Vec<Link>,
    /// Types that are of their version although no step leads to them.
    types: Vec<TypeVersion>,
}

/// One step of the way.
struct Link {
    from: TypeVersion,
    to: TypeVersion,
    #[expect(clippy::type_complexity, reason = "it is what a closure on payloads is called")]
    work: Box<dyn Fn(&Payload) -> Result<Payload> + Send + Sync>,
}

impl Migrations {
    /// No steps: every state must be of the version that is asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the step from one version to the next, or from one type to another. An `Err`
    /// ([`Error::abort`]) or a panic of `work` refuses the migration, and nothing is changed.
    ///
    /// `work` may be called more than once for one state, and its result thrown away: it should do
    /// nothing but compute.
    pub fn step<From, To>(
        mut self,
        work: impl Fn(From) -> Result<To> + Send + Sync + 'static,
    ) -> Self
    where
        From: Versioned + DeserializeOwned + 'static,
        To: Versioned + Serialize + DeserializeOwned + 'static,
    {
        let work = move |stored: &Payload| {
            let old = read_valid::<From>(stored)?;
            let new = catch_unwind(AssertUnwindSafe(|| work(old)))
                .unwrap_or_else(|panic| Err(panicked(&*panic)))?;
            check_valid(&new)?;
            Payload::in_codec(To::CODEC, &new, stored.bytes().len())
                .map(|proven| proven.bytes)
                .map_err(|error| unstorable(&error))
        };
        let (from, to) = (TypeVersion::of::<From>(), TypeVersion::of::<To>());
        self.links.push(Link { from, to, work: Box::new(work) });
        self
    }

    /// Says that values of this type are of its [`VERSION`](Versioned::VERSION), although no step leads
    /// to it: see [`Options::value_migrations`](crate::Options::value_migrations). What is stored of an
    /// older version is refused.
    pub fn version<T>(mut self) -> Self
    where
        T: Versioned + DeserializeOwned + 'static,
    {
        self.types.push(TypeVersion::of::<T>());
        self
    }

    /// The way from a stored type to the one that is wanted, or as far as it goes.
    ///
    /// # Errors
    /// `SchemaMismatch` if a step of it is missing, `TooNew` if there is no way back; `Invalid` if
    /// the steps branch, or go round in a circle.
    pub(super) fn way(
        &self,
        stored: &SchemaRecord,
        wanted: Option<&TypeVersion>,
    ) -> Result<Way<'_>> {
        let mut links: Vec<&Link> = Vec::new();
        loop {
            let (name, version) = links
                .last()
                .map_or((stored.name.as_str(), stored.version), |at| (at.to.name, at.to.version));
            if wanted.is_some_and(|wanted| wanted.is(name, version)) {
                break;
            }
            let mut next = self.links.iter().filter(|link| link.from.is(name, version));
            match (next.next(), wanted) {
                (Some(link), _) if next.next().is_some() || links.len() == self.links.len() => {
                    return Err(Error::invalid(format!(
                        "the migrations branch, or go round in a circle, at {}: one step from each \
                         version. Nothing was changed",
                        link.from
                    )));
                }
                (Some(link), _) => links.push(link),
                (None, None) => break,
                (None, Some(wanted)) if links.is_empty() && !self.knows(&stored.name) => {
                    check_schema(stored, wanted.name, wanted.version)?;
                    break;
                }
                (None, Some(wanted)) => return Err(missing(stored, (name, version), wanted)),
            }
        }
        if let Some(first) = links.first() {
            check_form(&first.from.to_string(), &stored.form, &first.from.form()?)?;
        }
        for (link, next) in links.iter().zip(links.iter().skip(1)) {
            check_form(&next.from.to_string(), &link.to.form()?, &next.from.form()?)?;
        }
        Ok(Way { links })
    }

    /// The version of a type of values: what the steps say of it, or else 1.
    pub(super) fn version_of(&self, of: TypeId) -> u32 {
        self.type_of(of).map_or(1, |known| known.version)
    }

    fn type_of(&self, of: TypeId) -> Option<TypeVersion> {
        let ends = self.links.iter().flat_map(|link| [link.from, link.to]);
        ends.chain(self.types.iter().copied()).find(|end| end.type_id == of)
    }

    /// The way from a stored value of an older version to a type. Values are stored without the names
    /// of their types: the version and the shape say where the way begins.
    ///
    /// # Errors
    /// Those of [`way`](Self::way).
    pub(super) fn way_of_value(&self, stored: &SchemaRecord, to: TypeId) -> Result<Way<'_>> {
        let wanted = self.type_of(to);
        let mut name = wanted.map_or("", |wanted| wanted.name);
        let mut version = wanted.map_or(1, |wanted| wanted.version);
        for _ in &self.links {
            if version == stored.version {
                break;
            }
            if let Some(link) = self.links.iter().find(|link| link.to.is(name, version)) {
                (name, version) = (link.from.name, link.from.version);
            }
        }
        self.way(&SchemaRecord { name: name.to_owned(), ..stored.clone() }, wanted.as_ref())
    }

    /// Whether a step begins at a type of this name.
    fn knows(&self, name: &str) -> bool {
        self.links.iter().any(|link| link.from.name == name)
    }

    /// Whether a version of a type is newer than all that are known here.
    pub(super) fn is_newer(&self, name: &str, version: u32) -> bool {
        let ends = self.links.iter().flat_map(|link| [link.from, link.to]);
        let newest = ends.filter(|end| end.name == name).map(|end| end.version).max();
        newest.is_some_and(|newest| newest < version)
    }
}

/// The steps that lead from a stored state to another version of it.
pub(super) struct Way<'m> {
    links: Vec<&'m Link>,
}

impl Way<'_> {
    /// What it ends at, if there is something to be done.
    pub(super) fn end(&self) -> Option<&TypeVersion> {
        self.links.last().map(|link| &link.to)
    }

    /// What a stored state looks like at its end.
    pub(super) fn leads_to<'s>(&self, stored: &'s SchemaRecord) -> Result<Cow<'s, Form>> {
        self.end().map_or(Ok(Cow::Borrowed(&stored.form)), |end| end.form().map(Cow::Owned))
    }

    /// The state at its end; `None` if it is there already.
    pub(super) fn migrate(&self, stored: &Payload) -> Result<Option<Payload>> {
        let mut migrated = None;
        for link in &self.links {
            let step = (link.work)(migrated.as_ref().unwrap_or(stored)).map_err(|error| {
                error.context(format!("the migration from {} to {}", link.from, link.to))
            })?;
            migrated = Some(step);
        }
        Ok(migrated)
    }
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.links.iter().map(|link| format!("{} to {}", link.from, link.to));
        f.debug_list().entries(steps).finish()
    }
}

fn missing(stored: &SchemaRecord, (name, version): (&str, u32), wanted: &TypeVersion) -> Error {
    let (kind, advice) = if stored.name == wanted.name && stored.version > wanted.version {
        (ErrorKind::TooNew, "upgrade the program".to_owned())
    } else {
        let advice = format!(
            "the step from `{name}` version {version} is missing: add it to the `Migrations`"
        );
        (ErrorKind::SchemaMismatch, advice)
    };
    Error::new(
        kind,
        format!(
            "the state was written as `{}` version {}, this program has {wanted}: {advice}. Nothing \
             was changed",
            stored.name, stored.version
        ),
    )
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(
        ErrorKind::Aborted,
        format!("it panicked: {}. Nothing was changed", said.unwrap_or("without a word")),
    )
}
