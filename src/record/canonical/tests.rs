//! Equal values, equal bytes.

use super::*;
use std::collections::{BTreeSet, HashMap, HashSet};

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Writing::about(0);
    write(value, &mut out).unwrap();
    out.bytes
}

#[test]
fn equal_maps_give_equal_bytes_in_whatever_order_they_iterate() {
    let one: HashMap<String, u32> = (0..100).map(|n| (format!("k{n}"), n)).collect();
    let two: HashMap<String, u32> = (0..100).rev().map(|n| (format!("k{n}"), n)).collect();
    assert_eq!(bytes(&one), bytes(&two));
}

#[derive(Serialize)]
struct Holder {
    direct: HashSet<u64>,
    boxed: Box<Option<HashSet<String>>>,
    nested: Vec<HashSet<u8>>,
}

#[test]
fn equal_hash_sets_give_equal_bytes_wherever_they_stand() {
    let make = |order: &mut dyn Iterator<Item = u64>| {
        let mut holder = Holder { direct: HashSet::new(), boxed: Box::default(), nested: vec![] };
        let mut names = HashSet::new();
        let mut small = HashSet::new();
        for n in order {
            holder.direct.insert(n);
            names.insert(n.to_string());
            small.insert(u8::try_from(n % 251).unwrap());
        }
        *holder.boxed = Some(names);
        holder.nested.push(small);
        holder
    };
    assert_eq!(bytes(&make(&mut (0..500))), bytes(&make(&mut (0..500).rev())));
}

#[test]
fn a_list_keeps_its_order() {
    assert_ne!(bytes(&vec![1, 2]), bytes(&vec![2, 1]));
    let sorted: BTreeSet<u32> = [3, 1].into();
    assert_eq!(bytes(&sorted), bytes(&vec![1u32, 3]));
}

#[test]
fn a_field_skipped_when_writing_is_refused_by_name() {
    #[derive(Serialize)]
    struct Order {
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        size: u64,
    }
    let refusal = write(&Order { limit: None, size: 1 }, &mut Writing::about(0)).unwrap_err();
    assert!(refusal.0.contains("`limit` of `Order`"), "{refusal}");
    assert!(write(&Order { limit: Some(1), size: 1 }, &mut Writing::about(0)).is_ok());
}

#[test]
fn a_flattened_struct_is_refused() {
    #[derive(Serialize)]
    struct Inner {
        a: u8,
    }
    #[derive(Serialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
    }
    let refusal = write(&Outer { inner: Inner { a: 1 } }, &mut Writing::about(0)).unwrap_err();
    assert!(refusal.0.contains("flatten"), "{refusal}");
}
