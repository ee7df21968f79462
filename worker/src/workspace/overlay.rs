use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use serde::{Deserialize, Serialize};

/// File of an attempt's directory that says what is mounted there.
const RECORD: &str = "overlay.json";

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
    /// The overlay of the attempt in `dir`.
    pub(super) fn of(dir: &Path, lower: Vec<PathBuf>, userxattr: bool) -> Self {
        let (upper, work, target) = (dir.join("upper"), dir.join("work"), dir.join("cwd"));
        Self { lower, upper, work, target, userxattr }
    }

    /// Makes the directories and notes down what is to be mounted.
    pub(super) fn set_up(&self, dir: &Path) -> io::Result<()> {
        for path in [&self.upper, &self.work, &self.target] {
            fs::create_dir(path)?;
        }
        fs::write(dir.join(RECORD), serde_json::to_vec(self)?)
    }

    /// What was set up in `dir`, or `None` where there is no overlay.
    pub(super) fn recorded(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(RECORD)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Mounts it, in the mount namespace of this process. Directories that are renamed become
    /// copies, so that `upper` says all without looking below.
    pub(crate) fn mount(&self) -> io::Result<()> {
        // Volatile: without it an unmount would write out the whole file system.
        match self.mount_with("volatile,") {
            Err(Errno::INVAL) => Ok(self.mount_with("")?),
            other => Ok(other?),
        }
    }

    fn mount_with(&self, more: &str) -> Result<(), Errno> {
        let options = CString::new(self.options(more)).map_err(|_| Errno::INVAL)?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        mount("windlass", &self.target, "overlay", flags, options.as_c_str())
    }

    /// Takes the mount away, from under whoever still uses it.
    pub(crate) fn unmount(&self) -> io::Result<()> {
        Ok(unmount(&self.target, UnmountFlags::DETACH)?)
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
