//! Files that a step has written, which may be anything: a pipe, a device, a link, endless.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use windlass_blobs::StoreError;

/// Opens a plain file that a step has written. Never waits, follows no link, and refuses whatever
/// is no plain file with [`io::ErrorKind::InvalidData`].
pub(crate) fn open(path: &Path) -> io::Result<File> {
    windlass_blobs::open_regular(path).map_err(|error| match error {
        StoreError::NotAFile { .. } => {
            io::Error::new(io::ErrorKind::InvalidData, "it is no plain file")
        }
        StoreError::Vanished { .. } => io::ErrorKind::NotFound.into(),
        StoreError::Io { source, .. } => source,
        other => io::Error::other(other),
    })
}

/// At most `limit` bytes of a plain file that a step has written.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn pipes_devices_links_and_directories_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pipe = path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        symlink("/dev/zero", path("link")).unwrap();
        for bad in [pipe, path("link"), dir.path().to_owned(), "/dev/zero".into()] {
            let error = open(&bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{}", bad.display());
        }
        assert_eq!(open(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(path("plain"), "12345").unwrap();
        assert_eq!(read(&path("plain"), 3).unwrap(), b"123");
    }
}
