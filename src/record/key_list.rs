//! A list of keys in few bytes: sorted, and each with only what it does not share with the one
//! before (front coding). Keys of one run differ in their last bytes.
//!
//! ```text
//! for each key   u16 LE  how many bytes it shares with the key before
//!                u16 LE  how many follow
//!                …       those
//! ```

/// Keys that are still being gathered.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyList {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
}

impl KeyList {
    /// Adds a key of less than 64 KiB.
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Adds all keys of another list.
    pub(crate) fn append(&mut self, other: &Self) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How much memory the keys take, in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| {
            self.bytes.get(start..*end).expect("ends grow, and the last one is the length")
        })
    }

    /// The keys in few bytes.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut keys: Vec<_> = self.keys().collect();
        keys.sort_unstable();
        let mut out = Vec::with_capacity(self.bytes.len() / 4);
        let mut before: &[u8] = &[];
        for key in keys {
            let shared = key.iter().zip(before).take_while(|(one, other)| one == other).count();
            let (_, rest) = key.split_at(shared);
            for len in [shared, rest.len()] {
                debug_assert!(u16::try_from(len).is_ok(), "keys are far below 64 KiB");
                out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
            }
            out.extend_from_slice(rest);
            before = key;
        }
        out
    }
}

/// The keys in packed bytes; behind the last whole one comes a `None` if they are cut short.
pub(crate) fn unpack(mut packed: &[u8]) -> impl Iterator<Item = Option<Vec<u8>>> {
    let mut before: Option<Vec<u8>> = Some(Vec::new());
    std::iter::from_fn(move || {
        if packed.is_empty() {
            return None;
        }
        // Nothing can be read behind one that is cut short.
        let key = before.take().and_then(|before| {
            let (shared, rest) = packed.split_first_chunk::<2>()?;
            let (len, rest) = rest.split_first_chunk::<2>()?;
            let (own, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            let shared = before.get(..usize::from(u16::from_le_bytes(*shared)))?;
            packed = rest;
            Some([shared, own].concat())
        });
        if key.is_none() {
            packed = &[];
        }
        before.clone_from(&key);
        Some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(keys: &[Vec<u8>]) -> KeyList {
        let mut list = KeyList::default();
        for key in keys {
            list.push(key);
        }
        list
    }

    proptest! {
        #[test]
        fn keys_come_back_sorted_whatever_they_share(
            mut one in prop::collection::vec(prop::collection::vec(0u8..3, 0..6), 0..20),
            other in prop::collection::vec(prop::collection::vec(0u8..3, 0..6), 0..20),
        ) {
            let mut both = list(&one);
            both.append(&list(&other));
            one.extend(other);
            one.sort();
            let back: Option<Vec<_>> = unpack(&both.pack()).collect();
            prop_assert_eq!(back, Some(one));
        }

        #[test]
        fn no_bytes_make_unpacking_fail_or_give_more_than_they_can_hold(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(unpack(&bytes).count() <= bytes.len() / 4 + 1);
        }
    }

    #[test]
    fn keys_of_one_run_take_a_few_bytes_each() {
        let keys: Vec<_> = (0..400).map(|n| format!("run/{n:020}").into_bytes()).collect();
        assert!(list(&keys).pack().len() < 400 * 6);
    }

    #[test]
    fn a_list_that_is_cut_short_gives_its_whole_keys_and_says_so() {
        let packed = list(&[b"one".to_vec(), b"three".to_vec()]).pack();
        for cut in 8..packed.len() {
            let keys: Vec<_> = unpack(&packed[..cut]).collect();
            let end = if cut > 7 { vec![None] } else { vec![] };
            assert_eq!(keys, [vec![Some(b"one".to_vec())], end].concat(), "{cut}");
        }
    }
}
