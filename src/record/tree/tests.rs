use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::*;

fn tree<T: Serialize>(value: &T) -> Tree {
    tree_of(value, true).unwrap()
}

/// Against: two values that are one in JSON, taken for each other.
#[test]
fn values_that_json_has_one_word_for_are_told_apart() {
    assert_ne!(tree(&None::<Option<u8>>), tree(&Some(None::<u8>)));
    assert_ne!(tree(&None::<()>), tree(&Some(())));
    assert_ne!(tree(&None::<f64>), tree(&Some(f64::NAN)));
    assert_ne!(tree(&0.0f64), tree(&-0.0f64));
    assert_ne!(tree(&1u8), tree(&1u16));
    assert_ne!(tree(&1u8), tree(&1i8));
    assert_ne!(tree(&"a"), tree(&'a'));
    assert_ne!(tree(&0.5f32), tree(&0.5f64));
    assert_eq!(tree(&f64::NAN), tree(&f64::NAN));
}

#[test]
fn hash_maps_and_sets_are_sorted_and_lists_are_not() {
    let sorted = |value: &dyn Fn(&mut dyn Iterator<Item = u64>) -> Tree, up: bool| {
        let mut tree = if up { value(&mut (0..50)) } else { value(&mut (0..50).rev()) };
        tree.sort(None, &mut Vec::new());
        tree
    };
    let map = |order: &mut dyn Iterator<Item = u64>| {
        tree(&order.map(|n| (n, n)).collect::<HashMap<_, _>>())
    };
    let set = |order: &mut dyn Iterator<Item = u64>| tree(&order.collect::<HashSet<_>>());
    let list = |order: &mut dyn Iterator<Item = u64>| tree(&order.collect::<Vec<_>>());
    assert_eq!(sorted(&map, true), sorted(&map, false));
    assert_eq!(sorted(&set, true), sorted(&set, false));
    assert_ne!(sorted(&list, true), sorted(&list, false));
}

#[derive(Serialize)]
struct Two {
    lists: Vec<Vec<u8>>,
    map: BTreeMap<u8, Vec<u8>>,
}

/// Against: a list that is sorted because the set beside it, or around it, has no order.
#[test]
fn what_came_in_another_order_is_found_and_nothing_around_it() {
    let of = |lists: &[&[u8]], entry: &[u8]| {
        let lists = lists.iter().map(|list| list.to_vec()).collect();
        tree(&Two { lists, map: [(1, entry.to_vec())].into() })
    };
    let place = |one: &Tree, two: &Tree| one.reordered(two);
    let first = of(&[&[1, 2], &[3]], &[5, 6]);
    assert_eq!(place(&first, &first), None);
    let outer = place(&first, &of(&[&[3], &[1, 2]], &[5, 6])).unwrap();
    let inner = place(&first, &of(&[&[2, 1], &[3]], &[5, 6])).unwrap();
    let other = place(&first, &of(&[&[1, 2], &[3]], &[6, 5])).unwrap();
    assert!(outer != inner && inner != other && outer != other);
    assert_eq!(place(&first, &of(&[&[1, 7], &[3]], &[5, 6])), None, "that is another value");
}

/// Against: the end of the stack, reached while a value is looked at.
#[test]
fn levels_are_counted_before_anything_goes_down_there() {
    #[derive(Serialize)]
    struct Link(Option<Box<Link>>);
    let chain = |levels| (0..levels).fold(Link(None), |link, _| Link(Some(Box::new(link))));
    assert!(tree_of(&chain(60), true).is_ok());
    let refused = tree_of(&chain(10_000), true).unwrap_err();
    assert!(refused.0.contains("128 levels"), "{refused}");
}
