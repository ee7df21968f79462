use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use rustix::fs::{Advice, fadvise};
use tempfile::NamedTempFile;
use windlass_core::Digest;

use super::{Store, StoreError};

/// Mode of every blob. Owners may write, because a project's files are links to blobs below an
/// overlay, and a step that may not write there could not edit a file in place.
pub(super) const MODE: u32 = 0o644;

/// Blobs up to this size are written out at once; the disk would be busy for too long with more.
const WRITE_OUT_MAX: u64 = 1 << 20;

/// A blob on its way in. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    tmp: NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
}

impl Store {
    /// Starts a blob whose bytes come in pieces.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let dir = self.tmp();
        let tmp = tempfile::Builder::new()
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(&dir)
            .map_err(StoreError::at(&dir))?;
        Ok(BlobWriter { store: self.clone(), tmp, hasher: blake3::Hasher::new(), size: 0 })
    }

    /// Gives a blob its name by `place`, making its directory where it is the first in there.
    pub(super) fn place(
        &self,
        digest: &Digest,
        place: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = self.path(digest);
        let first = place(&path);
        let placed = match (&first, path.parent()) {
            (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).and_then(|()| place(&path))
            }
            _ => first,
        };
        placed.map_err(StoreError::at(&path))
    }
}

impl BlobWriter {
    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.write_unhashed(bytes)
    }

    pub(super) fn write_unhashed(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.size += bytes.len() as u64;
        let path = self.tmp.path().to_owned();
        self.tmp.as_file_mut().write_all(bytes).map_err(StoreError::at(&path))
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Keeps the blob if it is the one that was `expected`, and says how long it is.
    pub fn finish(self, expected: &Digest) -> Result<u64, StoreError> {
        let found = self.digest();
        if found != *expected {
            return Err(StoreError::Mismatch { expected: *expected, found });
        }
        let size = self.size;
        self.keep(expected)?;
        Ok(size)
    }

    /// Keeps the blob, whatever it is.
    pub fn finish_any(self) -> Result<(Digest, u64), StoreError> {
        let (digest, size) = (self.digest(), self.size);
        self.keep(&digest)?;
        Ok((digest, size))
    }

    fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }

    pub(super) fn keep(self, digest: &Digest) -> Result<(), StoreError> {
        if self.store.contains(digest) {
            return Ok(());
        }
        start_write_out(self.tmp.as_file(), self.size);
        let path = self.tmp.into_temp_path();
        self.store.place(digest, |to| fs::rename(&path, to))?;
        // The name is gone with the rename; dropping the guard must not try to remove it.
        path.keep().map(drop).map_err(|failed| StoreError::at(&failed.path)(failed.error))
    }
}

/// Has the kernel start to write a small file to the disk, without waiting: about 0.05 ms, where
/// an fsync takes from 0.2 to 4 ms. Pages that are dirty stay cached. Nobody depends on it.
pub(super) fn start_write_out(file: &File, size: u64) {
    if size <= WRITE_OUT_MAX
        && let Err(error) = fadvise(file, 0, None, Advice::DontNeed)
    {
        tracing::debug!(%error, "no early write-out");
    }
}
