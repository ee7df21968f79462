use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{
    SnapshotError,
    cache::{self, Fresh, Remembered},
    walk::Seen,
};
use crate::{
    FileNode, Stamp, StoreError,
    store::{Content, hash_open, open_regular},
};

/// Most threads that read files at once: disks and memory give out before more would help.
const MAX_THREADS: usize = 4;

/// How often a file that changes while it is read is read.
const TRIES: usize = 4;

/// Below so many bytes, starting a thread costs more than it saves.
const BYTES_PER_THREAD: u64 = 4 << 20;

/// What each file holds, reading only those that do not look as they did.
pub(super) fn digests(
    root: &Path,
    files: Vec<Seen>,
    cache: Option<&Path>,
) -> Result<Vec<(String, FileNode)>, SnapshotError> {
    let remembered = cache.map(|file| cache::load(file, root)).unwrap_or_default();
    let mut known = Vec::with_capacity(files.len());
    let mut unknown = Vec::new();
    for file in files {
        match remembered.get(&file.path) {
            Some((stamp, digest)) if *stamp == file.stamp => known.push((file, *digest)),
            _ => unknown.push(file),
        }
    }
    let fresh = cache.filter(|_| !unknown.is_empty()).and_then(Fresh::begin);
    let read = read_all(root, &unknown)?;
    let (unknown, read): (Vec<_>, Vec<_>) =
        unknown.into_iter().zip(read).filter_map(|(file, now)| Some((file, now?))).unzip();
    if let (Some(file), Some(fresh)) = (cache, fresh) {
        let settled = unknown.iter().zip(&read).filter(|(_, now)| fresh.is_settled(&now.stamp));
        let mut next: Remembered =
            settled.map(|(file, now)| (file.path.clone(), (now.stamp, now.digest))).collect();
        if !next.is_empty() {
            next.extend(known.iter().map(|(file, d)| (file.path.clone(), (file.stamp, *d))));
            fresh.save(file, root, &next);
        }
    }
    let node = |stamp: Stamp, digest, executable| FileNode { digest, size: stamp.size, executable };
    let known = known.into_iter().map(|(f, digest)| (f.path, node(f.stamp, digest, f.executable)));
    let read = unknown.into_iter().zip(read);
    let read = read.map(|(file, now)| (file.path, node(now.stamp, now.digest, now.executable)));
    Ok(known.chain(read).collect())
}

/// Reads the files, in their order, on as many threads as their bytes are worth. `None` for one
/// that is gone by now.
fn read_all(root: &Path, files: &[Seen]) -> Result<Vec<Option<Content>>, SnapshotError> {
    let bytes: u64 = files.iter().map(|file| file.stamp.size).sum();
    let worth = usize::try_from(bytes / BYTES_PER_THREAD).unwrap_or(MAX_THREADS);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = worth.min(cores).min(MAX_THREADS).min(files.len());
    if threads < 2 {
        return files.iter().map(|file| read_one(root, file)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, file)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            files.get(index).map(|file| (index, file))
        } {
            done.push((index, read_one(root, file)?));
        }
        Ok(done)
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, SnapshotError>(all)
    })?;
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, content)| content).collect())
}

/// Reads one file; one that does not stand still is tried again. Who removes a file between the
/// listing and here has a project without it.
fn read_one(root: &Path, file: &Seen) -> Result<Option<Content>, SnapshotError> {
    let path = root.join(&file.path);
    let read = || hash_open(&path, &open_regular(&path)?);
    let mut content = read();
    for _ in 1..TRIES {
        if !matches!(content, Err(StoreError::Changed { .. })) {
            break;
        }
        content = read();
    }
    match content {
        Ok(content) => Ok(Some(content)),
        Err(StoreError::Vanished { .. }) => Ok(None),
        Err(StoreError::Io { path, source }) => Err(SnapshotError::Read { path, source }),
        Err(other) => Err(SnapshotError::Unstable(other)),
    }
}
