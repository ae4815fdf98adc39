//! What a shape is made of: a flat list of nodes, so that reading one from hostile bytes cannot
//! exhaust the stack, and recursion is nothing but a number that points back.

use serde::{Deserialize, Serialize};

/// The shape of a type. The type itself is node 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Shape {
    pub(super) nodes: Vec<Node>,
}

/// The number of a node.
pub(super) type NodeId = u32;

/// One kind of value. Golden files fix the order of the variants: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Node {
    Unit,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Text,
    Bytes,
    Option(NodeId),
    List(NodeId),
    Map {
        key: NodeId,
        value: NodeId,
    },
    /// Values of one kind, their number known from the type.
    Array {
        of: NodeId,
        len: u64,
    },
    Tuple(Vec<NodeId>),
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) of: NodeId,
}

/// A variant, and what stands behind its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) holds: Option<NodeId>,
}

impl Shape {
    /// A node, if the shape is whole: one that was read from bytes may point nowhere.
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::try_from(id).ok()?)
    }

    /// Whether it has a beginning, and no part of it points nowhere.
    pub(crate) fn is_whole(&self) -> bool {
        let mut parts = self.nodes.iter().flat_map(Node::parts);
        !self.nodes.is_empty() && parts.all(|part| self.node(part).is_some())
    }
}

impl Node {
    /// The nodes it is made of, in order.
    pub(super) fn parts(&self) -> Vec<NodeId> {
        match self {
            Self::Option(of) | Self::List(of) | Self::Array { of, .. } => vec![*of],
            Self::Map { key, value } => vec![*key, *value],
            Self::Tuple(parts) => parts.clone(),
            Self::Struct(fields) => fields.iter().map(|field| field.of).collect(),
            Self::Enum(variants) => variants.iter().filter_map(|variant| variant.holds).collect(),
            _ => Vec::new(),
        }
    }

    /// The same node with other numbers for its parts.
    pub(super) fn with_parts(&self, mut renumber: impl FnMut(NodeId) -> NodeId) -> Self {
        match self {
            Self::Option(of) => Self::Option(renumber(*of)),
            Self::List(of) => Self::List(renumber(*of)),
            Self::Array { of, len } => Self::Array { of: renumber(*of), len: *len },
            Self::Map { key, value } => Self::Map { key: renumber(*key), value: renumber(*value) },
            Self::Tuple(parts) => Self::Tuple(parts.iter().map(|part| renumber(*part)).collect()),
            Self::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Field { name: field.name.clone(), of: renumber(field.of) })
                    .collect(),
            ),
            Self::Enum(variants) => Self::Enum(
                variants
                    .iter()
                    .map(|variant| Variant {
                        name: variant.name.clone(),
                        holds: variant.holds.map(&mut renumber),
                    })
                    .collect(),
            ),
            leaf => leaf.clone(),
        }
    }
}
