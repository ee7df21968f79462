//! The marks that overlays leave in the upper directory.

use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use rustix::fs::lgetxattr;

/// True for what stands where something of a lower layer was deleted.
pub(super) fn is_whiteout(path: &Path, meta: &Metadata, userxattr: bool) -> bool {
    let kind = meta.file_type();
    (kind.is_char_device() && meta.rdev() == 0)
        || (kind.is_file() && meta.len() == 0 && mark(path, "whiteout", userxattr).is_some())
}

/// True for a directory that hides what lower layers have there.
pub(super) fn is_opaque(path: &Path, userxattr: bool) -> bool {
    mark(path, "opaque", userxattr) == Some(b'y')
}

/// First byte of a mark, `-` where it is empty.
fn mark(path: &Path, name: &str, userxattr: bool) -> Option<u8> {
    let namespace = if userxattr { "user" } else { "trusted" };
    let mut value = [0; 4];
    let length = lgetxattr(path, format!("{namespace}.overlay.{name}"), &mut value[..]).ok()?;
    Some(if length == 0 { b'-' } else { value[0] })
}
