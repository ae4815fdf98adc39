//! What is different between two JSON texts, named by field. Equal parts are not looked into: they are
//! equal text.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Where: `portfolio.cash`, `orders[3]`, `limits["BTC/USD"]`; empty for the value itself.
    pub(crate) field: String,
    /// As JSON; `None` if it is new.
    pub(crate) before: Option<String>,
    /// As JSON; `None` if it is gone.
    pub(crate) after: Option<String>,
}

/// One level of a text.
enum Level<'a> {
    Object(BTreeMap<String, &'a RawValue>),
    List(Vec<&'a RawValue>),
    Leaf,
}

/// Two texts of one place that are still to be compared.
type Open<'a> = (String, Option<&'a str>, Option<&'a str>);

/// All that is different, in the order of the fields' names; within a list, of its items.
pub(crate) fn changes(before: &str, after: &str) -> Result<Vec<Change>, serde_json::Error> {
    let mut found = Vec::new();
    // A list of what is to be compared in place of the stack: texts may be deep.
    let mut open: Vec<Open<'_>> = vec![(String::new(), Some(before), Some(after))];
    while let Some((field, before, after)) = open.pop() {
        if before == after {
            continue;
        }
        let parts = match (before, after) {
            (Some(before), Some(after)) => parts(&field, level(before)?, level(after)?),
            _ => None,
        };
        match parts {
            Some(parts) => open.extend(parts.into_iter().rev()),
            None => found.push(Change {
                field,
                before: before.map(str::to_owned),
                after: after.map(str::to_owned),
            }),
        }
    }
    Ok(found)
}

fn level(text: &str) -> Result<Level<'_>, serde_json::Error> {
    Ok(match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => Level::Object(serde_json::from_str(text)?),
        Some(b'[') => Level::List(serde_json::from_str(text)?),
        _ => Level::Leaf,
    })
}

/// The parts of both that may differ; `None` if these are not two of a kind.
fn parts<'a>(field: &str, before: Level<'a>, after: Level<'a>) -> Option<Vec<Open<'a>>> {
    match (before, after) {
        (Level::Object(before), Level::Object(mut after)) => {
            let mut both: BTreeMap<String, (Option<&str>, Option<&str>)> = BTreeMap::new();
            for (name, value) in before {
                let now = after.remove(&name).map(RawValue::get);
                both.insert(name, (Some(value.get()), now));
            }
            both.extend(after.into_iter().map(|(name, value)| (name, (None, Some(value.get())))));
            let named = both.into_iter().map(|(name, (was, is))| (member(field, &name), was, is));
            Some(named.collect())
        }
        (Level::List(before), Level::List(after)) => Some(items(field, &before, &after)),
        _ => None,
    }
}

/// Items of two lists: of lists of one length those that stand in the same place; of others those
/// between what both begin with and what both end with.
fn items<'a>(field: &str, before: &[&'a RawValue], after: &[&'a RawValue]) -> Vec<Open<'a>> {
    let is_same = |(was, is): &(&&RawValue, &&RawValue)| was.get() == is.get();
    let (mut head, mut tail) = (0, 0);
    if before.len() != after.len() {
        head = before.iter().zip(after).take_while(is_same).count();
        let shorter = before.len().min(after.len()) - head;
        let ends = before.iter().rev().zip(after.iter().rev());
        tail = ends.take(shorter).take_while(is_same).count();
    }
    let changed = before.len().max(after.len()) - tail;
    let item = |list: &[&'a RawValue], nth: usize| {
        let end = list.len() - tail;
        list.get(nth).filter(|_| nth < end).map(|item| item.get())
    };
    let places = head..changed;
    places.map(|nth| (format!("{field}[{nth}]"), item(before, nth), item(after, nth))).collect()
}

/// The path of a member: names like those in Rust with a dot, others as they stand in JSON.
fn member(field: &str, name: &str) -> String {
    let is_plain = !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    match (is_plain, field.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{field}.{name}"),
        (false, _) => format!("{field}[{}]", serde_json::Value::from(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn named(before: &Value, after: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let value = |text: Option<String>| text.map(|text| serde_json::from_str(&text).unwrap());
        changes(&before.to_string(), &after.to_string())
            .unwrap()
            .into_iter()
            .map(|change| (change.field, value(change.before), value(change.after)))
            .collect()
    }

    #[test]
    fn a_change_is_named_by_the_fields_that_lead_to_it() {
        let before = json!({"cash": 5, "orders": {"BTC/USD": [1, 2], "gone": 1}, "same": [[{}]]});
        let after = json!({"cash": 6, "orders": {"BTC/USD": [1, 3], "new": null}, "same": [[{}]]});
        assert_eq!(
            named(&before, &after),
            [
                ("cash".into(), Some(json!(5)), Some(json!(6))),
                ("orders[\"BTC/USD\"][1]".into(), Some(json!(2)), Some(json!(3))),
                ("orders.gone".into(), Some(json!(1)), None),
                ("orders.new".into(), None, Some(json!(null))),
            ]
        );
        assert_eq!(
            named(&json!(1), &json!([1])),
            [(String::new(), Some(json!(1)), Some(json!([1])))]
        );
    }

    #[test]
    fn an_item_that_comes_or_goes_is_all_that_changed_in_a_list() {
        let gone = |nth: usize, value| vec![(format!("[{nth}]"), Some(json!(value)), None)];
        assert_eq!(named(&json!([1, 2, 3]), &json!([2, 3])), gone(0, 1));
        assert_eq!(named(&json!([1, 2, 3]), &json!([1, 3])), gone(1, 2));
        assert_eq!(named(&json!([1, 1]), &json!([1])), gone(1, 1));
        assert_eq!(named(&json!([]), &json!([7])), [("[0]".into(), None, Some(json!(7)))]);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0u8..4).prop_map(Value::from),
            "[a-c\"/]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c ]{0,2}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_is_said_of_what_is_equal_and_something_of_all_else(a in value(), b in value()) {
            prop_assert!(named(&a, &a).is_empty());
            let there = named(&a, &b);
            prop_assert_eq!(there.is_empty(), a == b);
            // The same places the other way round.
            let back: Vec<_> = named(&b, &a).into_iter().map(|(at, was, is)| (at, is, was)).collect();
            prop_assert_eq!(back, there);
        }
    }
}
