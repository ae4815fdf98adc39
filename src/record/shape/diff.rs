//! What is different between two shapes, named by field.

use std::collections::HashSet;
use std::fmt;

use super::node::{Field, Node, NodeId, Shape, Variant};

/// How deep a type is spelled out in a message.
const SPELLED_DEPTH: usize = 3;

/// One thing that is no longer as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    place: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Changed { was: String, is: String },
    Gone,
    New,
    Moved,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Changed { was, is } => write!(f, "{} was {was} and is now {is}", self.place),
            What::Gone => write!(f, "{} is gone", self.place),
            What::New => write!(f, "{} is new", self.place),
            What::Moved => write!(f, "{} stands in another place", self.place),
        }
    }
}

/// Walks both shapes at once, with a list of what is still to be compared in place of the stack.
pub(super) fn differences(was: &Shape, is: &Shape) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compared = HashSet::new();
    let mut open = vec![(String::new(), 0, 0)];
    while let Some((path, old, new)) = open.pop() {
        // What is being compared already is equal unless a difference is found there.
        if !compared.insert((old, new)) {
            continue;
        }
        let parts = match (was.node(old), is.node(new)) {
            (Some(Node::Struct(old)), Some(Node::Struct(new))) => {
                members("field", &path, &fields(old), &fields(new), &mut found)
            }
            (Some(Node::Enum(old)), Some(Node::Enum(new))) => {
                members("variant", &path, &variants(old), &variants(new), &mut found)
            }
            (Some(a), Some(b)) if is_same_kind(a, b) => {
                let names = part_names(a);
                let both = a.parts().into_iter().zip(b.parts());
                names.zip(both).map(|(name, (a, b))| (format!("{path}{name}"), a, b)).collect()
            }
            (Some(_), Some(_)) => {
                let (was, is) = (spelled(was, old, 0), spelled(is, new, 0));
                found.push(Difference { place: place(&path), what: What::Changed { was, is } });
                Vec::new()
            }
            // A shape that points nowhere: it was not read whole.
            _ => Vec::new(),
        };
        open.extend(parts.into_iter().rev());
    }
    found
}

type Parts = Vec<(String, NodeId, NodeId)>;

/// A field or a variant: its name, and what it holds.
type Member<'a> = (&'a str, Option<NodeId>);

fn fields(fields: &[Field]) -> Vec<Member<'_>> {
    fields.iter().map(|field| (field.name.as_str(), Some(field.of))).collect()
}

fn variants(variants: &[Variant]) -> Vec<Member<'_>> {
    variants.iter().map(|variant| (variant.name.as_str(), variant.holds)).collect()
}

/// Compares by name, and gives back what is in both.
fn members(
    kind: &str,
    path: &str,
    old: &[Member<'_>],
    new: &[Member<'_>],
    found: &mut Vec<Difference>,
) -> Parts {
    let dot = if path.is_empty() { "" } else { "." };
    let mut say = |name: &str, what| {
        found.push(Difference { place: format!("{kind} `{path}{dot}{name}`"), what });
    };
    let in_both: Vec<_> = old
        .iter()
        .filter_map(|was| new.iter().find(|is| is.0 == was.0).map(|is| (was, is)))
        .collect();
    old.iter()
        .filter(|was| new.iter().all(|is| is.0 != was.0))
        .for_each(|was| say(was.0, What::Gone));
    new.iter().filter(|is| old.iter().all(|was| was.0 != is.0)).for_each(|is| say(is.0, What::New));
    let order = new.iter().filter(|is| old.iter().any(|was| was.0 == is.0));
    for ((was, _), is) in in_both.iter().zip(order) {
        if was.0 != is.0 {
            say(was.0, What::Moved);
        }
    }
    let mut parts = Vec::new();
    for (was, is) in in_both {
        match (was.1, is.1) {
            (Some(old), Some(new)) => parts.push((format!("{path}{dot}{}", was.0), old, new)),
            (None, None) => {}
            (held, _) => {
                let [before, after] = ["without a value", "with one"];
                let (was_held, is_held) =
                    if held.is_some() { (after, before) } else { (before, after) };
                say(was.0, What::Changed { was: was_held.into(), is: is_held.into() });
            }
        }
    }
    parts
}

fn is_same_kind(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::Tuple(a), Node::Tuple(b)) => a.len() == b.len(),
        (Node::Array { len: a, .. }, Node::Array { len: b, .. }) => a == b,
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

/// What the parts of a node add to the path.
fn part_names(node: &Node) -> Box<dyn Iterator<Item = String>> {
    match node {
        Node::Option(_) => Box::new(std::iter::once(".Some".to_owned())),
        Node::Map { .. } => Box::new(["[key]".to_owned(), "[]".to_owned()].into_iter()),
        Node::Tuple(_) => Box::new((0..).map(|nth: usize| format!(".{nth}"))),
        _ => Box::new(std::iter::once("[]".to_owned())),
    }
}

fn place(path: &str) -> String {
    if path.is_empty() { "the type itself".to_owned() } else { format!("field `{path}`") }
}

/// A type as people write it.
fn spelled(shape: &Shape, id: NodeId, depth: usize) -> String {
    let Some(node) = shape.node(id).filter(|_| depth < SPELLED_DEPTH) else { return "…".into() };
    let spell = |id: &NodeId| spelled(shape, *id, depth + 1);
    match node {
        Node::Unit => "()".into(),
        Node::Text => "String".into(),
        Node::Bytes => "bytes".into(),
        Node::Option(of) => format!("Option<{}>", spell(of)),
        Node::List(of) => format!("Vec<{}>", spell(of)),
        Node::Map { key, value } => format!("Map<{}, {}>", spell(key), spell(value)),
        Node::Array { of, len } => format!("[{}; {len}]", spell(of)),
        Node::Tuple(parts) => {
            format!("({})", parts.iter().map(spell).collect::<Vec<_>>().join(", "))
        }
        Node::Struct(fields) => format!("struct {{ {} }}", names(fields.iter().map(|f| &f.name))),
        Node::Enum(all) => format!("enum {{ {} }}", names(all.iter().map(|v| &v.name))),
        // bool, char and the numbers are called as their nodes are.
        leaf => format!("{leaf:?}").to_lowercase(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 6;
    let names: Vec<_> = names.map(String::as_str).collect();
    let shown = names.get(..SHOWN).map_or_else(|| names.join(", "), |some| some.join(", ") + ", …");
    if shown.is_empty() { "nothing".into() } else { shown }
}

#[cfg(test)]
mod tests;
