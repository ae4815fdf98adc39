//! The calls people write: what goes in as a key or a position, and what an error says.

use std::collections::{BTreeMap, BTreeSet};

use milepost::{Key, Options, Position, Store};

use crate::support::{Counter, count, killed, on_disk};

/// Against: two numbers under one key, of which the second is never done.
#[test]
fn no_two_numbers_share_a_key_and_one_number_has_one_key_whatever_its_width() {
    let signed = [i64::MIN, i64::MIN + 1, -257, -256, -2, -1, 0, 1, 255, 256, i64::MAX];
    let unsigned = [0, 1, 255, 256, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX];
    let values: BTreeSet<i128> =
        signed.map(i128::from).into_iter().chain(unsigned.map(i128::from)).collect();
    let mut keys: Vec<Key> = Vec::new();
    for key in signed.map(Key::from).into_iter().chain(unsigned.map(Key::from)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    assert_eq!(keys.len(), values.len());
    for number in [0u32, 1, 255, u32::MAX] {
        let key = Key::from(u64::from(number));
        assert_eq!(Key::from(number), key);
        assert_eq!(Key::from(i64::from(number)), key);
        assert_eq!(Key::from(number as usize), key);
    }
    for number in [i32::MIN, -1, 0, i32::MAX] {
        assert_eq!(Key::from(number), Key::from(i64::from(number)));
    }
}

/// Against: a key that is another one after an upgrade of the store: its bytes are a promise.
#[test]
fn a_number_is_eight_bytes_big_endian_and_one_below_zero_has_a_sign() {
    assert_eq!(Key::from(0x0102_0304_0506_0708u64), Key::new([1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(Key::from(-2), Key::new(b"-\xff\xff\xff\xff\xff\xff\xff\xfe"));
    for key in [Key::from(b"order"), Key::from(*b"order"), Key::from("order")] {
        assert_eq!(key, Key::new(b"order"));
    }
}

/// Against: a text that is taken for a number, and a source that is asked from its start again.
#[test]
fn a_position_is_what_it_was_made_from() {
    assert_eq!(Position::from(7), Position::Index(7));
    assert_eq!(Position::from("7"), Position::Token("7".into()));
    assert_eq!(Position::from("7".to_owned()), Position::Token("7".into()));
    let offsets = BTreeMap::from([("eu".to_owned(), 5), ("us".to_owned(), 9)]);
    assert_eq!(Position::from(offsets.clone()), Position::Offsets(offsets.clone()));
    assert_eq!(Position::from([("us", 9), ("eu", 5)]), Position::Offsets(offsets));
}

/// Against: the last input done twice, or the first one never.
#[test]
fn the_next_index_is_zero_for_a_new_run_and_one_after_the_last_position_otherwise() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.next_index(), 0);
    count(&mut run, 0).unwrap();
    assert_eq!(run.next_index(), 1);
    count(&mut run, 7).unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.next_index(), 8);
    run.rewind(u64::MAX).unwrap();
    assert_eq!(run.next_index(), u64::MAX);
}

/// Against: a run by token that is asked for numbers, and does its first inputs again.
#[test]
fn numbers_are_refused_where_the_position_is_none() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("a", "page-1", |_| Ok(())).unwrap();
    let next = run.next_index();
    assert_eq!(next, 0);
    assert!(run.step("b", next, |_| Ok(())).is_err());
    assert_eq!(run.position(), &Position::from("page-1"));
}
