use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_blobs::{How, Stamp, Store, materialise};
use windlass_core::Digest;

use super::{
    Mode, Overlay, WorkspaceError,
    capture::MAX_CHANGED,
    spaces::{self, Spaces},
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
    pub(super) view: Arc<View>,
    /// How the files looked that were copied; whoever is not there is read.
    pub(super) laid: HashMap<String, Stamp>,
    /// Keeps the lower layers on the disk.
    lower: Vec<Arc<TreeDir>>,
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
        fs::create_dir_all(attempt_dir).map_err(WorkspaceError::at(attempt_dir))?;
        let Some(spaces) = &self.spaces else {
            let cwd = attempt_dir.join("cwd");
            materialise(&self.store, &view.tree, &cwd, How::Copy)?;
            let laid = stamps(&view, &cwd)?;
            return Ok(Prepared { cwd, mount: None, view, laid, lower: Vec::new() });
        };
        let lower = view.lower.iter().map(|tree| tree.path.clone()).collect();
        let userxattr = self.mode == Mode::OverlayInUserNamespace;
        let overlay = spaces.take(attempt_dir, lower, userxattr)?;
        let (cwd, lower) = (overlay.target.clone(), view.lower.clone());
        Ok(Prepared { cwd, mount: Some(overlay), view, laid: HashMap::new(), lower })
    }

    /// Takes back the space of an attempt that has been captured or never started. What nothing
    /// was written to may serve again. Its processes must have ended.
    pub(crate) fn release(
        &self,
        prepared: Prepared,
        attempt_dir: &Path,
    ) -> Result<(), WorkspaceError> {
        match (&self.spaces, prepared.mount) {
            (Some(spaces), Some(overlay)) => spaces.give_back(attempt_dir, overlay, prepared.lower),
            _ => Ok(()),
        }
    }

    /// Puts the emptied directory of an earlier attempt at `attempt_dir`, with `io/inputs` and
    /// `io/outputs` in it; false where there is none.
    pub(crate) fn recycle(&self, attempt_dir: &Path) -> bool {
        self.trash.recycle(attempt_dir)
    }

    /// Removes the directory of an attempt, without waiting for it, and its space unless that has
    /// been released. One that is gone is no error.
    pub(crate) fn discard(&self, attempt_dir: &Path) -> Result<(), WorkspaceError> {
        spaces::linked(attempt_dir)?.map_or(Ok(()), |space| self.trash.throw(&space))?;
        self.trash.throw(attempt_dir)
    }

    /// The working directory that an earlier process prepared of the same parts. All of these
    /// must be adopted before any is prepared: until then nobody holds the trees below them.
    pub(crate) fn adopt(
        &self,
        snapshot: Digest,
        layers: &[Digest],
        attempt_dir: &Path,
    ) -> Result<Prepared, WorkspaceError> {
        let recorded = spaces::recorded(attempt_dir)?;
        if let (Some((space, _)), Some(spaces)) = (&recorded, &self.spaces) {
            spaces.keep(space);
        }
        let mount = recorded.map(|(_, overlay)| overlay);
        let lower = mount.as_ref().map(|overlay| self.views.hold(&overlay.lower));
        let view = self.views.get(snapshot, layers)?;
        let cwd = mount.as_ref().map_or_else(|| attempt_dir.join("cwd"), |o| o.target.clone());
        Ok(Prepared { cwd, mount, view, laid: HashMap::new(), lower: lower.unwrap_or_default() })
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
