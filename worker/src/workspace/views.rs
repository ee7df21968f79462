use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use windlass_blobs::{Change, ChangeSet, Store, Tree, digest_of};
use windlass_core::Digest;

use super::{
    WorkspaceError,
    trees::{TreeDir, Trees, read_list},
};

/// Most views that are remembered.
const MAX_VIEWS: usize = 64;

/// Most lower layers of one overlay. Names are looked up in one after the other, and the options
/// of a mount must fit into a page of 4096 bytes.
const MAX_LOWER: usize = 8;

/// Longest paths that may go into the options of one mount, in bytes.
const MAX_LOWER_BYTES: usize = 3000;

/// What a step sees before it has written anything.
#[derive(Debug)]
pub(super) struct View {
    pub(super) tree: Tree,
    /// Trees that show it when laid one over the other, the topmost first; none in copy mode.
    pub(super) lower: Vec<Arc<TreeDir>>,
}

/// A snapshot and the change sets over it.
type Key = (Digest, Vec<Digest>);

/// Views by what they are made of, so that a chain of steps that change little costs little.
#[derive(Debug)]
pub(super) struct Views {
    store: Arc<Store>,
    /// `None` in copy mode.
    trees: Option<Trees>,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    views: HashMap<Key, (Arc<View>, u64)>,
    uses: u64,
}

impl Views {
    pub(super) fn new(store: Arc<Store>, trees: Option<Trees>) -> Self {
        Self { store, trees, recent: Mutex::default() }
    }

    /// What a step sees whose run started from `snapshot` and whose predecessors made `layers`.
    pub(super) fn get(
        &self,
        snapshot: Digest,
        layers: &[Digest],
    ) -> Result<Arc<View>, WorkspaceError> {
        let nearest = (0..=layers.len()).rev().find_map(|known| {
            let key = (snapshot, layers[..known].to_vec());
            self.lock().find(&key).map(|view| (known, view))
        });
        let (known, parent) = match nearest {
            Some((known, view)) if known == layers.len() => return Ok(view),
            Some((known, view)) => (known, view),
            None => (0, self.base(snapshot)?),
        };
        if layers.is_empty() {
            return Ok(parent);
        }
        let mut tree = parent.tree.clone();
        for layer in &layers[known..] {
            tree = tree.apply(&read_list(&self.store, layer, ChangeSet::parse)?);
        }
        let lower = self.lower(snapshot, &parent, &tree)?;
        Ok(self.remember((snapshot, layers.to_vec()), View { tree, lower }))
    }

    /// The trees that an attempt adopted from another process stands on.
    pub(super) fn hold(&self, lower: &[PathBuf]) -> Vec<Arc<TreeDir>> {
        self.trees.as_ref().map(|trees| trees.hold(lower)).unwrap_or_default()
    }

    /// The snapshot itself.
    fn base(&self, snapshot: Digest) -> Result<Arc<View>, WorkspaceError> {
        let empty = snapshot == digest_of(b"");
        let tree =
            if empty { Tree::default() } else { read_list(&self.store, &snapshot, Tree::parse)? };
        let lower = match &self.trees {
            Some(trees) => vec![trees.get(&self.store, &tree)?],
            None => Vec::new(),
        };
        Ok(self.remember((snapshot, Vec::new()), View { tree, lower }))
    }

    /// Layers that show `tree`: what it adds to its parent, or to its snapshot, over theirs; all
    /// of it anew where it has less than they do.
    fn lower(
        &self,
        snapshot: Digest,
        parent: &Arc<View>,
        tree: &Tree,
    ) -> Result<Vec<Arc<TreeDir>>, WorkspaceError> {
        let Some(trees) = &self.trees else { return Ok(Vec::new()) };
        if let Some(over) = self.over(trees, parent, tree)? {
            return Ok(over);
        }
        let recent = self.lock().find(&(snapshot, Vec::new()));
        let base = recent.map_or_else(|| self.base(snapshot), Ok)?;
        if let Some(over) = self.over(trees, &base, tree)? {
            return Ok(over);
        }
        Ok(vec![trees.get(&self.store, tree)?])
    }

    fn over(
        &self,
        trees: &Trees,
        below: &View,
        tree: &Tree,
    ) -> Result<Option<Vec<Arc<TreeDir>>>, WorkspaceError> {
        let Some(added) = added(&below.tree, tree) else { return Ok(None) };
        if added.is_empty() {
            return Ok(Some(below.lower.clone()));
        }
        let bytes = |lower: &TreeDir| lower.path.as_os_str().len() + 1;
        let length: usize = below.lower.iter().map(|lower| bytes(lower)).sum();
        if below.lower.len() >= MAX_LOWER || length > MAX_LOWER_BYTES {
            return Ok(None);
        }
        let top = trees.get(&self.store, &added)?;
        Ok(Some(std::iter::once(top).chain(below.lower.iter().cloned()).collect()))
    }

    fn remember(&self, key: Key, view: View) -> Arc<View> {
        let view = Arc::new(view);
        self.lock().keep(key, Arc::clone(&view));
        view
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn find(&mut self, key: &Key) -> Option<Arc<View>> {
        self.uses += 1;
        let (view, used) = self.views.get_mut(key)?;
        *used = self.uses;
        Some(Arc::clone(view))
    }

    fn keep(&mut self, key: Key, view: Arc<View>) {
        self.uses += 1;
        self.views.insert(key, (view, self.uses));
        if self.views.len() > MAX_VIEWS {
            let oldest = self.views.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.views.remove(&key);
            }
        }
    }
}

/// What `to` has and `from` has not, where nothing of `from` must be hidden.
fn added(from: &Tree, to: &Tree) -> Option<Tree> {
    let changes = ChangeSet::between(from, to);
    if changes.iter().any(|(_, change)| *change == Change::Deleted) {
        return None;
    }
    Some(Tree::default().apply(&changes))
}
