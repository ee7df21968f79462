//! The store: `ab/cdef…` holds the bytes whose digest is `abcdef…`.
//!
//! A blob appears under its name at once and whole, by rename or link, so a killed process leaves
//! none that is torn. Power loss may take the bytes of a young one: small blobs are written out
//! without waiting, so that the next commit of the daemon's database orders them on journaling
//! file systems; large ones go when the kernel likes. Whoever reads checks the digest.

mod intake;
mod writer;

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use windlass_core::Digest;

pub use intake::open_regular;
pub(crate) use intake::{Content, hash_open};
pub use writer::BlobWriter;

/// Names `bytes`.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// Content-addressed files below one directory; cheap to clone, safe to share between processes.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
}

/// Why bytes could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no blob {digest}")]
    Missing { digest: Digest },
    /// The bytes were not those of the digest; they have been moved out of the way.
    #[error("blob {digest} was corrupt and has been moved to {}", aside.display())]
    Corrupt { digest: Digest, aside: PathBuf },
    #[error("blob {digest} has {size} bytes, more than the {limit} that fit here")]
    TooLarge { digest: Digest, size: u64, limit: u64 },
    /// What came in is not what was announced.
    #[error("expected blob {expected}, got {found}")]
    Mismatch { expected: Digest, found: Digest },
    /// The blob is sound, but a tree says that it is of another size.
    #[error("blob {digest} has {size} bytes where {expected} were announced")]
    WrongSize { digest: Digest, size: u64, expected: u64 },
    #[error("{} changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("{} is gone", path.display())]
    Vanished { path: PathBuf },
    #[error("{} is no regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("failed at {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Vanished { path },
            _ => Self::Io { path, source },
        }
    }
}

impl Store {
    /// The store in `dir`, which is made where it is missing.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let store = Self { root: dir.into() };
        let tmp = store.tmp();
        fs::create_dir_all(&tmp).map_err(StoreError::at(&tmp))?;
        Ok(store)
    }

    /// Where the blob lies or would lie.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join(&hex[..2]).join(&hex[2..])
    }

    /// True where the blob is held.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Bytes of the blob, or `None` where it is not held.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|meta| meta.len())
    }

    /// The blob's bytes, checked against the digest.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (mut file, size) = self.open_blob(digest)?;
        if size > limit {
            return Err(StoreError::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(StoreError::at(&self.path(digest)))?;
        if digest_of(&bytes) != *digest {
            return Err(self.set_aside(digest));
        }
        Ok(bytes)
    }

    /// Opens the blob for reading and says how long it is. Its bytes are not checked.
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), StoreError> {
        let path = self.path(digest);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest: *digest },
            _ => StoreError::at(&path)(source),
        })?;
        let size = file.metadata().map_err(StoreError::at(&path))?.len();
        Ok((file, size))
    }

    /// Checks the bytes of a blob of any size, and says how many they are.
    pub fn verify(&self, digest: &Digest) -> Result<u64, StoreError> {
        let (file, size) = self.open_blob(digest)?;
        match intake::hash_open(&self.path(digest), &file) {
            Ok(content) if content.digest == *digest => Ok(size),
            Ok(_) => Err(self.set_aside(digest)),
            Err(error) => Err(error),
        }
    }

    /// Moves a blob whose bytes are wrong to `corrupt/`, so that the right ones can be put again.
    fn set_aside(&self, digest: &Digest) -> StoreError {
        let dir = self.root.join("corrupt");
        let aside = dir.join(digest.to_string());
        let moved = fs::create_dir_all(&dir).and_then(|()| fs::rename(self.path(digest), &aside));
        match moved {
            Ok(()) => StoreError::Corrupt { digest: *digest, aside },
            Err(source) => StoreError::Io { path: aside, source },
        }
    }

    /// Keeps `bytes`; those that are there cost only their digest.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = digest_of(bytes);
        if !self.contains(&digest) {
            let mut writer = self.writer()?;
            writer.write_unhashed(bytes)?;
            writer.keep(&digest)?;
        }
        Ok(digest)
    }

    /// Removes what broken-off writers left in `tmp/`: files last written before `before`.
    pub fn sweep_tmp(&self, before: SystemTime) -> Result<u32, StoreError> {
        let tmp = self.tmp();
        let mut removed = 0;
        for entry in fs::read_dir(&tmp).map_err(StoreError::at(&tmp))? {
            let entry = entry.map_err(StoreError::at(&tmp))?;
            // A writer may finish between the listing and here: a file that is gone is no error.
            let old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at < before);
            if old && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}
