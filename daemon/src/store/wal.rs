use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes by which the log is made longer at once.
const STEP: u64 = 1 << 20;

/// Longest log that is still made longer; about what it holds when it begins anew.
const MAX: u64 = 16 << 20;

/// Keeps the write-ahead log longer than what SQLite has written to it.
///
/// A commit that makes the file longer must also wait until the file system has noted down where
/// its new blocks lie, which takes a journal many times as long as the commit itself; one that
/// overwrites waits for its own bytes alone. Zeros behind the last frame are no frame to SQLite,
/// as is what an earlier round left there.
#[derive(Debug)]
pub(super) struct WalRoom {
    path: PathBuf,
    file: Option<File>,
    /// Where the zeros end.
    end: u64,
}

impl WalRoom {
    /// For the log of the database at `path`.
    pub(super) fn new(path: &Path) -> Self {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Self { path: wal.into(), file: None, end: 0 }
    }

    /// Adds zeros where the last commit has come to their end. Only whoever writes the database
    /// may call this, between two transactions. Without it commits are only slower.
    pub(super) fn keep(&mut self) {
        if let Err(error) = self.try_keep() {
            tracing::debug!(%error, "no room was made in the write-ahead log");
        }
    }

    fn try_keep(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().write(true).open(&self.path)?),
        };
        let len = file.metadata()?.len();
        if len > self.end && len < MAX {
            // Holes would not do: their blocks are noted down when they are filled.
            let zeros = vec![0; usize::try_from(STEP).unwrap_or_default()];
            self.end = len + STEP;
            file.write_all_at(&zeros, len)?;
        }
        Ok(())
    }
}
