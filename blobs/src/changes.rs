use std::{cmp::Ordering, collections::BTreeMap};

use windlass_core::Digest;

use crate::{
    Node, Tree, digest_of,
    lines::{self, Fault, ParseError},
    tree::ancestors,
};

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This stands there now, in place of whatever did, there or below.
    Put(Node),
    /// Nothing is left there or below, but for what the same change set puts there.
    Deleted,
}

/// What tells one tree from another. Deletions come first, whatever the order of the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    changes: BTreeMap<Box<str>, Change>,
}

impl ChangeSet {
    /// Reads a change set, as strictly as a tree.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let mut set = Self::default();
        for (index, line) in lines::parse(text).enumerate() {
            let line = line?;
            let closed = |above| match set.changes.get(above) {
                Some(Change::Put(Node::EmptyDir)) => line.node.is_some(),
                Some(Change::Put(_)) => true,
                Some(Change::Deleted) | None => false,
            };
            if ancestors(&line.path).any(closed) {
                return Err(ParseError { line: index + 1, fault: Fault::BelowEntry });
            }
            set.changes.insert(line.path, line.node.map_or(Change::Deleted, Change::Put));
        }
        Ok(set)
    }

    /// What makes `to` of `from`. The same for the same trees, however the one became the other.
    pub fn between(from: &Tree, to: &Tree) -> Self {
        let mut changes = BTreeMap::new();
        let (mut old, mut new) = (from.iter().peekable(), to.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Self { changes },
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            match (before, after) {
                (Some((_, a)), Some((_, b))) if a == b => {}
                (_, Some((path, node))) => {
                    changes.insert(path.into(), Change::Put(node.clone()));
                }
                (Some((path, node)), None) if is_gone(path, node, to) => {
                    changes.insert(topmost_gone(path, to).into(), Change::Deleted);
                }
                (_, None) => {}
            }
        }
    }

    /// The text whose digest names this change set.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.changes.len() * 120);
        for (path, change) in &self.changes {
            let node = match change {
                Change::Put(node) => Some(node),
                Change::Deleted => None,
            };
            lines::encode(&mut out, path, node);
        }
        out
    }

    /// Names this change set: the digest of its text.
    pub fn digest(&self) -> Digest {
        digest_of(&self.encode())
    }

    /// True where nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Every change, by the bytes of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.changes.iter().map(|(path, change)| (&**path, change))
    }
}

impl Tree {
    /// The tree that `changes` make of this one. What they delete need not be there.
    pub fn apply(&self, changes: &ChangeSet) -> Tree {
        let mut tree = self.clone();
        for (path, change) in changes.iter() {
            if *change == Change::Deleted {
                tree.remove(path);
            }
        }
        for (path, change) in changes.iter() {
            if let Change::Put(node) = change {
                tree.put(path.into(), node.clone());
            }
        }
        tree
    }
}

/// True where a line must say that `path` is gone: not where what `to` puts there says it.
fn is_gone(path: &str, node: &Node, to: &Tree) -> bool {
    let filled = *node == Node::EmptyDir && to.has_below(path);
    let closed = |above| matches!(to.get(above), Some(node) if *node != Node::EmptyDir);
    !filled && !ancestors(path).any(closed)
}

/// The outermost directory around `path` of which `to` has nothing, or `path` itself.
fn topmost_gone<'a>(path: &'a str, to: &Tree) -> &'a str {
    ancestors(path).find(|above| to.get(above).is_none() && !to.has_below(above)).unwrap_or(path)
}
