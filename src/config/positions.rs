//! Where each value of a YAML text stands, found by its path, so that checks can be written over plain values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One step of a path into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A member of a mapping.
    Name(String),
    /// An item of a sequence, from 0.
    Index(usize),
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Key::Name(name.into())
    }
}

impl From<usize> for Key {
    fn from(index: usize) -> Self {
        Key::Index(index)
    }
}

/// The outline of a YAML text: what stands where, without the values.
#[derive(Debug)]
pub(super) struct Outline(Spanned<Node>);

#[derive(Clone, Debug)]
enum Node {
    Mapping(Vec<(String, Spanned<Node>)>),
    Sequence(Vec<Spanned<Node>>),
    Scalar,
}

impl Outline {
    /// Outlines a text; `None` when it is not YAML.
    pub fn of(text: &str) -> Option<Self> {
        // A `.nan` is for the checks to refuse, with its place.
        let options = serde_saphyr::options! {
            non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        };
        serde_saphyr::from_str_with_options(text, options)
            .ok()
            .map(Outline)
    }

    /// Line and column, from 1, of the deepest part of the path that is there.
    pub fn position(&self, path: &[Key]) -> (u64, u64) {
        let mut at = &self.0;
        for key in path {
            let next = match (&at.value, key) {
                (Node::Mapping(members), Key::Name(name)) => members
                    .iter()
                    .find(|(member, _)| member == name)
                    .map(|(_, node)| node),
                (Node::Sequence(items), Key::Index(index)) => items.get(*index),
                _ => None,
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        (at.referenced.line(), at.referenced.column())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Node, E> {
            Ok(Node::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_bytes: &[u8]);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(member) = members.next_entry()? {
            nodes.push(member);
        }
        Ok(Node::Mapping(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_scalar_has_its_place() {
        for scalar in [
            "1",
            "-1",
            "1.5",
            ".nan",
            ".inf",
            "-.inf",
            "~",
            "true",
            "word",
            "\"quoted\"",
            "0x1f",
            "2026-01-01",
        ] {
            let text = format!("a:\n  - b: {scalar}\n");
            let outline = Outline::of(&text).unwrap_or_else(|| panic!("{scalar} is YAML"));
            assert_eq!(
                outline.position(&["a".into(), 0.into(), "b".into()]),
                (2, 8),
                "{scalar}"
            );
        }
    }
}
