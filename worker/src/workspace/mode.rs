use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
    str::FromStr,
};

use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::{Overlay, discard::remove, upper::is_opaque};

/// How working directories are kept apart from what they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The keeper mounts overlays where everybody sees them.
    Overlay,
    /// The keeper mounts overlays in a user and mount namespace of its own.
    OverlayInUserNamespace,
    Copy,
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "overlay" => Ok(Self::Overlay),
            "overlay-userns" => Ok(Self::OverlayInUserNamespace),
            "copy" => Ok(Self::Copy),
            _ => Err(()),
        }
    }
}

impl Mode {
    /// The best that works in `dir`, found by trying. `child` must be a command that calls
    /// `probe_child` with `dir` and succeeds only where that does: a process with threads, as
    /// this one may be, cannot enter a user namespace.
    pub(crate) fn probe(dir: &Path, child: &mut Command) -> Self {
        if rustix::process::geteuid().is_root() {
            match try_overlay(dir, false) {
                Ok(()) => return Self::Overlay,
                Err(error) => tracing::debug!(%error, "no overlay"),
            }
        }
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match child.status() {
            Ok(status) if status.success() => Self::OverlayInUserNamespace,
            other => {
                tracing::debug!(?other, "no overlay in a user namespace");
                Self::Copy
            }
        }
    }
}

/// Enters a user namespace and tries an overlay below `dir` there. The process must have one
/// thread, and stays in the namespace.
pub(crate) fn probe_child(dir: &Path) -> io::Result<()> {
    enter_user_namespace()?;
    try_overlay(dir, true)
}

/// Moves this process, which must have one thread, into a user namespace in which it is who it
/// was, and into a mount namespace where it may mount overlays.
pub(crate) fn enter_user_namespace() -> io::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Does with an overlay what steps do, and looks whether it kept its promises.
fn try_overlay(dir: &Path, userxattr: bool) -> io::Result<()> {
    let place = TempDir::with_prefix_in("probe-", dir)?;
    let (lower, attempt) = (place.path().join("lower"), place.path().join("attempt"));
    fs::create_dir_all(lower.join("dir"))?;
    fs::write(lower.join("dir/inner"), "lower")?;
    fs::write(lower.join("file"), "lower")?;
    fs::create_dir(&attempt)?;
    let overlay = Overlay::of(&attempt, vec![lower.clone()], userxattr);
    overlay.set_up(&attempt)?;
    overlay.mount()?;
    let used = use_overlay(&overlay.target);
    overlay.unmount()?;
    used?;
    let whiteout = fs::symlink_metadata(overlay.upper.join("gone")).is_err();
    let copied = fs::read(overlay.upper.join("file"))? == b"upper";
    let untouched = fs::read(lower.join("file"))? == b"lower" && lower.join("dir/inner").exists();
    let opaque = is_opaque(&overlay.upper.join("dir"), userxattr);
    let sound = whiteout && copied && untouched && opaque;
    remove(&attempt).map_err(io::Error::other)?;
    if sound { Ok(()) } else { Err(io::Error::other("an overlay that loses changes")) }
}

fn use_overlay(root: &Path) -> io::Result<()> {
    let inode = fs::metadata(root.join("file"))?.ino();
    tracing::trace!(inode, "the lower layer shows");
    fs::write(root.join("file"), "upper")?;
    fs::remove_dir_all(root.join("dir"))?;
    fs::create_dir(root.join("dir"))
}
