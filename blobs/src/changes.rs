use std::collections::{BTreeMap, BTreeSet};

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
        let gone: BTreeSet<Box<str>> = from
            .iter()
            .filter(|(path, node)| is_gone(path, node, to))
            .map(|(path, _)| topmost_gone(path, to).into())
            .collect();
        let put = to
            .iter()
            .filter(|(path, node)| from.get(path) != Some(node))
            .map(|(path, node)| (path.into(), Change::Put(node.clone())));
        let gone = gone.into_iter().map(|path| (path, Change::Deleted));
        Self { changes: gone.chain(put).collect() }
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
    let stays = to.get(path).is_some();
    let filled = *node == Node::EmptyDir && to.has_below(path);
    let covered =
        ancestors(path).any(|above| matches!(to.get(above), Some(n) if *n != Node::EmptyDir));
    !stays && !filled && !covered
}

/// The outermost directory around `path` of which `to` has nothing, or `path` itself.
fn topmost_gone<'a>(path: &'a str, to: &Tree) -> &'a str {
    ancestors(path).find(|above| to.get(above).is_none() && !to.has_below(above)).unwrap_or(path)
}
