use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

/// Writes a small file anew, in place. It is never empty in between: ext4 starts to write out a file
/// that was emptied and filled again as soon as it is closed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(bytes)?;
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if file.metadata()?.len() == len { Ok(()) } else { file.set_len(len) }
}
