use std::{collections::BTreeMap, ops::Bound};

use windlass_core::Digest;

use crate::{
    digest_of,
    lines::{self, Fault, MAX_ENTRIES, ParseError, PathFault, check_path},
};

/// What stands at a path of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(FileNode),
    /// A symbolic link, never followed.
    Link {
        target: Box<str>,
    },
    /// A directory with nothing in it; others are there by what is below them.
    EmptyDir,
}

/// A file, whose bytes lie in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNode {
    pub digest: Digest,
    pub size: u64,
    pub executable: bool,
}

/// Files by path. Every path is relative and clean, and none lies below another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<Box<str>, Node>,
}

/// A tree that grew beyond what is kept, or a path that cannot be in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    #[error(transparent)]
    Path(#[from] PathFault),
    #[error("the target of the link is empty, too long or has a NUL byte")]
    Target,
    #[error("more than 1000000 entries")]
    TooMany,
}

impl Tree {
    /// Reads a tree, strictly: whatever breaks a rule of the format is an error with its line.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let mut tree = Self::default();
        for (index, line) in lines::parse(text).enumerate() {
            let line = line?;
            let fail = |fault| ParseError { line: index + 1, fault };
            let node = line.node.ok_or(fail(Fault::Deletion))?;
            if ancestors(&line.path).any(|above| tree.nodes.contains_key(above)) {
                return Err(fail(Fault::BelowEntry));
            }
            tree.nodes.insert(line.path, node);
        }
        Ok(tree)
    }

    /// The text whose digest names this tree.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.nodes.len() * 120);
        for (path, node) in &self.nodes {
            lines::encode(&mut out, path, Some(node));
        }
        out
    }

    /// Names this tree: the digest of its text.
    pub fn digest(&self) -> Digest {
        digest_of(&self.encode())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True where nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What stands at exactly `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Every entry, by the bytes of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    /// Every file, by the bytes of the path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &FileNode)> {
        self.iter().filter_map(|(path, node)| match node {
            Node::File(file) => Some((path, file)),
            Node::Link { .. } | Node::EmptyDir => None,
        })
    }

    /// True where something stands below `path`, which then is a directory.
    pub fn has_below(&self, path: &str) -> bool {
        let start = format!("{path}/");
        let from = (Bound::Included(start.as_str()), Bound::Unbounded);
        self.nodes.range::<str, _>(from).next().is_some_and(|(next, _)| next.starts_with(&start))
    }

    /// Puts `node` at `path`, in place of whatever stood there, above or below. An empty directory
    /// where there is one with files changes nothing.
    pub fn insert(&mut self, path: &str, node: Node) -> Result<(), InsertError> {
        check_path(path)?;
        if let Node::Link { target } = &node
            && !lines::is_target(target)
        {
            return Err(InsertError::Target);
        }
        if node == Node::EmptyDir && self.has_below(path) {
            return Ok(());
        }
        if self.nodes.len() >= MAX_ENTRIES && !self.nodes.contains_key(path) {
            return Err(InsertError::TooMany);
        }
        self.put(path.into(), node);
        Ok(())
    }

    /// As `insert`, of what has been checked.
    pub(crate) fn put(&mut self, path: Box<str>, node: Node) {
        for above in ancestors(&path) {
            self.nodes.remove(above);
        }
        if node == Node::EmptyDir && self.has_below(&path) {
            return;
        }
        self.remove_below(&path);
        self.nodes.insert(path, node);
    }

    /// Takes away what stands at `path` and below it.
    pub fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    /// Takes away what stands below `path`.
    pub fn remove_below(&mut self, path: &str) {
        let start = format!("{path}/");
        loop {
            let from = (Bound::Included(start.as_str()), Bound::Unbounded);
            let next = self.nodes.range::<str, _>(from).next();
            let Some(below) = next.map(|(next, _)| next).filter(|n| n.starts_with(&start)) else {
                return;
            };
            let below = below.clone();
            self.nodes.remove(&below);
        }
    }
}

/// The directories that `path` lies in, outermost first.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}
