use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{FileNode, Node, Store, StoreError, Tree};

/// How plain files get where they are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As links to the blobs, for whoever never writes to them; copies where there can be none.
    Link,
    /// As copies, which may be written to.
    Copy,
}

/// Why a tree could not be laid down. What had been laid down by then stays.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    #[error("failed to take {path} from the store")]
    Blob { path: Box<str>, source: StoreError },
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Lays `tree` down in `dest`, a new directory. Sizes of blobs are checked, their bytes are not.
pub fn materialise(
    store: &Store,
    tree: &Tree,
    dest: &Path,
    how: How,
) -> Result<(), MaterialiseError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| MaterialiseError::Write { path, source }
    };
    fs::create_dir(dest).map_err(write(dest))?;
    // Links come last: no file is ever written through one.
    let (links, others): (Vec<_>, Vec<_>) =
        tree.iter().partition(|(_, node)| matches!(node, Node::Link { .. }));
    let mut made = dest.to_owned();
    for (path, node) in others.into_iter().chain(links) {
        let to = dest.join(path);
        let dir = if *node == Node::EmptyDir { Some(to.as_path()) } else { to.parent() };
        if let Some(dir) = dir.filter(|dir| *dir != made) {
            fs::create_dir_all(dir).map_err(write(dir))?;
            dir.clone_into(&mut made);
        }
        match node {
            Node::File(file) => lay_file(store, file, &to, how).map_err(|error| match error {
                LayError::Blob(source) => MaterialiseError::Blob { path: path.into(), source },
                LayError::Write(source) => MaterialiseError::Write { path: to.clone(), source },
            })?,
            Node::Link { target } => symlink(&**target, &to).map_err(write(&to))?,
            Node::EmptyDir => {}
        }
    }
    Ok(())
}

enum LayError {
    Blob(StoreError),
    Write(io::Error),
}

fn lay_file(store: &Store, file: &FileNode, to: &Path, how: How) -> Result<(), LayError> {
    let digest = &file.digest;
    let size = store.size(digest).ok_or(LayError::Blob(StoreError::Missing { digest: *digest }))?;
    if size != file.size {
        store.verify(digest).map_err(LayError::Blob)?;
        let wrong = StoreError::WrongSize { digest: *digest, size, expected: file.size };
        return Err(LayError::Blob(wrong));
    }
    let from = store.path(digest);
    let linked = how == How::Link && !file.executable && fs::hard_link(&from, to).is_ok();
    if !linked {
        // Shares the bytes by itself where the file system can.
        fs::copy(&from, to).map_err(LayError::Write)?;
        if file.executable {
            fs::set_permissions(to, Permissions::from_mode(0o755)).map_err(LayError::Write)?;
        }
    }
    Ok(())
}
