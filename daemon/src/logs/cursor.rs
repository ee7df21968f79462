use std::{collections::VecDeque, fs::File, io};

use windlass_core::Timestamp;

use super::{
    Item, Stream,
    files::{Files, open, read_at},
    index::{RECORD_LEN, Record, records},
};

/// Most bytes of one chunk. With a few of them in flight a stuck follower holds well under 1 MiB.
const MAX_CHUNK: u64 = 128 << 10;

/// Bytes of an index read at once.
const INDEX_BLOCK: u64 = 16 << 10;

/// Blocks that came within this of each other may be sent as one, in microseconds.
const MERGE_WITHIN_US: i64 = 1_000_000;

/// Walks over the files of an attempt in the order in which its bytes came. Blocks.
pub(super) struct Cursor {
    files: Files,
    only: Option<Stream>,
    /// Where each stream goes on.
    at: [u64; 3],
    index: Option<File>,
    index_at: u64,
    ahead: VecDeque<Record>,
    data: [Option<File>; 3],
    time: Timestamp,
}

impl Cursor {
    /// Starts at `offset` of the stream `only`, or at the beginnings of all.
    pub(super) fn new(files: Files, only: Option<Stream>, offset: i64) -> io::Result<Self> {
        let mut at = [0; 3];
        if let Some(stream) = only {
            at[stream.slot()] = files.resolve(stream, offset)?;
        }
        let (data, ahead) = ([const { None }; 3], VecDeque::new());
        Ok(Self { files, only, at, index: None, index_at: 0, ahead, data, time: Timestamp(0) })
    }

    /// Bytes given out and skipped so far, over all streams asked for.
    pub(super) fn position(&self) -> u64 {
        self.at.iter().sum()
    }

    /// What comes next, if it is there. With `last`, the writer has ended: what a crash kept out
    /// of the index counts too.
    pub(super) fn next(&mut self, last: bool) -> io::Result<Option<Item>> {
        loop {
            let Some(mut record) = self.take()? else {
                return if last { self.remainder() } else { Ok(None) };
            };
            self.time = record.time;
            if record.gap {
                return self.gap(record).map(Some);
            }
            self.merge(&mut record)?;
            if let Some(item) = self.chunk(record)? {
                return Ok(Some(item));
            }
        }
    }

    /// The next record with something new of a stream asked for.
    fn take(&mut self) -> io::Result<Option<Record>> {
        loop {
            if self.ahead.is_empty() && !self.look_ahead()? {
                return Ok(None);
            }
            if let Some(record) = self.ahead.pop_front().and_then(|record| self.fresh(record)) {
                return Ok(Some(record));
            }
        }
    }

    /// The part of `record` that was asked for and not yet given.
    fn fresh(&self, mut record: Record) -> Option<Record> {
        if self.only.is_some_and(|only| only != record.stream) {
            return None;
        }
        let (end, at) = (record.end(), self.at[record.stream.slot()]);
        record.offset = record.offset.max(at);
        record.length = end.checked_sub(record.offset).filter(|length| *length > 0)?;
        Some(record)
    }

    /// Reads a block of the index; false where it has nothing new.
    fn look_ahead(&mut self) -> io::Result<bool> {
        if self.index.is_none() {
            self.index = open(&self.files.index())?;
        }
        let Some(index) = &self.index else { return Ok(false) };
        let block = read_at(index, self.index_at, self.index_at + INDEX_BLOCK)?;
        let whole = u64::try_from(block.len()).unwrap_or(0) / RECORD_LEN * RECORD_LEN;
        self.ahead.extend(records(&block));
        self.index_at += whole;
        Ok(whole > 0)
    }

    /// Cuts `record` to one chunk's size, or lengthens it by what directly follows.
    fn merge(&mut self, record: &mut Record) -> io::Result<()> {
        if record.length > MAX_CHUNK {
            let rest = Record {
                offset: record.offset + MAX_CHUNK,
                length: record.length - MAX_CHUNK,
                ..*record
            };
            self.ahead.push_front(rest);
            record.length = MAX_CHUNK;
        }
        while record.length < MAX_CHUNK {
            if self.ahead.is_empty() && !self.look_ahead()? {
                break;
            }
            let Some(next) = self.ahead.front() else { break };
            if self.only.is_some_and(|only| only != next.stream) {
                self.ahead.pop_front();
                continue;
            }
            let follows = next.stream == record.stream
                && !next.gap
                && next.offset == record.end()
                && next.time.0.saturating_sub(record.time.0) <= MERGE_WITHIN_US
                && record.length + next.length <= MAX_CHUNK;
            if !follows {
                break;
            }
            record.length += next.length;
            self.ahead.pop_front();
        }
        Ok(())
    }

    /// The bytes that `record` tells of, or `None` where the file holds none of them.
    fn chunk(&mut self, record: Record) -> io::Result<Option<Item>> {
        let slot = record.stream.slot();
        if self.data[slot].is_none() {
            self.data[slot] = open(&self.files.data(record.stream))?;
        }
        let Some(file) = &self.data[slot] else { return Ok(None) };
        let data = read_at(file, record.offset, record.end())?;
        if data.is_empty() {
            return Ok(None);
        }
        self.at[slot] = record.offset + u64::try_from(data.len()).unwrap_or(0);
        let Record { stream, offset, time, .. } = record;
        Ok(Some(Item::Chunk { stream, offset, data, time }))
    }

    fn gap(&mut self, record: Record) -> io::Result<Item> {
        let Record { stream, offset, length, .. } = record;
        self.at[stream.slot()] = record.end();
        let gaps = self.files.gaps()?;
        let told = gaps
            .iter()
            .find(|gap| gap.stream == stream && gap.offset <= offset && gap.end() >= record.end());
        let reason = told.map(|gap| gap.reason.clone()).unwrap_or_default();
        Ok(Item::Gap { stream, offset, length, reason })
    }

    /// Bytes behind the index.
    fn remainder(&mut self) -> io::Result<Option<Item>> {
        for stream in Stream::ALL {
            let offset = self.at[stream.slot()];
            let length = self.files.size(stream)?.saturating_sub(offset).min(MAX_CHUNK);
            let record = Record { stream, gap: false, offset, length, time: self.time };
            if let Some(record) = self.fresh(record)
                && let Some(item) = self.chunk(record)?
            {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}
