//! Numbers that calls take before they join: a closure is told the number of the intent it emits.
//!
//! Intents and checkpoints of a run count together, and their numbers tell which was first. A
//! checkpoint of the run that somebody saves while a step is under way has the state from before the
//! step: its number has to be below those that the step has taken, although they were taken first.

/// The numbers that one call has taken.
pub(super) struct Numbers {
    first: u64,
    taken: u64,
}

/// What calls under way have taken. Looked at and changed under the line's lock.
#[derive(Default)]
pub(super) struct Reserved(Vec<Taken>);

struct Taken {
    name: Box<[u8]>,
    first: u64,
}

impl Reserved {
    /// Takes the next number for something of this name.
    pub(super) fn take(
        &mut self,
        next: &mut u64,
        name: &[u8],
        numbers: &mut Option<Numbers>,
    ) -> u64 {
        let number = *next;
        *next += 1;
        if let Some(numbers) = numbers {
            numbers.taken += 1;
        } else {
            self.0.push(Taken { name: name.into(), first: number });
            *numbers = Some(Numbers { first: number, taken: 1 });
        }
        number
    }

    /// The first number that a call under way has taken for this name.
    pub(super) fn first_of(&self, name: &[u8]) -> Option<u64> {
        self.0.iter().filter(|taken| *taken.name == *name).map(|taken| taken.first).min()
    }

    /// The call has joined, or will not.
    pub(super) fn end(&mut self, numbers: &Numbers) {
        self.0.retain(|taken| taken.first != numbers.first);
    }
}

impl Numbers {
    /// Gives them back, unless others have taken numbers since: then these stay unused.
    pub(super) fn give_back(&self, next: &mut u64) {
        if *next == self.first + self.taken {
            *next = self.first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against: a checkpoint that counts as taken after an effect that its state does not know.
    #[test]
    fn what_is_of_a_name_comes_before_what_a_call_under_way_has_taken_for_it() {
        let (mut reserved, mut next) = (Reserved::default(), 7);
        let (mut mine, mut others) = (None, None);
        assert_eq!(reserved.take(&mut next, b"a", &mut mine), 7);
        assert_eq!(reserved.take(&mut next, b"b", &mut others), 8);
        assert_eq!(reserved.take(&mut next, b"a", &mut mine), 9);
        assert_eq!((reserved.first_of(b"a"), reserved.first_of(b"b")), (Some(7), Some(8)));
        assert_eq!(reserved.first_of(b"c"), None);
        reserved.end(&mine.unwrap());
        assert_eq!((reserved.first_of(b"a"), reserved.first_of(b"b")), (None, Some(8)));
    }

    #[test]
    fn numbers_that_are_given_back_are_never_those_of_others() {
        let (mut reserved, mut next) = (Reserved::default(), 7);
        let (mut mine, mut others) = (None, None);
        reserved.take(&mut next, b"a", &mut mine);
        reserved.take(&mut next, b"b", &mut others);
        mine.unwrap().give_back(&mut next);
        assert_eq!(next, 9);
        others.unwrap().give_back(&mut next);
        assert_eq!(next, 8);
    }
}
