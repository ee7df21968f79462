use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, open};

/// Bytes of entries read at once. The standard library takes 32 KiB from the allocator each time,
/// which then puts its free memory in order; nearly all that is looked at here is empty.
const BLOCK: usize = 1 << 10;

/// A directory that is looked at; no link is followed to it.
pub(crate) struct Listing(OwnedFd);

impl Listing {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// Permissions, with the bits for set-id and sticky.
    pub(crate) fn mode(&self) -> io::Result<u32> {
        Ok(fstat(&self.0)?.st_mode & 0o7777)
    }

    /// True where nothing is in it.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        self.all(|_, _| false)
    }

    /// True where `test` is for every entry, by name and kind; some file systems do not know kinds.
    pub(crate) fn all(&self, mut test: impl FnMut(&[u8], FileType) -> bool) -> io::Result<bool> {
        let mut block = [MaybeUninit::uninit(); BLOCK];
        let mut entries = RawDir::new(&self.0, &mut block);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && !test(name, entry.file_type()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
