use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::{Mode, OFlags};
use windlass_core::Digest;

use super::{
    Store, StoreError,
    writer::{MODE, start_write_out},
};
use crate::{Stamp, stamp::is_executable};

/// Bytes read at once: enough for blake3 to use the widest vectors, little enough for the cache.
const BLOCK: usize = 256 << 10;

/// What a file held while it stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) stamp: Stamp,
    pub(crate) executable: bool,
}

impl Store {
    /// Copies the file into the store. Whoever changes it meanwhile makes this fail, naming it.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let file = open_regular(path)?;
        let mut writer = self.writer()?;
        read_stable(path, &file, |block| writer.write(block))?;
        writer.finish_any()
    }

    /// Keeps a file that nobody will write to any more, sharing its bytes with the store where it
    /// can. The caller removes it; until then this may be done again, with the same result.
    pub fn take_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let file = open_regular(path)?;
        let content = hash_open(path, &file)?;
        let taken = (content.digest, content.stamp.size);
        if self.contains(&content.digest) {
            return Ok(taken);
        }
        let shares = self.share(path, &file, &content)?;
        let (digest, size) = if shares { taken } else { self.put_file(path)? };
        if digest != content.digest {
            return Err(StoreError::Changed { path: path.to_owned() });
        }
        Ok((digest, size))
    }

    /// Links the file into the store. `false` where that would be wrong or impossible: an
    /// executable keeps its mode, which blobs do not have; what has other names may be written to
    /// through those; what another user owns could be changed by that user.
    fn share(&self, path: &Path, file: &File, content: &Content) -> Result<bool, StoreError> {
        let meta = file.metadata().map_err(StoreError::at(path))?;
        let own = meta.uid() == rustix::process::geteuid().as_raw();
        if content.executable || meta.nlink() != 1 || !own {
            return Ok(false);
        }
        file.set_permissions(Permissions::from_mode(MODE)).map_err(StoreError::at(path))?;
        start_write_out(file, content.stamp.size);
        let linked = self.place(&content.digest, |to| match fs::hard_link(path, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
        Ok(linked.is_ok())
    }
}

/// Opens a regular file. Follows no link, never waits, and refuses whatever is no regular file with
/// [`StoreError::NotAFile`].
pub fn open_regular(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(opened.map_err(|errno| match errno {
        rustix::io::Errno::LOOP | rustix::io::Errno::NXIO => {
            StoreError::NotAFile { path: path.to_owned() }
        }
        other => StoreError::at(path)(other.into()),
    })?);
    if file.metadata().map_err(StoreError::at(path))?.is_file() {
        Ok(file)
    } else {
        Err(StoreError::NotAFile { path: path.to_owned() })
    }
}

/// What the file holds.
pub(crate) fn hash_open(path: &Path, file: &File) -> Result<Content, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let (stamp, executable) = read_stable(path, file, |block| {
        hasher.update(block);
        Ok(())
    })?;
    Ok(Content { digest: Digest(*hasher.finalize().as_bytes()), stamp, executable })
}

/// Reads the whole file through `sink`, and makes sure that it did not change on the way.
fn read_stable(
    path: &Path,
    mut file: &File,
    mut sink: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(Stamp, bool), StoreError> {
    let before = file.metadata().map_err(StoreError::at(path))?;
    let stamp = Stamp::from(&before);
    let room = usize::try_from(stamp.size).unwrap_or(BLOCK).saturating_add(1);
    let mut block = vec![0; room.min(BLOCK)];
    let mut total = 0;
    loop {
        let read = match file.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(StoreError::at(path))?,
        };
        if read == 0 {
            break;
        }
        total += read as u64;
        sink(&block[..read])?;
    }
    let after = file.metadata().map_err(StoreError::at(path))?;
    if total != stamp.size || Stamp::from(&after) != stamp {
        return Err(StoreError::Changed { path: path.to_owned() });
    }
    Ok((stamp, is_executable(&before)))
}
