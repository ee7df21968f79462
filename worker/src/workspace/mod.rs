//! The private working directory of an attempt: it shows the project's files and what the steps
//! before wrote, takes every write, and tells at the end what became of them.
//!
//! With an overlay the step works in a space: `cwd` there is a mount point and writes land in
//! `upper`; the attempt's record names the space. The trees below are links to blobs, safe because
//! nothing writes to a lower layer. Without one, `cwd` in the attempt's directory holds copies.
//! Hard links alone will not do: whoever owns a file can make it writable and change the blob
//! through it.

mod capture;
mod discard;
mod gather;
mod listing;
mod mode;
mod overlay;
mod prepare;
mod spaces;
mod trash;
mod trees;
mod upper;
mod views;

use std::{io, path::PathBuf};

use windlass_blobs::{MaterialiseError, ParseError, StoreError};
use windlass_core::Digest;

pub(crate) use capture::{ArtifactFact, Captured, Entry, Skipped, Why};
pub(crate) use listing::Listing;
pub(crate) use mode::{Mode, enter_user_namespace, probe_child};
pub(crate) use overlay::Overlay;
pub(crate) use prepare::{Prepared, Workspaces};

/// Why a working directory could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    #[error("failed to reach the store")]
    Store(#[from] StoreError),
    /// A snapshot or change set that is not one.
    #[error("blob {digest} is no list of files")]
    Malformed { digest: Digest, source: ParseError },
    #[error("failed to lay the project's files down")]
    Materialise(#[from] MaterialiseError),
    #[error("the step changed more than {limit} files")]
    TooManyChanges { limit: usize },
    #[error("failed at {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl WorkspaceError {
    fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
