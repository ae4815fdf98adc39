//! What is known of a type so far, and what to look at next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::node::{Field, Node, NodeId, Shape, Variant};

/// How deep a made-up value goes before its type is taken for one that never ends.
const DEPTH_MAX: usize = 200;

/// How many of the values made up last are made up otherwise before a type is given up.
const GUESSES_BACK: usize = 8;

/// What is known of one place in the type.
#[derive(Debug, Clone)]
enum Slot {
    Unknown,
    Is(Node),
    /// The same as another place: a named type, or what a newtype is made of.
    Same(NodeId),
}

/// What is known of an enum beside its node.
#[derive(Debug, Default)]
struct Choice {
    seen: BTreeSet<usize>,
    /// Being looked at, somewhere up the stack.
    trying: BTreeSet<usize>,
    /// A variant that comes to an end inside itself: the first one that did.
    shortest: Option<usize>,
    turn: usize,
}

#[derive(Debug, Default)]
pub(super) struct Tracer {
    slots: Vec<Slot>,
    /// Structs, enums and newtypes, by the type that reads them.
    named: HashMap<(&'static str, &'static str), NodeId>,
    choices: BTreeMap<NodeId, Choice>,
    /// Which of the made-up values a place gets; past their end, none was taken.
    guesses: BTreeMap<NodeId, usize>,
    // Of this attempt:
    open: Vec<NodeId>,
    depth: usize,
    guessed: Vec<(NodeId, usize)>,
    path: Vec<&'static str>,
    failed_at: Option<String>,
}

impl Tracer {
    pub(super) fn slot(&mut self) -> NodeId {
        self.slots.push(Slot::Unknown);
        NodeId::try_from(self.slots.len() - 1).unwrap_or(NodeId::MAX)
    }

    pub(super) fn slots(&mut self, count: usize) -> Vec<NodeId> {
        (0..count).map(|_| self.slot()).collect()
    }

