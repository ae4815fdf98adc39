//! Rows of the user's own, one after another.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::values::{Encoded, read_value};
use crate::error::{Error, Result};
use crate::id::RunName;
use crate::ledger::{RowRecord, row_key};
use crate::store::{Read, Row, Schemas, Snapshot, Store, Table, View, row_name};

/// How many rows are read at once.
const PAGE: usize = 64;

/// Rows of your own in the order of their keys, each with its key: see [`Tx::rows`](crate::Tx::rows)
/// and [`Run::rows`](crate::Run::rows).
#[must_use = "nothing is read before the first one is asked for"]
pub struct Rows<'a, T> {
    source: Source<'a>,
    /// What all stored keys begin with, and how much of that is not the user's own.
    prefix: Vec<u8>,
    named: usize,
    /// Where the next page begins; `None` after the last one.
    from: Option<Vec<u8>>,
    page: VecDeque<(Vec<u8>, Found<'a>)>,
    of: PhantomData<fn() -> T>,
}

/// What the closures of a call have written so far, by stored key; `None` is a row that they removed.
pub(super) type WrittenRows = BTreeMap<Vec<u8>, Option<Encoded>>;

/// Where rows are read.
#[derive(Clone)]
enum Source<'a> {
    /// What the store has, beneath what the step has written.
    Step { view: &'a View<'a>, written: &'a WrittenRows },
    /// One durable state, taken when the first row is asked for.
    Durable { store: &'a Store, rows: Option<Arc<Snapshot>> },
}

enum Found<'a> {
    Stored(Vec<u8>),
    Written(&'a Encoded),
}

impl<'a, T> Rows<'a, T> {
    pub(super) fn of_step(
        view: &'a View<'a>,
        written: &'a WrittenRows,
        run: &RunName,
        prefix: &[u8],
    ) -> Self {
        Self::of(Source::Step { view, written }, run, prefix)
    }

    pub(super) fn durable(store: &'a Store, run: &RunName, prefix: &[u8]) -> Self {
        Self::of(Source::Durable { store, rows: None }, run, prefix)
    }

    fn of(source: Source<'a>, run: &RunName, prefix: &[u8]) -> Self {
        let (named, prefix) = (row_key(run, &[]).len(), row_key(run, prefix));
        let from = Some(prefix.clone());
        Self { source, prefix, named, from, page: VecDeque::new(), of: PhantomData }
    }

    /// Continues after this key of yours, which may be there or not: the last one of the page before.
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        let named = self.prefix.get(..self.named).unwrap_or_default();
        let after = [named, key.as_ref(), &[0]].concat();
        self.from = self.from.map(|from| from.max(after));
        self.page.clear();
        self
    }

    fn fill(&mut self) -> Result<()> {
        while self.page.is_empty()
            && let Some(from) = self.from.take()
        {
            let stored = self.source.scan(&self.prefix, &from)?;
            let last = stored.last().filter(|_| stored.len() == PAGE).map(|(key, _)| key.clone());
            self.page = self.source.merged(stored, &self.prefix, &from, last.as_deref());
            self.from = last.map(|last| [last.as_slice(), &[0]].concat());
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    fn scan(&mut self, prefix: &[u8], from: &[u8]) -> Result<Vec<Row>> {
        match self {
            Self::Step { view, .. } => view.scan(Table::Rows, prefix, from, PAGE),
            Self::Durable { store, rows } => {
                let snapshot = rows.take().map_or_else(|| store.read(), Ok)?;
                rows.insert(snapshot).scan(Table::Rows, prefix, from, PAGE)
            }
        }
    }

    /// The stored rows with what the step has written from `from` up to `last`, which is the end of
    /// the page, or else of the rows.
    fn merged(
        &self,
        stored: Vec<Row>,
        prefix: &[u8],
        from: &[u8],
        last: Option<&[u8]>,
    ) -> VecDeque<(Vec<u8>, Found<'a>)> {
        let stored = stored.into_iter().map(|(key, row)| (key, Found::Stored(row)));
        let Self::Step { written, .. } = self else { return stored.collect() };
        let mut all: BTreeMap<_, _> = stored.collect();
        let changed = written
            .range(from.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take_while(|(key, _)| last.is_none_or(|last| key.as_slice() <= last));
        for (key, row) in changed {
            match row {
                Some(row) => drop(all.insert(key.clone(), Found::Written(row))),
                None => drop(all.remove(key)),
            }
        }
        all.into_iter().collect()
    }

    fn value<T>(&self, key: &[u8], found: Found<'a>) -> Result<T>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        match (self, found) {
            (Self::Step { view, .. }, Found::Written(row)) => {
                row.value(*view, || row_name(Table::Rows, key))
            }
            (Self::Step { view, .. }, Found::Stored(row)) => {
                row_value(*view, view.schemas(), &view.parse(key, &row)?, key)
            }
            (Self::Durable { store, rows: Some(rows) }, Found::Stored(row)) => {
                row_value(&**rows, store.schemas(), &rows.parse(key, &row)?, key)
            }
            (Self::Durable { .. }, _) => unreachable!("a durable row was read from its snapshot"),
        }
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Iterator for Rows<'_, T> {
    type Item = Result<(Vec<u8>, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            return Some(Err(error));
        }
        let (key, found) = self.page.pop_front()?;
        let value = self.source.value(&key, found);
        Some(value.map(|value| (key.get(self.named..).unwrap_or_default().to_vec(), value)))
    }
}

impl<T> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// The value of a row of the user's own.
pub(super) fn row_value<T: Serialize + DeserializeOwned + 'static>(
    rows: &impl Read,
    schemas: &Schemas,
    row: &RowRecord,
    key: &[u8],
) -> Result<T> {
    match row {
        RowRecord::Value(value) => read_value(rows, schemas, value, || row_name(Table::Rows, key)),
        RowRecord::Lost { quarantine } => Err(Error::damaged(format!(
            "{} was damaged, and is number {quarantine} in quarantine: write it again, or remove it",
            row_name(Table::Rows, key)
        ))),
    }
}
