use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use windlass_blobs::{How, ParseError, Store, Tree, materialise};
use windlass_core::Digest;

use super::{WorkspaceError, trash::Trash};

/// Most materialised trees that are kept while nobody uses them.
const MAX_TREES: usize = 64;

/// Names of what is not, or no longer, a whole tree.
const UNFINISHED: &str = "tmp-";

/// File that tells after a reboot that trees may be torn: they are not flushed.
const BOOT: &str = "boot";

/// A tree on the disk, for reading. It stays while anybody holds this.
#[derive(Debug)]
pub(super) struct TreeDir {
    pub(super) path: PathBuf,
}

/// Trees laid down as links to blobs, each once, named by digest.
#[derive(Debug)]
pub(super) struct Trees {
    dir: PathBuf,
    trash: Arc<Trash>,
    /// Makes names for trees that are being laid down.
    next: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    trees: HashMap<String, (Arc<TreeDir>, u64)>,
    uses: u64,
}

impl Trees {
    /// The trees in `dir`, with what a process before this one left there, if it still stands.
    pub(super) fn open(dir: PathBuf, trash: Arc<Trash>) -> Result<Self, WorkspaceError> {
        let at = || WorkspaceError::at(&dir);
        fs::create_dir_all(&dir).map_err(at())?;
        let boot = fs::read("/proc/sys/kernel/random/boot_id").map_err(at())?;
        let stale = fs::read(dir.join(BOOT)).ok().is_none_or(|last| last != boot);
        let mut known = Known::default();
        for entry in fs::read_dir(&dir).map_err(at())? {
            let entry = entry.map_err(at())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !entry.file_type().map_err(at())?.is_dir() {
                continue;
            }
            if stale || name.starts_with(UNFINISHED) {
                trash.throw(&entry.path())?;
            } else {
                known.trees.insert(name, (Arc::new(TreeDir { path: entry.path() }), 0));
            }
        }
        fs::write(dir.join(BOOT), boot).map_err(at())?;
        Ok(Self { known: Mutex::new(known), trash, next: AtomicU64::new(0), dir })
    }

    /// The tree on the disk. Callers that want the same one at once may each lay it down; the
    /// first to finish wins.
    pub(super) fn get(&self, store: &Store, tree: &Tree) -> Result<Arc<TreeDir>, WorkspaceError> {
        let name = tree.digest().to_string();
        if let Some(found) = self.lock().find(&name) {
            return Ok(found);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let laid = self.dir.join(format!("{UNFINISHED}{number}-{name}"));
        if let Err(error) = materialise(store, tree, &laid, How::Link) {
            self.trash.throw(&laid)?;
            return Err(error.into());
        }
        let path = self.dir.join(&name);
        match fs::rename(&laid, &path) {
            // Another was faster.
            Err(error) if is_there(&error) => self.trash.throw(&laid)?,
            other => other.map_err(WorkspaceError::at(&path))?,
        }
        let (tree, unused) = self.lock().keep(name, path, &self.dir);
        for path in unused {
            self.trash.throw(&path)?;
        }
        Ok(tree)
    }

    /// Holds the trees at `paths`, of which an attempt that is adopted makes use.
    pub(super) fn hold(&self, paths: &[PathBuf]) -> Vec<Arc<TreeDir>> {
        let mut known = self.lock();
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        names.filter_map(|name| known.find(name)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&mut self, name: &str) -> Option<Arc<TreeDir>> {
        self.uses += 1;
        let (tree, used) = self.trees.get_mut(name)?;
        *used = self.uses;
        Some(Arc::clone(tree))
    }

    /// Enters a tree, and takes out those that were used longest ago and by nobody now. They are
    /// renamed under the lock, so that nobody finds one that is half gone.
    fn keep(&mut self, name: String, path: PathBuf, dir: &Path) -> (Arc<TreeDir>, Vec<PathBuf>) {
        self.uses += 1;
        let entered = self.trees.entry(name);
        let (tree, used) = entered.or_insert_with(|| (Arc::new(TreeDir { path }), 0));
        *used = self.uses;
        let tree = Arc::clone(tree);
        let excess = self.trees.len().saturating_sub(MAX_TREES);
        let mut idle: Vec<(u64, String)> = self
            .trees
            .iter()
            .filter(|(_, (tree, _))| excess > 0 && Arc::strong_count(tree) == 1)
            .map(|(name, (_, used))| (*used, name.clone()))
            .collect();
        idle.sort();
        let mut unused = Vec::new();
        for (_, name) in idle.into_iter().take(excess) {
            let aside = dir.join(format!("{UNFINISHED}gone-{name}"));
            if fs::rename(dir.join(&name), &aside).is_ok() {
                unused.push(aside);
            }
            self.trees.remove(&name);
        }
        (tree, unused)
    }
}

fn is_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

/// Reads what `digest` names, a tree or change set, with `parse`.
pub(super) fn read_list<T>(
    store: &Store,
    digest: &Digest,
    parse: impl Fn(&[u8]) -> Result<T, ParseError>,
) -> Result<T, WorkspaceError> {
    /// Longest text of a tree or change set: a million entries of 250 bytes.
    const MAX_BYTES: u64 = 256 << 20;
    let text = store.read(digest, MAX_BYTES)?;
    parse(&text).map_err(|source| WorkspaceError::Malformed { digest: *digest, source })
}
