use windlass_core::Timestamp;

use super::Stream;

/// Bytes of one record.
pub(super) const RECORD: usize = 32;

/// [`RECORD`] as a file length.
pub(super) const RECORD_LEN: u64 = RECORD as u64;

/// Set in a record's first byte where the range was lost.
const GAP: u8 = 0x10;

/// One block of a stream, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) stream: Stream,
    pub(super) gap: bool,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) time: Timestamp,
}

impl Record {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// `kind, 7 zeros, offset, length, time`, each number little-endian.
    pub(super) fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let kind = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
            Stream::System => 3,
        };
        bytes[0] = kind | if self.gap { GAP } else { 0 };
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time.0.to_le_bytes());
        bytes
    }

    /// `None` for a record that was never written, as after a loss of power.
    pub(super) fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            word
        };
        let stream = match bytes[0] & !GAP {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::System,
            _ => return None,
        };
        Some(Self {
            stream,
            gap: bytes[0] & GAP != 0,
            offset: u64::from_le_bytes(word(8)),
            length: u64::from_le_bytes(word(16)),
            time: Timestamp(i64::from_le_bytes(word(24))),
        })
    }
}

/// The records in a block of an index; what is left over or empty is skipped.
pub(super) fn records(block: &[u8]) -> impl Iterator<Item = Record> + '_ {
    block.as_chunks::<RECORD>().0.iter().filter_map(Record::decode)
}
