use std::{fs, io, path::Path};

use windlass_blobs::{Store, StoreError};
use windlass_core::Digest;

/// Reads and keeps blobs. The local worker shares the daemon's store; another one would ask
/// `BlobService`. Everything blocks.
pub(crate) trait BlobAccess: Send + Sync + 'static {
    /// The bytes of a blob of at most `limit` bytes.
    fn read(&self, digest: &Digest, limit: u64) -> io::Result<Vec<u8>>;

    /// Writes a copy of a blob to a new file.
    fn copy_to(&self, digest: &Digest, path: &Path) -> io::Result<()>;

    fn put_bytes(&self, bytes: &[u8]) -> io::Result<Digest>;

    /// Keeps a file that nobody writes to any more, and tells its size.
    fn take_file(&self, path: &Path) -> io::Result<(Digest, u64)>;
}

/// The store of a daemon on the same machine.
pub(crate) struct LocalBlobs(pub(crate) Store);

impl BlobAccess for LocalBlobs {
    fn read(&self, digest: &Digest, limit: u64) -> io::Result<Vec<u8>> {
        self.0.read(digest, limit).map_err(as_io)
    }

    fn copy_to(&self, digest: &Digest, path: &Path) -> io::Result<()> {
        let (mut from, _) = self.0.open_blob(digest).map_err(as_io)?;
        let mut to = fs::File::create_new(path)?;
        io::copy(&mut from, &mut to).map(drop)
    }

    fn put_bytes(&self, bytes: &[u8]) -> io::Result<Digest> {
        self.0.put_bytes(bytes).map_err(as_io)
    }

    fn take_file(&self, path: &Path) -> io::Result<(Digest, u64)> {
        self.0.take_file(path).map_err(as_io)
    }
}

fn as_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { path, source } => {
            io::Error::new(source.kind(), format!("{}: {source}", path.display()))
        }
        other => io::Error::other(other),
    }
}
