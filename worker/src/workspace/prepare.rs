use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use windlass_blobs::{How, Stamp, Store, materialise};
use windlass_core::Digest;

use super::{
    Mode, Overlay, WorkspaceError,
    capture::MAX_CHANGED,
    spaces::Spaces,
    trash::Trash,
    trees::{TreeDir, Trees},
    views::{View, Views},
};

/// Makes working directories, and reads them at the end.
#[derive(Debug)]
pub(crate) struct Workspaces {
    pub(super) store: Arc<Store>,
    pub(super) max_changed: usize,
    mode: Mode,
    views: Views,
    /// `None` in copy mode.
    spaces: Option<Spaces>,
    trash: Arc<Trash>,
}

/// A working directory from before its step starts until it is discarded.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Where the step works. Empty until the overlay is mounted.
    pub(crate) cwd: PathBuf,
    /// What the keeper must mount before the step and unmount after it.
    pub(crate) mount: Option<Overlay>,
    /// Where all of the overlay lies; none for copies.
    pub(crate) space: Option<PathBuf>,
    /// Nothing was written, as was seen when its processes had ended.
    pub(super) untouched: AtomicBool,
    pub(super) view: Arc<View>,
    /// How the files looked that were copied; whoever is not there is read.
    pub(super) laid: HashMap<String, Stamp>,
    /// Keeps the lower layers on the disk.
    lower: Vec<Arc<TreeDir>>,
}

impl Prepared {
    fn new(cwd: PathBuf, mount: Option<Overlay>, view: Arc<View>) -> Self {
        let (laid, lower) = (HashMap::new(), Vec::new());
        Self { cwd, mount, space: None, untouched: AtomicBool::new(false), view, laid, lower }
    }

    /// True where nothing was written to an overlay. Its processes must have ended: what was seen
    /// once is not looked at again.
    pub(crate) fn is_unused(&self) -> bool {
        let Some(overlay) = &self.mount else { return false };
        let unused = self.untouched.load(Ordering::Relaxed) || overlay.is_unused();
        self.untouched.store(unused, Ordering::Relaxed);
        unused
    }
}

impl Workspaces {
    /// Working directories that show trees of `store`; what they share lies in `work_dir/trees`.
    pub(crate) fn new(
        work_dir: &Path,
        store: Arc<Store>,
        mode: Mode,
    ) -> Result<Self, WorkspaceError> {
        let overlay = mode != Mode::Copy;
        let trash = Arc::new(Trash::open(work_dir.join("trash"))?);
        let open = || Trees::open(work_dir.join("trees"), Arc::clone(&trash));
        let trees = overlay.then(open).transpose()?;
        let open = || Spaces::open(work_dir.join("spaces"), Arc::clone(&trash));
        let spaces = overlay.then(open).transpose()?;
        let views = Views::new(Arc::clone(&store), trees);
        Ok(Self { views, spaces, trash, store, mode, max_changed: MAX_CHANGED })
    }

    /// Refuses attempts that change more files than `limit`.
    pub(crate) fn with_max_changed(self, limit: usize) -> Self {
        Self { max_changed: limit, ..self }
    }

    /// Makes the working directory of a new attempt in `attempt_dir`: what `snapshot` holds, with
    /// the change sets `layers` applied in order.
    pub(crate) fn prepare(
        &self,
        snapshot: Digest,
        layers: &[Digest],
        attempt_dir: &Path,
    ) -> Result<Prepared, WorkspaceError> {
        let view = self.views.get(snapshot, layers)?;
        let Some(spaces) = &self.spaces else {
            fs::create_dir_all(attempt_dir).map_err(WorkspaceError::at(attempt_dir))?;
            let cwd = attempt_dir.join("cwd");
            materialise(&self.store, &view.tree, &cwd, How::Copy)?;
            let laid = stamps(&view, &cwd)?;
            return Ok(Prepared { laid, ..Prepared::new(cwd, None, view) });
        };
        let lower = view.lower.iter().map(|tree| tree.path.clone()).collect();
        let userxattr = self.mode == Mode::OverlayInUserNamespace;
        let (space, overlay) = spaces.take(lower, userxattr)?;
        let (cwd, lower) = (overlay.target.clone(), view.lower.clone());
        Ok(Prepared { lower, space: Some(space), ..Prepared::new(cwd, Some(overlay), view) })
    }

    /// Takes back the space of an attempt that has been captured or never started. What nothing
    /// was written to, and nobody reads any more, may serve again. Its processes must have ended.
    pub(crate) fn release(&self, prepared: Arc<Prepared>) -> Result<(), WorkspaceError> {
        let Some(space) = prepared.space.clone() else { return Ok(()) };
        let unused = prepared.is_unused();
        match (&self.spaces, Arc::into_inner(prepared)) {
            (Some(spaces), Some(Prepared { mount: Some(overlay), lower, .. })) if unused => {
                spaces.give_back(space, overlay, lower)
            }
            _ => self.trash.throw(&space),
        }
    }

    /// Puts the emptied directory of an earlier attempt at `attempt_dir`, with `io/inputs` and
    /// `io/outputs` in it; false where there is none. Records in it are those of that attempt.
    pub(crate) fn recycle(&self, attempt_dir: &Path) -> bool {
        self.trash.recycle(attempt_dir)
    }

    /// Removes the directory of an attempt, without waiting for it. One that is gone is no error.
    pub(crate) fn discard(&self, attempt_dir: &Path) -> Result<(), WorkspaceError> {
        self.trash.throw(attempt_dir)
    }

    /// The working directory that an earlier process prepared of the same parts, in `space` where
    /// it was an overlay. All of these must be adopted before any is prepared: until then nobody
    /// holds the trees below them, and spaces that nobody adopted are thrown away then.
    pub(crate) fn adopt(
        &self,
        snapshot: Digest,
        layers: &[Digest],
        attempt_dir: &Path,
        space: Option<&Path>,
    ) -> Result<Prepared, WorkspaceError> {
        let Some(space) = space else {
            let view = self.views.get(snapshot, layers)?;
            return Ok(Prepared::new(attempt_dir.join("cwd"), None, view));
        };
        let overlay = Overlay::recorded(space).map_err(WorkspaceError::at(space))?;
        let lower = self.views.hold(&overlay.lower);
        let view = self.views.get(snapshot, layers)?;
        self.spaces.iter().for_each(|spaces| spaces.keep(space));
        let cwd = overlay.target.clone();
        let space = Some(space.to_path_buf());
        Ok(Prepared { lower, space, ..Prepared::new(cwd, Some(overlay), view) })
    }
}

fn stamps(view: &View, cwd: &Path) -> Result<HashMap<String, Stamp>, WorkspaceError> {
    let stamp = |(path, _): (&str, _)| {
        let at = cwd.join(path);
        let meta = fs::symlink_metadata(&at).map_err(WorkspaceError::at(&at))?;
        Ok((path.to_owned(), Stamp::from(&meta)))
    };
    view.tree.files().map(stamp).collect()
}
