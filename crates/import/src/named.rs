//! The name that a registry gives a content: the SHA-256 of its canonical JSON, as Python writes it.
//! What stands in a file does not say in which of a few ways that was done; a name does.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use crate::json::{Json, Layout};
use crate::number::is_number;

/// Fields that are no part of what the name is the hash of.
const NOT_HASHED: [&str; 2] = ["checkpoint_id", "created_at"];
/// How many objects are tried in either order one by one, at most, and how many bytes are hashed for it.
const MIXED_MAX: u32 = 6;
const MIXED_BYTES_MAX: usize = 256 << 20;

/// The hash of the canonical content, as Python writes it with `ensure_ascii` and without, every object
/// in the order of its names.
pub(super) fn hashes(json: &Json) -> [String; 2] {
    let content = hashed_part(json);
    [Layout::CANONICAL, Layout::CANONICAL_UTF8].map(|layout| hash(layout, &content))
}

/// Whether this is a name that Python gives the content.
///
/// A `dict` whose keys were numbers was sorted by the numbers, and its keys are texts in the file. So
/// each object whose names are all numbers may have been in either order.
pub(super) fn is_named(json: &Json, name: &str) -> bool {
    if hashes(json).iter().any(|hash| hash == name) {
        return true;
    }
    let content = hashed_part(json);
    let mut doubtful = 0u32;
    let by_numbers = in_order(&content, &mut || {
        doubtful += 1;
        true
    });
    let is_it = |content: &Json| {
        [Layout::TIGHT_ASCII, Layout::TIGHT].iter().any(|layout| hash(*layout, content) == name)
    };
    if doubtful == 0 || is_it(&by_numbers) {
        return doubtful > 0;
    }
    let bytes = Layout::TIGHT.write(&content).len();
    let mixed = 1..(1u32 << doubtful.min(MIXED_MAX)) - 1;
    if doubtful > MIXED_MAX || bytes.saturating_mul(mixed.len() * 2) > MIXED_BYTES_MAX {
        return false;
    }
    mixed.into_iter().any(|which| {
        let mut nth = 0;
        is_it(&in_order(&content, &mut || {
            nth += 1;
            which >> (nth - 1) & 1 == 1
        }))
    })
}

fn hashed_part(json: &Json) -> Json {
    let fields = json.fields().iter().filter(|(name, _)| !NOT_HASHED.contains(&name.as_str()));
    Json::Object(fields.cloned().collect())
}

fn hash(layout: Layout, content: &Json) -> String {
    let hash = Sha256::digest(layout.write(content));
    hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The content with every object sorted: by names, or by the numbers that they are where that is
/// another order and `by_numbers` says so.
fn in_order(json: &Json, by_numbers: &mut impl FnMut() -> bool) -> Json {
    match json {
        Json::List(items) => {
            Json::List(items.iter().map(|item| in_order(item, by_numbers)).collect())
        }
        Json::Object(fields) => {
            let mut sorted: Vec<&(String, Json)> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| name);
            if sorted.iter().all(|(name, _)| is_number(name)) {
                let mut numbers = sorted.clone();
                numbers.sort_by(|(one, _), (other, _)| as_numbers(one, other));
                let differs =
                    numbers.iter().zip(&sorted).any(|((one, _), (other, _))| one != other);
                if differs && by_numbers() {
                    sorted = numbers;
                }
            }
            let each = |(name, value): &(String, Json)| (name.clone(), in_order(value, by_numbers));
            Json::Object(sorted.into_iter().map(each).collect())
        }
        other => other.clone(),
    }
}

fn as_numbers(one: &str, other: &str) -> Ordering {
    if let (Ok(one), Ok(other)) = (one.parse::<i128>(), other.parse::<i128>()) {
        return one.cmp(&other);
    }
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    number(one).total_cmp(&number(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are Python's: `hashlib.sha256(json.dumps(d, sort_keys=True, separators=(",", ":"))
    /// .encode()).hexdigest()`.
    #[test]
    fn a_dict_whose_keys_are_numbers_is_named_in_their_order() {
        // {"a": {1: 0, 2: 0, 10: 0}, "b": {"1": 0, "10": 0, "2": 0}}
        let json: Json =
            r#"{"b": {"1": 0, "10": 0, "2": 0}, "a": {"1": 0, "2": 0, "10": 0}}"#.parse().unwrap();
        for (name, is) in [
            ("b4a00f00e51be4404a97d1a223db653fc3b0083aa4a7622ac8773cc1e89e8f53", true),
            ("60a24e4bc28bad4cb3593fa034022f34422cd69f85c9da5f7425ddc26934dc92", true),
            ("15037edd7537b6bdb71a21dad59e15546377bee13700c03d932eaebef674aeb8", true),
            ("e4a70cc9207e9190254825eac3232bf15540ad9ab6cc5d3495e296b9a029565a", false),
        ] {
            assert_eq!(is_named(&json, name), is, "{name}");
        }
        // {-5: 0, 0.5: 0, 3: 0, 1e+16: 0, 123456789012345678901234567890: 0}
        let json: Json =
            r#"{"-5": 0, "0.5": 0, "3": 0, "1e+16": 0, "123456789012345678901234567890": 0}"#
                .parse()
                .unwrap();
        assert!(is_named(
            &json,
            "77dbb2319966ea0cffbd635a34f3dacf6a1f0b98f13fe90117d2fa1104d12b54"
        ));
    }
}
