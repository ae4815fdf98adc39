//! What reads go through on their way to the durable state: the rows of groups that are on their way
//! to the disk.

use std::collections::BTreeMap;

use super::line::State;
use super::overlay::{Group, Overlay};
use super::rows::Value;
use super::snapshot::{Read, Row, Snapshot};
use super::tables::Table;
use crate::error::Result;

/// How far from the disk the rows are that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    Durable,
    InFlight,
    Open,
}

/// Rows in the order in which they hide one another.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    /// What a plan writes itself.
    pub(super) own: Option<&'a Overlay>,
    pub(super) open: &'a Overlay,
    pub(super) in_flight: Option<&'a Overlay>,
    pub(super) durable: &'a Snapshot,
}

impl<'a> Layers<'a> {
    /// Those of a call that has written nothing.
    pub(super) fn of<F>(state: &'a State<Group, F>, durable: &'a Snapshot) -> Self {
        let in_flight = state.in_flight.as_ref().map(|group| &group.rows);
        Self { own: None, open: &state.open.rows, in_flight, durable }
    }

    /// The layers above the disk, newest first.
    pub(super) fn above(self) -> impl Iterator<Item = (Depth, &'a Overlay)> {
        // A plan's own writes are as durable as the rest of it.
        let own = self.own.map(|rows| (Depth::Durable, rows));
        let in_flight = self.in_flight.map(|rows| (Depth::InFlight, rows));
        [own, Some((Depth::Open, self.open)), in_flight].into_iter().flatten()
    }

    /// What a layer above the disk says of a row: its value, or `None` for one that goes.
    pub(super) fn find(self, table: Table, key: &[u8]) -> Option<(Value<'a>, Depth)> {
        self.above().find_map(|(depth, rows)| Some((rows.get(table, key)?, depth)))
    }

    /// The bytes of a row, and where they were found.
    pub(super) fn get(self, table: Table, key: &[u8]) -> Result<(Option<Vec<u8>>, Depth)> {
        match self.find(table, key) {
            Some((value, depth)) => Ok((value.map(<[u8]>::to_vec), depth)),
            None => Ok((self.durable.get(table, key)?, Depth::Durable)),
        }
    }

    /// [`Read::scan`], and the newest layer that had one of the rows.
    pub(super) fn scan(
        self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        most: usize,
    ) -> Result<(Vec<Row>, Depth)> {
        let (above, depth) = self.rows_above(table, prefix, prefix.max(from), None);
        // Each row above hides at most one below.
        let most_below = most.saturating_add(above.len());
        let rows = merged(self.durable.scan(table, prefix, from, most_below)?, above);
        Ok((rows.into_iter().take(most).collect(), depth))
    }

    /// [`Read::scan_back`], and the newest layer that had one of the rows.
    pub(super) fn scan_back(
        self,
        table: Table,
        prefix: &[u8],
        below: &[u8],
        most: usize,
    ) -> Result<(Vec<Row>, Depth)> {
        let (above, depth) = self.rows_above(table, prefix, prefix, Some(below));
        let most_below = most.saturating_add(above.len());
        let rows = merged(self.durable.scan_back(table, prefix, below, most_below)?, above);
        Ok((rows.into_iter().rev().take(most).collect(), depth))
    }

    /// The rows above the disk whose keys begin with `prefix`, are not below `start`, and are below
    /// `below`.
    fn rows_above(
        self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
        below: Option<&[u8]>,
    ) -> (BTreeMap<&'a [u8], Value<'a>>, Depth) {
        let (mut above, mut newest) = (BTreeMap::new(), Depth::Durable);
        let is_wanted =
            |key: &[u8]| key.starts_with(prefix) && below.is_none_or(|below| key < below);
        for (depth, layer) in self.above() {
            let rows = layer.rows_of(table).into_iter().flat_map(|rows| rows.from(start));
            for (key, value) in rows.take_while(|(key, _)| is_wanted(key)) {
                newest = newest.max(depth);
                above.entry(key).or_insert(value);
            }
        }
        (above, newest)
    }
}

/// The rows below, with those above in their place.
fn merged(below: Vec<Row>, above: BTreeMap<&[u8], Value<'_>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows: BTreeMap<_, _> = below.into_iter().collect();
    for (key, value) in above {
        match value {
            Some(value) => rows.insert(key.to_vec(), value.to_vec()),
            None => rows.remove(key),
        };
    }
    rows
}