    /// How many places and variants were seen: it grows until everything was.
    pub(super) fn seen(&self) -> usize {
        let variants = self.choices.values().map(|choice| choice.seen.len()).sum::<usize>();
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Unknown)).count() + variants
    }

    fn get(&self, at: NodeId) -> &Slot {
        usize::try_from(at).ok().and_then(|at| self.slots.get(at)).unwrap_or(&Slot::Unknown)
    }

    fn set(&mut self, at: NodeId, slot: Slot) {
        if let Some(place) = usize::try_from(at).ok().and_then(|at| self.slots.get_mut(at)) {
            *place = slot;
        }
    }

    /// The place behind those that are the same.
    fn resolved(&self, mut at: NodeId) -> NodeId {
        for _ in 0..self.slots.len() {
            let Slot::Same(other) = self.get(at) else { break };
            at = *other;
        }
        at
    }

    pub(super) fn node(&self, at: NodeId) -> Option<&Node> {
        match self.get(self.resolved(at)) {
            Slot::Is(node) => Some(node),
            _ => None,
        }
    }

    /// Notes what a place is: `make` says so when it is seen first, `fits` whether it still is.
    pub(super) fn note(
        &mut self,
        at: NodeId,
        make: impl FnOnce(&mut Self) -> Node,
        fits: impl FnOnce(&Node) -> bool,
    ) -> Result<Node, String> {
        match self.get(at) {
            Slot::Unknown => {
                let node = make(self);
                self.set(at, Slot::Is(node.clone()));
                Ok(node)
            }
            Slot::Is(node) if fits(node) => Ok(node.clone()),
            _ => Err("it is not read the same way each time: what follows depends on what was \
                      read before, as with serde's `tag` with `content`"
                .to_owned()),
        }
    }

    /// The place of a named type, which stands for the one at hand.
    pub(super) fn named(
        &mut self,
        at: NodeId,
        key: (&'static str, &'static str),
    ) -> Result<NodeId, String> {
        let known = self.named.get(&key).copied();
        let type_slot = known.unwrap_or_else(|| self.slot());
        self.named.insert(key, type_slot);
        self.same(at, type_slot).map(|()| type_slot)
    }

    /// Notes that one place is the same as another.
    pub(super) fn same(&mut self, at: NodeId, other: NodeId) -> Result<(), String> {
        match self.get(at) {
            Slot::Unknown => {
                self.set(at, Slot::Same(other));
                Ok(())
            }
            Slot::Same(before) if *before == other => Ok(()),
            _ => Err("it is read as one type now, and as another then".to_owned()),
        }
    }

    /// What a newtype is made of.
    pub(super) fn inside(&mut self, of: NodeId) -> NodeId {
        if let Slot::Same(inner) = self.get(of) {
            return *inner;
        }
        let inner = self.slot();
        self.set(of, Slot::Same(inner));
        inner
    }

    /// Goes into a named type; `false` if that never ends.
    pub(super) fn enter(&mut self, of: NodeId) -> bool {
        self.open.push(of);
        self.open.len() <= DEPTH_MAX
    }

    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    /// Goes down one level, under a name; `false` if there are too many.
    pub(super) fn step_into(&mut self, name: &'static str) -> bool {
        self.path.push(name);
        self.depth += 1;
        self.depth <= 4 * DEPTH_MAX
    }

    pub(super) fn step_out(&mut self, failed: bool) {
        if failed && self.failed_at.is_none() {
            self.failed_at = Some(joined(&self.path));
        }
        self.path.pop();
        self.depth -= 1;
    }

    pub(super) fn failed_at(&mut self) -> String {
        self.failed_at.take().unwrap_or_default()
    }

    /// Whether there is something in a place that was not seen yet, and is not being looked at up
    /// the stack: every attempt goes where that is, and so sees more than the one before.
    pub(super) fn wants(&self, at: NodeId) -> bool {
        let mut visited = BTreeSet::new();
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            let at = self.resolved(at);
            if self.open.iter().any(|open| self.resolved(*open) == at) || !visited.insert(at) {
                continue;
            }
            let Slot::Is(node) = self.get(at) else { return true };
            if let (Node::Enum(variants), Some(choice)) = (node, self.choices.get(&at))
                && choice.seen.len() < variants.len()
            {
                return true;
            }
            open.extend(node.parts());
        }
        false
    }

    /// Which variant of an enum is made up now. Inside itself, the one that ends soonest; else one
    /// that was not seen, then one behind which something was not.
    pub(super) fn choose(&mut self, of: NodeId) -> usize {
        let Some(Node::Enum(variants)) = self.node(of) else { return 0 };
        let (count, holds) = (variants.len(), variants.iter().map(|v| v.holds).collect::<Vec<_>>());
        let is_inside_itself = self.open.iter().filter(|open| **open == of).count() > 1;
        let choice = self.choices.entry(of).or_default();
        let unseen =
            (0..count).find(|nth| !choice.seen.contains(nth) && !choice.trying.contains(nth));
        let shortest = choice.shortest;
        let wanted = || {
            (0..)
                .zip(&holds)
                .find_map(|(nth, holds)| holds.filter(|of| self.wants(*of)).map(|_| nth))
        };
        let chosen = if is_inside_itself {
            shortest.or(unseen)
        } else {
            unseen.or_else(wanted).or(shortest)
        };
        let choice = self.choices.entry(of).or_default();
        let chosen = chosen.unwrap_or_else(|| {
            // All are being looked at, and none has ended: one of them will, if each has its turn.
            choice.turn += 1;
            choice.turn % count.max(1)
        });
        if !choice.seen.contains(&chosen) {
            choice.trying.insert(chosen);
        }
        chosen
    }

    /// Notes what a variant holds, when it is seen first.
    pub(super) fn held(&mut self, of: NodeId, nth: usize) -> NodeId {
        if let Some(Node::Enum(variants)) = self.node(of)
            && let Some(holds) = variants.get(nth).and_then(|variant| variant.holds)
        {
            return holds;
        }
        let slot = self.slot();
        let place = usize::try_from(of).ok().and_then(|of| self.slots.get_mut(of));
        if let Some(Slot::Is(Node::Enum(variants))) = place
            && let Some(variant) = variants.get_mut(nth)
        {
            variant.holds = Some(slot);
        }
        slot
    }

    /// A variant came to its end.
    pub(super) fn chosen_was_seen(&mut self, of: NodeId, nth: usize) {
        let choice = self.choices.entry(of).or_default();
        choice.seen.insert(nth);
        choice.trying.remove(&nth);
        choice.shortest.get_or_insert(nth);
    }

    /// Which of the values that are made up for a place it gets now.
    pub(super) fn guess<T: Copy>(&mut self, at: NodeId, of: &[T], otherwise: T) -> T {
        self.guessed.push((at, of.len()));
        let nth = self.guesses.get(&at).copied().unwrap_or(0);
        of.get(nth).or(of.first()).copied().unwrap_or(otherwise)
    }

    /// Has the last value that was made up made up otherwise, or one before it; `false` if all
    /// were tried.
    pub(super) fn guess_otherwise(&mut self) -> bool {
        for (at, count) in self.guessed.iter().rev().take(GUESSES_BACK) {
            let nth = self.guesses.entry(*at).or_default();
            if *nth < *count {
                *nth += 1;
                return true;
            }
        }
        false
    }

    /// Forgets what was only true for this attempt.
    pub(super) fn begin_again(&mut self) {
        for choice in self.choices.values_mut() {
            choice.trying.clear();
        }
        self.open.clear();
        self.path.clear();
        self.guessed.clear();
        self.failed_at = None;
        self.depth = 0;
    }

    /// The places as a shape: numbered in the order in which they are come to, each kind of leaf
    /// once.
    pub(super) fn shape(&self, root: NodeId) -> Shape {
        let mut numbers: HashMap<NodeId, NodeId> = HashMap::new();
        let mut leaves: Vec<(Node, NodeId)> = Vec::new();
        let mut nodes: Vec<Option<Node>> = Vec::new();
        let next = |nodes: &mut Vec<Option<Node>>| {
            nodes.push(None);
            NodeId::try_from(nodes.len() - 1).unwrap_or(NodeId::MAX)
        };
        let mut open = vec![self.resolved(root)];
        numbers.insert(self.resolved(root), next(&mut nodes));
        while let Some(at) = open.pop() {
            let (Some(node), Some(number)) = (self.node(at), numbers.get(&at).copied()) else {
                continue;
            };
            let mut found = Vec::new();
            let renumbered = node.with_parts(|part| {
                let part = self.resolved(part);
                if let Some(number) = numbers.get(&part) {
                    return *number;
                }
                let leaf = self.node(part).filter(|node| node.parts().is_empty());
                if let Some((_, number)) =
                    leaf.and_then(|leaf| leaves.iter().find(|l| l.0 == *leaf))
                {
                    return *number;
                }
                let number = next(&mut nodes);
                if let Some(leaf) = leaf {
                    leaves.push((leaf.clone(), number));
                }
                numbers.insert(part, number);
                found.push(part);
                number
            });
            if let Some(place) = usize::try_from(number).ok().and_then(|at| nodes.get_mut(at)) {
                *place = Some(renumbered);
            }
            open.extend(found.into_iter().rev());
        }
        Shape { nodes: nodes.into_iter().map(|node| node.unwrap_or(Node::Unit)).collect() }
    }
}

/// `side.Sell[].price`: a dot before what is a name.
fn joined(path: &[&str]) -> String {
    path.iter().fold(String::new(), |mut joined, name| {
        if !joined.is_empty() && !name.starts_with('[') {
            joined.push('.');
        }
        joined.push_str(name);
        joined
    })
}

/// The node of a struct.
pub(super) fn struct_node(names: &[&'static str], slots: &[NodeId]) -> Node {
    let field = |(name, of): (&&str, &NodeId)| Field { name: (*name).to_owned(), of: *of };
    Node::Struct(names.iter().zip(slots).map(field).collect())
}

/// The node of an enum of which no variant was seen.
pub(super) fn enum_node(names: &[&'static str]) -> Node {
    let variant = |name: &&str| Variant { name: (*name).to_owned(), holds: None };
    Node::Enum(names.iter().map(variant).collect())
}
