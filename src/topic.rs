//! A topic with its two types: one constant that `emit`, the relay and the look-ups agree on.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use crate::id::{NAME_BYTES_MAX, TopicName};

/// A queue of intents, and what it carries: `P` is what a step emits (the payload), `O` is what the
/// endpoint answers (the outcome). A relay delivers one topic to one [`Endpoint`](crate::Endpoint).
///
/// Make it a constant, and use that constant in every call. The types then agree by compilation; a
/// second topic of the same name with other types is refused before anything is written.
///
/// # Example: one constant for emitting, delivering and looking up
///
/// ```
/// use milepost::{Store, Topic, Versioned};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Order {
///     shares: i64,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Fill {
///     price: i64,
/// }
///
/// const ORDERS: Topic<Order, Fill> = Topic::new("orders");
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Bot;
///
/// impl Versioned for Bot {
///     const NAME: &'static str = "bot";
///     const VERSION: u32 = 1;
/// }
///
/// let store = Store::in_memory()?;
/// let mut run = store.run::<Bot>("spy-daily")?;
/// let id = run.step("bar-1", 1, |tx| tx.emit(&ORDERS, &Order { shares: 5 }))?.into_outcome();
/// let intent = store.intent(&ORDERS, &id)?.unwrap();
/// assert_eq!(intent.payload, Order { shares: 5 });
/// # Ok::<(), milepost::Error>(())
/// ```
pub struct Topic<P, O> {
    name: Name,
    types: PhantomData<fn(P) -> O>,
}

#[derive(Clone)]
enum Name {
    Fixed(&'static str),
    Made(TopicName),
}

impl<P, O> Topic<P, O> {
    /// The topic of this name, 1 to 200 bytes without control characters. For a name that is only
    /// known when the program runs, make a [`TopicName`] and use `Topic::from`.
    ///
    /// # Panics
    /// If the name is none. In a constant, the program does not compile then.
    ///
    /// ```compile_fail
    /// const ORDERS: milepost::Topic<u64, u64> = milepost::Topic::new("");
    /// let _ = ORDERS;
    /// ```
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(
            is_name(name.as_bytes()),
            "a topic name has 1 to 200 bytes and no control characters"
        );
        Self { name: Name::Fixed(name), types: PhantomData }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.name {
            Name::Fixed(name) => name,
            Name::Made(name) => name.as_str(),
        }
    }

    /// The name by itself, as ids have it.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "`new` has checked the name by the same rules")]
    pub fn name(&self) -> TopicName {
        match &self.name {
            Name::Fixed(name) => {
                TopicName::new(name).expect("`new` has checked it by the same rules")
            }
            Name::Made(name) => name.clone(),
        }
    }
}

/// The rules of [`TopicName::new`], in a form that the compiler can evaluate.
const fn is_name(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX {
        return false;
    }
    let mut rest = bytes;
    let mut before = 0;
    while let Some((byte, after)) = rest.split_first() {
        // In UTF-8, U+0080 to U+009F are C2 80 to C2 9F.
        let is_control =
            byte.is_ascii_control() || (before == 0xC2 && *byte >= 0x80 && *byte <= 0x9F);
        if is_control {
            return false;
        }
        (before, rest) = (*byte, after);
    }
    true
}

impl<P, O> AsRef<str> for Topic<P, O> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<P, O> From<TopicName> for Topic<P, O> {
    fn from(name: TopicName) -> Self {
        Self { name: Name::Made(name), types: PhantomData }
    }
}

impl<P, O> Clone for Topic<P, O> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), types: PhantomData }
    }
}

impl<P, O> fmt::Debug for Topic<P, O> {
    /// The name and both types.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic<{}, {}>({:?})", type_name::<P>(), type_name::<O>(), self.as_str())
    }
}

impl<P, O> fmt::Display for Topic<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: Topic<u64, String> = Topic::new("orders");

    /// Against: a constant that passes the compiler and names a topic that no id can have.
    #[test]
    fn a_constant_is_held_to_the_rules_of_a_name_that_is_made() {
        let long = "x".repeat(NAME_BYTES_MAX);
        let longer = "x".repeat(NAME_BYTES_MAX + 1);
        let names = (0..0x300).filter_map(char::from_u32).map(|c| format!("a{c}b"));
        for name in names.chain([String::new(), long, longer, "\u{c2}\u{85}".into()]) {
            assert_eq!(is_name(name.as_bytes()), TopicName::new(&name).is_ok(), "{name:?}");
        }
        assert_eq!(ORDERS.name(), TopicName::new("orders").unwrap());
        assert_eq!(format!("{ORDERS:?}"), "Topic<u64, alloc::string::String>(\"orders\")");
    }
}
