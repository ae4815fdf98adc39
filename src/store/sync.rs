//! The primitives that the line of groups is built on, by one name, so that the model check can put
//! its own in their place.

pub(super) use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(super) use std::task::Waker;
pub(super) use std::thread::{Thread, current, park, yield_now};
