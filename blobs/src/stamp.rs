use std::{fs::Metadata, os::unix::fs::MetadataExt};

/// What the file system says of a file's content. While it stays equal the bytes are taken to be
/// the same, unless the file was touched within the tick of the clock in which it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// As `mtime_ns`; unlike it, no program can set it.
    pub ctime_ns: i64,
    pub inode: u64,
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        let nanos =
            |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: meta.len(),
            mtime_ns: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }
}

/// True where the owner may execute the file: all that a tree keeps of its mode.
pub fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}
