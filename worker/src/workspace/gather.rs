use std::{
    collections::HashMap,
    fs::{self, DirEntry, Metadata, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use windlass_blobs::{FileNode, Node, Stamp, Store, StoreError, Tree, check_path, is_executable};

use super::{
    Prepared, Skipped, WorkspaceError,
    capture::{MAX_SKIPPED, Why},
    upper::{is_opaque, is_whiteout},
};

/// What is written there at run time and belongs to no result.
const BYTECODE: &str = "__pycache__";

/// Reads what a step left behind.
pub(super) struct Gather<'a> {
    store: &'a Store,
    before: &'a Tree,
    source: Source<'a>,
    after: Tree,
    changed: usize,
    max_changed: usize,
    skipped: Vec<Skipped>,
}

/// What is read.
enum Source<'a> {
    /// The upper directory of an overlay: changes only.
    Upper { userxattr: bool },
    /// The working directory itself, and how its files looked when they were laid down.
    Copies { laid: &'a HashMap<String, Stamp> },
}

/// What a walk found: the tree as it is now, and what cannot be in it.
pub(super) struct Gathered {
    pub(super) after: Tree,
    pub(super) skipped: Vec<Skipped>,
}

/// Reads the working directory, keeping in `store` what the step wrote.
pub(super) fn gather(
    store: &Store,
    prepared: &Prepared,
    max_changed: usize,
) -> Result<Gathered, WorkspaceError> {
    let before = &prepared.view.tree;
    let (source, after, root) = match &prepared.mount {
        Some(overlay) => {
            let source = Source::Upper { userxattr: overlay.userxattr };
            (source, before.clone(), &overlay.upper)
        }
        None => (Source::Copies { laid: &prepared.laid }, Tree::default(), &prepared.cwd),
    };
    let skipped = Vec::new();
    let mut gather = Gather { store, before, source, after, changed: 0, max_changed, skipped };
    gather.directory(root, "")?;
    Ok(Gathered { after: gather.after, skipped: gather.skipped })
}

impl Gather<'_> {
    fn directory(&mut self, dir: &Path, relative: &str) -> Result<(), WorkspaceError> {
        let listing = match with_access(dir, 0o700, || fs::read_dir(dir)) {
            Ok(listing) => listing,
            Err(error) => return self.unreadable(relative, dir, error),
        };
        for entry in listing {
            self.entry(&entry.map_err(WorkspaceError::at(dir))?, relative)?;
        }
        if !relative.is_empty() && !self.after.has_below(relative) {
            self.put(relative, Node::EmptyDir);
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, parent: &str) -> Result<(), WorkspaceError> {
        let under = |name: &str| match parent {
            "" => name.to_owned(),
            _ => format!("{parent}/{name}"),
        };
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => {
                self.skip(under(&name.to_string_lossy()), Why::NotUtf8);
                return Ok(());
            }
        };
        let relative = under(&name);
        if check_path(&relative).is_err() {
            self.skip(relative, Why::TooLong);
            return Ok(());
        }
        let path = entry.path();
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            Err(error) => return self.unreadable(&relative, &path, error),
        };
        if meta.is_dir() {
            if name == BYTECODE {
                return Ok(());
            }
            self.enter(&path, &relative);
            return self.directory(&path, &relative);
        }
        self.other(&path, relative, &meta)
    }

    /// Forgets what a directory of an overlay hides.
    fn enter(&mut self, path: &Path, relative: &str) {
        let Source::Upper { userxattr } = self.source else { return };
        if self.after.get(relative).is_some() {
            self.after.remove(relative);
        } else if is_opaque(path, userxattr) {
            self.after.remove_below(relative);
        }
    }

    fn other(
        &mut self,
        path: &Path,
        relative: String,
        meta: &Metadata,
    ) -> Result<(), WorkspaceError> {
        if let Source::Upper { userxattr } = self.source
            && is_whiteout(path, meta, userxattr)
        {
            self.count()?;
            self.after.remove(&relative);
        } else if meta.is_symlink() {
            let target = fs::read_link(path).map_err(WorkspaceError::at(path))?;
            match target.into_os_string().into_string() {
                Ok(target) => self.link(&relative, Node::Link { target: target.into() })?,
                Err(_) => self.replace(relative, Why::NotUtf8),
            }
        } else if meta.is_file() {
            return self.file(path, relative, meta);
        } else {
            self.replace(relative, Why::Special);
        }
        Ok(())
    }

    fn link(&mut self, relative: &str, link: Node) -> Result<(), WorkspaceError> {
        if self.before.get(relative) != Some(&link) {
            self.count()?;
        }
        self.put(relative, link);
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        relative: String,
        meta: &Metadata,
    ) -> Result<(), WorkspaceError> {
        if let Source::Copies { laid } = self.source
            && laid.get(&relative) == Some(&Stamp::from(meta))
            && let Some(node) = self.before.get(&relative)
        {
            self.put(&relative, node.clone());
            return Ok(());
        }
        self.count()?;
        let take = || self.store.take_file(path);
        let taken = match take() {
            // A last write of a process that is being killed.
            Err(StoreError::Changed { .. }) => take(),
            Err(StoreError::Io { source, .. }) if is_denied(&source) => {
                match grant(path, 0o400).map_err(WorkspaceError::at(path)) {
                    Ok(()) => take(),
                    Err(WorkspaceError::Io { source, .. }) => {
                        return self.unreadable(&relative, path, source);
                    }
                    Err(other) => return Err(other),
                }
            }
            other => other,
        };
        let (digest, size) = taken?;
        self.put(&relative, Node::File(FileNode { digest, size, executable: is_executable(meta) }));
        Ok(())
    }

    fn put(&mut self, relative: &str, node: Node) {
        if self.after.insert(relative, node).is_err() {
            self.replace(relative.to_owned(), Why::TooLong);
        }
    }

    /// Notes what cannot be kept, in whose place nothing that was there before may stay.
    fn replace(&mut self, relative: String, why: Why) {
        self.after.remove(&relative);
        self.skip(relative, why);
    }

    fn unreadable(
        &mut self,
        relative: &str,
        path: &Path,
        error: io::Error,
    ) -> Result<(), WorkspaceError> {
        let why = match error.kind() {
            io::ErrorKind::PermissionDenied => Why::Unreadable,
            io::ErrorKind::InvalidFilename => Why::TooLong,
            _ => return Err(WorkspaceError::at(path)(error)),
        };
        self.replace(relative.to_owned(), why);
        Ok(())
    }

    fn skip(&mut self, path: String, why: Why) {
        if self.skipped.len() < MAX_SKIPPED {
            self.skipped.push(Skipped { path, why });
        }
    }

    fn count(&mut self) -> Result<(), WorkspaceError> {
        self.changed += 1;
        if self.changed > self.max_changed {
            return Err(WorkspaceError::TooManyChanges { limit: self.max_changed });
        }
        Ok(())
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Adds `bits` to the mode; only the owner may.
fn grant(path: &Path, bits: u32) -> io::Result<()> {
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | bits))
}

fn with_access<T>(path: &Path, bits: u32, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match read() {
        Err(error) if is_denied(&error) => grant(path, bits).and_then(|()| read()),
        other => other,
    }
}
