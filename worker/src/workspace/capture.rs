use windlass_blobs::{Change, ChangeSet, Node};
use windlass_core::Digest;

use super::{
    Overlay, Prepared, WorkspaceError, Workspaces,
    gather::{Gathered, gather},
};

/// Most files that one attempt may change, unless the worker is told otherwise.
pub(super) const MAX_CHANGED: usize = 100_000;

/// Most paths that are named as skipped.
pub(super) const MAX_SKIPPED: usize = 1_000;

/// What a step made of its working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    /// The change set in the store, or `None` where nothing changed.
    pub(crate) changes: Option<Digest>,
    /// By the bytes of the path. A directory that is gone is one entry.
    pub(crate) artifacts: Vec<ArtifactFact>,
    /// What was written but cannot be kept; at most 1,000.
    pub(crate) skipped: Vec<Skipped>,
}

/// A file that a step wrote or took away. Its bytes, or a link's target, are in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactFact {
    /// Relative to the working directory.
    pub(crate) path: String,
    pub(crate) entry: Entry,
}

/// What became of the path of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    File { digest: Digest, size: u64, executable: bool },
    Symlink { target: Digest, size: u64 },
    Deleted,
}

/// Something that a step left behind and that is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) path: String,
    pub(crate) why: Why,
}

/// Why something is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NotUtf8,
    /// A socket, pipe or device.
    Special,
    Unreadable,
    TooLong,
}

impl Workspaces {
    /// Keeps what the step wrote, changed and deleted. Its processes must have ended and its
    /// overlay be unmounted. May be done again, with the same result, until the attempt is
    /// discarded.
    pub(crate) fn capture(&self, prepared: &Prepared) -> Result<Captured, WorkspaceError> {
        if prepared.is_unused() {
            return Ok(Captured { changes: None, artifacts: Vec::new(), skipped: Vec::new() });
        }
        let Gathered { after, skipped } = gather(&self.store, prepared, self.max_changed)?;
        let changes = ChangeSet::between(&prepared.view.tree, &after);
        if changes.is_empty() {
            return Ok(Captured { changes: None, artifacts: Vec::new(), skipped });
        }
        let mut artifacts = Vec::new();
        for (path, change) in changes.iter() {
            let entry = match change {
                Change::Put(Node::File(file)) => Entry::File {
                    digest: file.digest,
                    size: file.size,
                    executable: file.executable,
                },
                Change::Put(Node::Link { target }) => Entry::Symlink {
                    target: self.store.put_bytes(target.as_bytes())?,
                    size: target.len() as u64,
                },
                Change::Put(Node::EmptyDir) => continue,
                Change::Deleted => Entry::Deleted,
            };
            artifacts.push(ArtifactFact { path: path.to_owned(), entry });
        }
        let changes = self.store.put_bytes(&changes.encode())?;
        Ok(Captured { changes: Some(changes), artifacts, skipped })
    }
}
