//! What worker and keeper say to each other: frames of a four-byte little-endian length and a
//! protobuf message, so that an older keeper and a newer worker understand each other.
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use prost::Message;

/// Version of the protocol; told in `Hello`.
pub(crate) const VERSION: u32 = 1;

/// Largest frame either side takes: a start with its whole environment.
pub(crate) const MAX_FRAME: usize = 16 << 20;

/// Index of a log in what follows: stdout and stderr.
pub(crate) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// From the worker.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Command {
    #[prost(oneof = "Order", tags = "1, 2, 3, 4, 5")]
    pub(crate) order: Option<Order>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Order {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Start(Start),
    #[prost(message, tag = "3")]
    Stop(Stop),
    #[prost(message, tag = "4")]
    Release(Release),
    #[prost(message, tag = "5")]
    LogDurable(LogDurable),
}

/// The worker's greeting, answered by `Welcome`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
}

/// Starts an attempt. A repeat for an attempt that is there already changes nothing.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Start {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
    /// The attempt's directory; spool and exit record are written there.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) dir: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) argv: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) env: Vec<Variable>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) cwd: Vec<u8>,
    /// JSON of the overlay to mount before and unmount after; empty for none.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) overlay: Vec<u8>,
    /// 0: no limit.
    #[prost(uint64, tag = "7")]
    pub(crate) timeout_millis: u64,
    /// Between TERM and KILL when the time is over.
    #[prost(uint64, tag = "8")]
    pub(crate) grace_millis: u64,
    /// Texts that must be masked in its output.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(crate) masks: Vec<Vec<u8>>,
    /// Most bytes of memory of its whole tree; 0: no limit.
    #[prost(uint64, tag = "10")]
    pub(crate) memory_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Variable {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// TERM to the whole tree, KILL after the grace; a grace of 0 kills at once.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stop {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub(crate) grace_millis: u64,
}

/// Forgets an attempt that has ended. Answered by `Released`, after which its directory is free.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Release {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
}

/// The log is kept elsewhere below `offset`; the spool may be freed up to there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogDurable {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) stream: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
}

/// From the keeper.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(oneof = "News", tags = "1, 2, 3, 4, 5")]
    pub(crate) news: Option<News>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum News {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(message, tag = "2")]
    Started(Started),
    #[prost(message, tag = "3")]
    Grew(Grew),
    #[prost(message, tag = "4")]
    Ended(Ended),
    #[prost(message, tag = "5")]
    Released(Release),
}

/// Answer to `Hello`: everything that the keeper has. Orders of earlier workers that it has not
/// taken by then it never takes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Welcome {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
    #[prost(message, repeated, tag = "3")]
    pub(crate) attempts: Vec<Known>,
    /// Of this very process; no other keeper ever has it. Empty from keepers of earlier versions.
    #[prost(string, tag = "4")]
    pub(crate) id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Known {
    #[prost(message, optional, tag = "1")]
    pub(crate) started: Option<Started>,
    #[prost(uint64, tag = "2")]
    pub(crate) stdout_bytes: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) stderr_bytes: u64,
    /// Set where it has ended.
    #[prost(message, optional, tag = "4")]
    pub(crate) ended: Option<Ended>,
    /// Texts that are masked in its output, and must be in what else is kept of it.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) masks: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Started {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
    /// Microseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub(crate) start_micros: i64,
}

/// A log has this size now. Sent for the newest size only.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Grew {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) stream: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) size: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ended {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) lease: Vec<u8>,
    /// The exit record, as in `exit.json`.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) record: Vec<u8>,
}

/// A frame that is no message of this protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes is over the limit")]
    TooLarge(usize),
    #[error("a frame that cannot be read")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends `message` to `out` as one frame.
pub(crate) fn put_frame(message: &impl Message, out: &mut Vec<u8>) {
    let len = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&message.encode_to_vec());
}

/// Takes one message from the front of `input`, or `None` where it is not all there yet.
pub(crate) fn take_frame<M: Message + Default>(
    input: &mut Vec<u8>,
) -> Result<Option<M>, FrameError> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(None) };
    let len = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
    if len > MAX_FRAME {
        return Err(FrameError::TooLarge(len));
    }
    let Some(body) = input.get(4..4 + len) else { return Ok(None) };
    let message = M::decode(body)?;
    input.drain(..4 + len);
    Ok(Some(message))
}

/// A path or a word as it travels.
pub(crate) fn to_bytes(text: impl AsRef<OsStr>) -> Vec<u8> {
    text.as_ref().as_bytes().to_vec()
}

pub(crate) fn to_os_string(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

pub(crate) fn to_path(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_round_also_in_pieces() {
        let stop = Stop { lease: vec![7; 16], grace_millis: 5 };
        let mut wire = Vec::new();
        put_frame(&Command { order: Some(Order::Stop(stop.clone())) }, &mut wire);
        put_frame(&Command { order: None }, &mut wire);
        let mut input = Vec::new();
        let mut seen = Vec::new();

        for byte in wire {
            input.push(byte);
            seen.extend(take_frame::<Command>(&mut input).unwrap());
        }

        assert_eq!(seen, [Command { order: Some(Order::Stop(stop)) }, Command { order: None }]);
        assert!(take_frame::<Command>(&mut vec![255; 4]).is_err());
    }
}
