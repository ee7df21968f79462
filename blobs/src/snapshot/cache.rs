//! Digests remembered from one snapshot to the next, as JSON lines: what the cache is for, then
//! one line a file. Whatever cannot be read counts as not remembered.

use std::{collections::HashMap, fs, io::Write as _, path::Path};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use windlass_core::Digest;

use crate::Stamp;

/// Changed when the format does.
const VERSION: u32 = 1;

/// What a file held when it last looked like this.
pub(super) type Remembered = HashMap<String, (Stamp, Digest)>;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    root: String,
}

/// Path, size, mtime and ctime in nanoseconds, inode, digest.
#[derive(Serialize, Deserialize)]
struct Line(String, u64, i64, i64, u64, String);

/// Reads what was remembered of `root`.
pub(super) fn load(file: &Path, root: &Path) -> Remembered {
    fs::read(file).ok().and_then(|text| parse(&text, root)).unwrap_or_default()
}

fn parse(text: &[u8], root: &Path) -> Option<Remembered> {
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let header: Header = serde_json::from_slice(lines.next()?).ok()?;
    if header.version != VERSION || Path::new(&header.root) != root {
        return None;
    }
    lines
        .map(|line| {
            let Line(path, size, mtime_ns, ctime_ns, inode, digest) =
                serde_json::from_slice(line).ok()?;
            let stamp = Stamp { size, mtime_ns, ctime_ns, inode };
            Some((path, (stamp, digest.parse().ok()?)))
        })
        .collect()
}

/// A cache that is about to be written. It is made before the first file is read, so that its
/// own time stamp tells which files were touched too lately to be remembered.
pub(super) struct Fresh {
    tmp: NamedTempFile,
    start_ns: i64,
}

impl Fresh {
    /// `None` where the directory cannot be written to: then nothing is remembered.
    pub(super) fn begin(file: &Path) -> Option<Self> {
        let dir = file.parent()?;
        fs::create_dir_all(dir).ok()?;
        let tmp = NamedTempFile::new_in(dir).ok()?;
        let start_ns = Stamp::from(&tmp.as_file().metadata().ok()?).mtime_ns;
        Some(Self { tmp, start_ns })
    }

    /// True where a later change of a file, read after this was begun, must show in its stamp:
    /// its last change lies further back than a tick of the file system's clock.
    pub(super) fn is_settled(&self, stamp: &Stamp) -> bool {
        const FINE_NS: i64 = 100_000_000;
        const COARSE_NS: i64 = 2_100_000_000;
        let whole_seconds = stamp.ctime_ns % 1_000_000_000 == 0;
        let tick = if whole_seconds { COARSE_NS } else { FINE_NS };
        stamp.ctime_ns.saturating_add(tick) < self.start_ns
    }

    /// Puts the cache in place of the one before. A failure costs time, never truth.
    pub(super) fn save(mut self, file: &Path, root: &Path, remembered: &Remembered) {
        let Some(text) = encode(root, remembered) else { return };
        let saved = self.tmp.write_all(&text).map_err(drop);
        if saved.and_then(|()| self.tmp.persist(file).map_err(drop)).is_err() {
            tracing::debug!(file = %file.display(), "digests were not remembered");
        }
    }
}

fn encode(root: &Path, remembered: &Remembered) -> Option<Vec<u8>> {
    let header = Header { version: VERSION, root: root.to_str()?.to_owned() };
    let mut out = serde_json::to_vec(&header).ok()?;
    for (path, (stamp, digest)) in remembered {
        out.push(b'\n');
        let Stamp { size, mtime_ns, ctime_ns, inode } = *stamp;
        let line = (path, size, mtime_ns, ctime_ns, inode, digest.to_string());
        serde_json::to_writer(&mut out, &line).ok()?;
    }
    Some(out)
}
