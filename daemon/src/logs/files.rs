use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use prost::bytes::Bytes;

use super::Stream;
use crate::store::attempts::AttemptKey;

/// A range of a stream that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) stream: Stream,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) reason: String,
}

impl Gap {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Some bytes of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Where `data` begins: later than asked for where the bytes there were lost.
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    /// Of the stream as far as it is kept.
    pub(crate) size: u64,
}

/// Names and opens the files of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
    base: String,
}

impl Stream {
    pub(super) const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::System];

    /// Place in arrays of three.
    pub(super) fn slot(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
            Self::System => 2,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }
}

impl Files {
    pub(super) fn new(logs: &Path, key: AttemptKey) -> Self {
        let base = format!("{}.{}", key.step.0, key.attempt.0);
        Self { dir: logs.join(key.run.to_string()), base }
    }

    pub(super) fn data(&self, stream: Stream) -> PathBuf {
        self.file(stream.word())
    }

    pub(super) fn index(&self) -> PathBuf {
        self.file("index")
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", self.base))
    }

    /// Opens for reading and writing; a missing file is made, with the run's directory.
    pub(super) fn make(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
                options.open(path)
            }
            opened => opened,
        }
    }

    /// Bytes kept of a stream.
    pub(super) fn size(&self, stream: Stream) -> io::Result<u64> {
        Ok(present(fs::metadata(self.data(stream)))?.map_or(0, |found| found.len()))
    }

    /// Turns an offset from the end into one from the start.
    pub(super) fn resolve(&self, stream: Stream, offset: i64) -> io::Result<u64> {
        match u64::try_from(offset) {
            Ok(offset) => Ok(offset),
            Err(_) => Ok(self.size(stream)?.saturating_sub(offset.unsigned_abs())),
        }
    }

    pub(super) fn page(&self, stream: Stream, offset: i64, max: usize) -> io::Result<Page> {
        let mut from = self.resolve(stream, offset)?;
        let Some(file) = open(&self.data(stream))? else {
            return Ok(Page { offset: from, data: Bytes::new(), size: 0 });
        };
        let size = file.metadata()?.len();
        let mut end = from.saturating_add(u64::try_from(max).unwrap_or(u64::MAX)).min(size);
        for gap in self.gaps()?.iter().filter(|gap| gap.stream == stream) {
            if (gap.offset..gap.end()).contains(&from) {
                let moved = gap.end() - from;
                (from, end) = (gap.end(), end.saturating_add(moved).min(size));
            } else if gap.offset >= from {
                end = end.min(gap.offset);
            }
        }
        Ok(Page { offset: from, data: read_at(&file, from, end)?, size })
    }

    /// Every gap of the attempt, in the order of their discovery.
    pub(super) fn gaps(&self) -> io::Result<Vec<Gap>> {
        let text = present(fs::read_to_string(self.file("gaps")))?.unwrap_or_default();
        Ok(text.lines().filter_map(parse_gap).collect())
    }

    pub(super) fn record_gap(&self, gap: &Gap) -> io::Result<()> {
        let file = self.make(&self.file("gaps"))?;
        let reason: String =
            gap.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        let line = format!("{} {} {} {reason}\n", gap.stream.word(), gap.offset, gap.length);
        file.write_all_at(line.as_bytes(), file.metadata()?.len())
    }
}

/// A line of the gaps' file; one that a crash cut off is none.
fn parse_gap(line: &str) -> Option<Gap> {
    let mut words = line.splitn(4, ' ');
    let word = words.next()?;
    let stream = Stream::ALL.into_iter().find(|stream| stream.word() == word)?;
    let (offset, length) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Gap { stream, offset, length, reason: words.next()?.to_owned() })
}

/// A file that need not be there, for reading.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    present(File::open(path))
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bytes from `from` to `end`, or as many as there are.
pub(super) fn read_at(file: &File, from: u64, end: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
    let (mut buffer, mut filled) = (vec![0; wanted], 0);
    while filled < wanted {
        let at = from + u64::try_from(filled).unwrap_or(u64::MAX);
        match file.read_at(&mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}
