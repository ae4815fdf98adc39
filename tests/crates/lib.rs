//! States of every crate in `docs/guide/what-a-state-may-hold.md`; the tests are in `tests/`.
