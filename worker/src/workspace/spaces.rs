use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;

use super::{Overlay, WorkspaceError, trash::Trash, trees::TreeDir};

/// Most spaces that wait for an attempt which sees the same.
const MAX_IDLE: usize = 8;

/// Directories of overlays. One that nothing was written to may stay mounted and serve the next
/// attempt that sees the same: making and mounting one costs a dozen directories.
#[derive(Debug)]
pub(super) struct Spaces {
    dir: PathBuf,
    trash: Arc<Trash>,
    /// Spaces of a process before this one, until the first new one is wanted.
    inherited: Mutex<Vec<PathBuf>>,
    /// The one that was given back first comes first.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    space: PathBuf,
    overlay: Overlay,
    /// The trees below what may still be mounted.
    _lower: Vec<Arc<TreeDir>>,
}

impl Spaces {
    pub(super) fn open(dir: PathBuf, trash: Arc<Trash>) -> Result<Self, WorkspaceError> {
        let at = || WorkspaceError::at(&dir);
        fs::create_dir_all(&dir).map_err(at())?;
        let inherited: io::Result<Vec<_>> =
            fs::read_dir(&dir).map_err(at())?.map(|entry| Ok(entry?.path())).collect();
        let inherited = Mutex::new(inherited.map_err(at())?);
        Ok(Self { trash, inherited, idle: Mutex::default(), dir })
    }

    /// A space, and its overlay over `lower`.
    pub(super) fn take(
        &self,
        lower: Vec<PathBuf>,
        userxattr: bool,
    ) -> Result<(PathBuf, Overlay), WorkspaceError> {
        for left in std::mem::take(&mut *lock(&self.inherited)) {
            self.trash.throw(&left)?;
        }
        match self.find_idle(&lower) {
            Some(idle) => Ok((idle.space, idle.overlay)),
            None => self.make(lower, userxattr).map_err(WorkspaceError::at(&self.dir)),
        }
    }

    /// Lets an attempt of an earlier process keep its space.
    pub(super) fn keep(&self, space: &Path) {
        lock(&self.inherited).retain(|inherited| inherited != space);
    }

    /// Takes a space back that nothing was written to.
    pub(super) fn give_back(
        &self,
        space: PathBuf,
        overlay: Overlay,
        lower: Vec<Arc<TreeDir>>,
    ) -> Result<(), WorkspaceError> {
        let mut idle = lock(&self.idle);
        idle.push(Idle { space, overlay, _lower: lower });
        let excess = (idle.len() > MAX_IDLE).then(|| idle.remove(0));
        drop(idle);
        excess.map_or(Ok(()), |oldest| self.trash.throw(&oldest.space))
    }

    fn find_idle(&self, lower: &[PathBuf]) -> Option<Idle> {
        let mut idle = lock(&self.idle);
        let at = idle.iter().position(|idle| idle.overlay.lower == lower)?;
        Some(idle.remove(at))
    }

    /// Names are never used twice: what is mounted under one stays what it is.
    fn make(&self, lower: Vec<PathBuf>, userxattr: bool) -> io::Result<(PathBuf, Overlay)> {
        let space = TempDir::with_prefix_in("", &self.dir)?;
        let overlay = Overlay::of(space.path(), lower, userxattr);
        overlay.set_up(space.path())?;
        Ok((space.keep(), overlay))
    }
}

impl Drop for Spaces {
    /// Leaves nothing mounted behind.
    fn drop(&mut self) {
        for idle in lock(&self.idle).drain(..) {
            if let Err(error) = self.trash.throw(&idle.space) {
                tracing::warn!(space = %idle.space.display(), %error, "a space stays");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True for a directory on which something is mounted, as this process sees it.
pub(super) fn is_mounted(dir: &Path) -> io::Result<bool> {
    let parent = dir.parent().unwrap_or(dir);
    Ok(fs::metadata(dir)?.dev() != fs::metadata(parent)?.dev())
}
