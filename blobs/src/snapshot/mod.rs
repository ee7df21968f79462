//! A project's files as they are now: which of them belong to it, and what they hold.

mod cache;
mod hash;
mod rules;
mod walk;

use std::{
    io,
    path::{Path, PathBuf},
};

use windlass_core::Digest;

use crate::{Node, StoreError, Tree, tree::InsertError};

/// Files above this size are left out unless `Options::files` names them.
pub const DEFAULT_MAX_FILE: u64 = 100 << 20;

/// Most entries that `Snapshot::left_out` lists.
pub const MAX_LEFT_OUT: usize = 10_000;

/// What to take.
#[derive(Clone, Debug)]
pub struct Options {
    /// Patterns as in `.gitignore` of what belongs to the project although it is ignored or large.
    pub files: Vec<String>,
    /// Largest file that is taken without being named, in bytes.
    pub max_file: u64,
    /// Where digests are remembered from one snapshot to the next. The file may be lost or spoilt.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { files: Vec::new(), max_file: DEFAULT_MAX_FILE, cache: None }
    }
}

/// A project's files at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub tree: Tree,
    /// What was left out, by path; an ignored directory is one entry that ends in `/`.
    pub left_out: Vec<LeftOut>,
    /// How many more there were than `left_out` lists.
    pub left_out_more: usize,
    root: PathBuf,
}

/// A path that is in the project's directory but not in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    pub path: String,
    pub why: Why,
}

/// Why a path was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// By `.gitignore`, or because it is a virtual environment or a home of Windlass.
    Ignored,
    TooLarge,
    /// Its name, or the target of the link, is no text.
    NotUtf8,
    /// A socket, pipe or device.
    Special,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("`files: {glob}` is no pattern for paths in the project")]
    Pattern { glob: String, source: Option<ignore::Error> },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file that does not stand still, even when tried again.
    #[error(transparent)]
    Unstable(StoreError),
    #[error("{} cannot be in a snapshot", path.display())]
    Unfit { path: PathBuf, source: InsertError },
}

impl SnapshotError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

impl Snapshot {
    /// What a store must hold beside the tree itself: path, digest and size of every file.
    pub fn files(&self) -> impl Iterator<Item = (PathBuf, Digest, u64)> {
        self.tree.files().map(|(path, file)| (self.root.join(path), file.digest, file.size))
    }
}

/// True for what `Options::files` may hold: a pattern, for paths within the project.
pub fn is_pattern(glob: &str) -> bool {
    rules::Wanted::new(Path::new("/"), &[glob.to_owned()]).is_ok()
}

/// Takes a snapshot of the directory `root`. Links are recorded, never followed.
pub fn take(root: &Path, options: &Options) -> Result<Snapshot, SnapshotError> {
    let root = root.canonicalize().map_err(SnapshotError::read(root))?;
    let walk::Found { files, others, mut left_out } = walk::walk(&root, options)?;
    let mut tree = Tree::default();
    let mut insert = |path: &str, node: Node| {
        let unfit = |source| SnapshotError::Unfit { path: root.join(path), source };
        tree.insert(path, node).map_err(unfit)
    };
    for (path, file) in hash::digests(&root, files, options.cache.as_deref())? {
        insert(&path, Node::File(file))?;
    }
    for (path, node) in others {
        insert(&path, node)?;
    }
    left_out.sort();
    let left_out_more = left_out.len().saturating_sub(MAX_LEFT_OUT);
    left_out.truncate(MAX_LEFT_OUT);
    Ok(Snapshot { tree, left_out, left_out_more, root })
}
