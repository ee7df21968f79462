use std::{
    ffi::CString,
    fs::{self, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use serde::{Deserialize, Serialize};

use super::{listing::Listing, spaces::is_mounted};

/// File of a space that says what is mounted there.
const RECORD: &str = "overlay.json";

/// Mode of a working directory before its step may change it.
const MODE: u32 = 0o755;

/// A mount that shows `lower` at `target` and keeps every write in `upper`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overlay {
    /// The topmost first.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) target: PathBuf,
    /// Marks are kept in `user.` attributes, all that a user namespace may write.
    pub(crate) userxattr: bool,
}

impl Overlay {
    /// The overlay of the space `dir`.
    pub(super) fn of(dir: &Path, lower: Vec<PathBuf>, userxattr: bool) -> Self {
        let (upper, work, target) = (dir.join("upper"), dir.join("work"), dir.join("cwd"));
        Self { lower, upper, work, target, userxattr }
    }

    /// Makes the directories and notes down what is to be mounted.
    pub(super) fn set_up(&self, dir: &Path) -> io::Result<()> {
        for path in [&self.upper, &self.work, &self.target] {
            fs::create_dir(path)?;
        }
        fs::set_permissions(&self.upper, Permissions::from_mode(MODE))?;
        fs::write(dir.join(RECORD), serde_json::to_vec(self)?)
    }

    /// True for a directory that one was set up in.
    pub(super) fn is_set_up(dir: &Path) -> bool {
        dir.join(RECORD).exists()
    }

    /// What was set up in `dir`.
    pub(super) fn recorded(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(dir.join(RECORD))?)?)
    }

    /// True while nothing has been written.
    pub(crate) fn is_unused(&self) -> bool {
        Listing::open(&self.upper)
            .and_then(|upper| Ok(upper.mode()? == MODE && upper.is_empty()?))
            .unwrap_or(false)
    }

    /// Mounts it, in the mount namespace of this process, unless it is still mounted. Directories
    /// that are renamed become copies, so that `upper` says all without looking below.
    pub(crate) fn mount(&self) -> io::Result<()> {
        if is_mounted(&self.target)? {
            return Ok(());
        }
        // Volatile: without it an unmount would write out the whole file system.
        match self.mount_with("volatile,") {
            Err(Errno::INVAL) => {}
            other => return Ok(other?),
        }
        // Either it has been mounted before and says so, or the kernel knows no such option.
        fs::remove_dir_all(&self.work)?;
        fs::create_dir(&self.work)?;
        match self.mount_with("volatile,") {
            Err(Errno::INVAL) => Ok(self.mount_with("")?),
            other => Ok(other?),
        }
    }

    /// Takes the mount away, from under whoever still uses it. One that nobody uses and nothing
    /// was written to stays, for the next attempt that sees the same. An attempt may be captured
    /// before this, once its processes have ended; one that was discarded is no error.
    pub(crate) fn unmount(&self) -> io::Result<()> {
        // Marks it as expired, which its next use undoes: the kernel says whether it is idle.
        let idle = || unmount(&self.target, UnmountFlags::EXPIRE) == Err(Errno::AGAIN);
        if self.is_unused() && idle() {
            return Ok(());
        }
        self.detach()
    }

    /// Takes the mount away whatever is in it, if there is one: for a keeper that leaves.
    pub(crate) fn detach(&self) -> io::Result<()> {
        match unmount(&self.target, UnmountFlags::DETACH) {
            Err(Errno::INVAL | Errno::NOENT) => Ok(()), // it had expired, or was discarded
            other => Ok(other?),
        }
    }

    fn mount_with(&self, more: &str) -> Result<(), Errno> {
        let options = CString::new(self.options(more)).map_err(|_| Errno::INVAL)?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        mount("windlass", &self.target, "overlay", flags, options.as_c_str())
    }

    fn options(&self, more: &str) -> Vec<u8> {
        let mut out = Vec::from(more);
        out.extend(b"index=off,metacopy=off,redirect_dir=nofollow,");
        if self.userxattr {
            out.extend(b"userxattr,");
        }
        out.extend(b"lowerdir=");
        for (index, lower) in self.lower.iter().enumerate() {
            if index > 0 {
                out.push(b':');
            }
            escape(&mut out, lower);
        }
        out.extend(b",upperdir=");
        escape(&mut out, &self.upper);
        out.extend(b",workdir=");
        escape(&mut out, &self.work);
        out
    }
}

/// Overlay options end at `,` and lower layers at `:`; `\` takes the meaning of both.
fn escape(out: &mut Vec<u8>, path: &Path) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}
