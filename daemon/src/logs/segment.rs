use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use super::{
    AppendError, Chunk, Stream,
    files::{Files, Gap, open, read_at},
    index::{RECORD_LEN, Record, records},
    live::Live,
};

/// Bytes of an index read at once while it is recovered.
const RECOVERY_BLOCK: u64 = 64 << 10;

/// The open files of one attempt, as its writer has them.
pub(super) struct Segment {
    files: Files,
    live: Arc<Live>,
    streams: [Option<File>; 3],
    sizes: [u64; 3],
    index: Option<File>,
    index_len: u64,
}

impl Segment {
    /// Opens what there is and makes good what a crash left undone; makes no file.
    pub(super) fn open(files: Files, live: Arc<Live>) -> io::Result<Self> {
        let mut sizes = [0; 3];
        for stream in Stream::ALL {
            sizes[stream.slot()] = files.size(stream)?;
        }
        let streams = [const { None }; 3];
        let mut segment = Self { files, live, streams, sizes, index: None, index_len: 0 };
        if sizes != [0; 3] || open(&segment.files.index())?.is_some() {
            segment.recover()?;
        }
        Ok(segment)
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// True where at least that much of every stream is kept.
    pub(super) fn has(&self, sizes: [u64; 3]) -> bool {
        self.sizes.iter().zip(sizes).all(|(have, want)| *have >= want)
    }

    /// Keeps what of the chunk is new; returns the stream's size.
    pub(super) fn append(&mut self, chunk: &Chunk) -> Result<u64, AppendError> {
        let slot = chunk.stream.slot();
        let before = self.sizes[slot];
        if chunk.offset > before {
            self.skip(chunk)?;
        }
        let known = self.sizes[slot].saturating_sub(chunk.offset);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        if let Some(new) = chunk.data.get(known..).filter(|new| !new.is_empty()) {
            let offset = self.sizes[slot];
            let length = u64::try_from(new.len()).unwrap_or(u64::MAX);
            let file = self.stream(chunk.stream)?;
            if let Err(error) = file.write_all_at(new, offset) {
                // A part may be there, unindexed; the file's length must not promise it.
                file.set_len(offset)?;
                return Err(error.into());
            }
            self.sizes[slot] = offset + length;
            let (stream, time) = (chunk.stream, chunk.time);
            self.note(Record { stream, gap: false, offset, length, time })?;
        }
        if self.sizes[slot] > before {
            self.live.grew();
        }
        Ok(self.sizes[slot])
    }

    /// Records what is missing before the chunk, which must have been declared lost.
    fn skip(&mut self, chunk: &Chunk) -> Result<(), AppendError> {
        let stream = chunk.stream;
        let offset = self.sizes[stream.slot()];
        let length = chunk.offset - offset;
        let Some(lost) = chunk.lost.as_ref().filter(|lost| lost.bytes >= length) else {
            return Err(AppendError::Hole { durable: offset });
        };
        let gap = Gap { stream, offset, length, reason: lost.reason.clone() };
        self.files.record_gap(&gap)?;
        self.stream(stream)?.set_len(gap.end())?;
        self.sizes[stream.slot()] = gap.end();
        self.note(Record { stream, gap: true, offset, length, time: chunk.time })?;
        Ok(())
    }

    fn note(&mut self, record: Record) -> io::Result<()> {
        let at = self.index_len;
        let index = match &mut self.index {
            Some(index) => index,
            empty => empty.insert(self.files.make(&self.files.index())?),
        };
        index.write_all_at(&record.encode(), at)?;
        self.index_len += RECORD_LEN;
        Ok(())
    }

    fn stream(&mut self, stream: Stream) -> io::Result<&File> {
        match &mut self.streams[stream.slot()] {
            Some(file) => Ok(file),
            empty => Ok(empty.insert(self.files.make(&self.files.data(stream))?)),
        }
    }

    /// Makes the index tell exactly what the data files hold: a record cut off is dropped, bytes
    /// without a record get one, with the time of the record before.
    fn recover(&mut self) -> io::Result<()> {
        let index = self.files.make(&self.files.index())?;
        let whole = index.metadata()?.len() / RECORD_LEN * RECORD_LEN;
        index.set_len(whole)?;
        let (mut covered, mut time, mut at) = ([0; 3], windlass_core::Timestamp(0), 0);
        while at < whole {
            let end = whole.min(at + RECOVERY_BLOCK);
            for record in records(&read_at(&index, at, end)?) {
                let slot = record.stream.slot();
                covered[slot] = record.end().max(covered[slot]);
                time = record.time;
            }
            at = end;
        }
        (self.index, self.index_len) = (Some(index), whole);
        let gaps = self.files.gaps()?;
        for stream in Stream::ALL {
            let (mut offset, size) = (covered[stream.slot()], self.sizes[stream.slot()]);
            while offset < size {
                let mine = gaps.iter().filter(|gap| gap.stream == stream && gap.end() > offset);
                let next = mine.min_by_key(|gap| gap.offset);
                let gap = next.is_some_and(|gap| gap.offset <= offset);
                let end = match next {
                    Some(next) if gap => next.end().min(size),
                    Some(next) => next.offset.min(size),
                    None => size,
                };
                self.note(Record { stream, gap, offset, length: end - offset, time })?;
                offset = end;
            }
        }
        Ok(())
    }
}
