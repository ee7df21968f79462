use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount};

use super::{Overlay, WorkspaceError, spaces::is_mounted};

/// Removes a directory, whatever modes a step left behind. Whatever is still mounted in it goes
/// first, so that nothing is removed through a mount. One that is gone is no error.
pub(super) fn remove(dir: &Path) -> Result<(), WorkspaceError> {
    if rustix::process::geteuid().is_root() {
        unmount_below(dir)?;
    }
    let removed = match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir).and_then(|()| fs::remove_dir_all(dir))
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WorkspaceError::at(dir)(error))
        }
        _ => Ok(()),
    }
}

fn unmount_below(dir: &Path) -> Result<(), WorkspaceError> {
    let cwd = dir.join("cwd");
    let points = if !cwd.exists() {
        return Ok(());
    } else if Overlay::is_set_up(dir) {
        // All that can be in a space hangs on its overlay. Asking the table of mounts would hold
        // up every mount of the machine.
        Vec::from_iter(is_mounted(&cwd).unwrap_or(false).then_some(cwd))
    } else {
        mounts_below(dir).map_err(WorkspaceError::at(dir))?
    };
    for point in points.iter().rev() {
        let gone = unmount(point, UnmountFlags::DETACH);
        gone.map_err(|errno| WorkspaceError::at(point)(errno.into()))?;
    }
    Ok(())
}

/// Gives the owner back what a directory needs to be emptied. Links are not followed.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// What this process sees mounted at or below `dir`, in the order it was mounted.
fn mounts_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let Ok(dir) = dir.canonicalize() else { return Ok(Vec::new()) };
    let table = fs::read("/proc/self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        // Escapes only lengthen: a field that is shorter than the path cannot lie below it.
        (field.len() >= dir.as_os_str().as_bytes().len()).then(|| unescape(field))
    });
    Ok(points.filter(|point| point.starts_with(&dir)).collect())
}

/// The table writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| byte == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(value) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(value);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}
