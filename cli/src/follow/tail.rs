use prost::bytes::{Buf, Bytes};
use prost_types::Timestamp;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, Status};
use windlass_proto::{
    api::v1::{self, tail_logs_response},
    common::v1::{AttemptRef, LogStream},
};

use super::patience::{Patience, SILENCE};
use crate::{connect::Link, error::CliError};

/// Chunks of one log that may wait for the view.
const WAITING: usize = 4;

/// Which log to read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Attempt 0: the last one.
    pub(crate) attempt: AttemptRef,
    /// Unspecified: all of them, interleaved as they came.
    pub(crate) stream: LogStream,
    pub(crate) follow: bool,
    /// Whether to start a daemon that went away; where others do, one waits for them.
    pub(crate) revive: bool,
}

/// A piece of a log.
#[derive(Debug)]
pub(crate) enum Item {
    Chunk {
        stream: LogStream,
        data: Bytes,
        time: Option<Timestamp>,
    },
    /// Bytes that were lost.
    Gap {
        length: i64,
        reason: String,
    },
}

/// The log of one attempt, across restarts of the daemon.
pub(crate) struct Tail {
    items: mpsc::Receiver<Result<Item, CliError>>,
    _task: JoinSet<()>,
}

impl Tail {
    pub(crate) fn open(link: &Link, wanted: Wanted) -> Self {
        let (sender, items) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(Reader::new(link.clone(), wanted, sender).run());
        Self { items, _task: task }
    }

    /// The next piece; `None` at the log's end. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Option<Result<Item, CliError>> {
        self.items.recv().await
    }

    pub(super) fn poll_next(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Item, CliError>>> {
        self.items.poll_recv(context)
    }
}

struct Reader {
    link: Link,
    wanted: Wanted,
    sender: mpsc::Sender<Result<Item, CliError>>,
    positions: Positions,
}

impl Reader {
    fn new(link: Link, wanted: Wanted, sender: mpsc::Sender<Result<Item, CliError>>) -> Self {
        Self { link, wanted, sender, positions: Positions::default() }
    }

    async fn run(mut self) {
        let mut patience = Patience::new(self.link.clone(), self.wanted.revive);
        loop {
            let opened = self.link.logs().tail_logs(self.request()).await;
            let error = match opened {
                Ok(stream) => {
                    patience.restored();
                    match self.pass_on(stream.into_inner()).await {
                        Some(error) => error,
                        None => return,
                    }
                }
                Err(error) => error,
            };
            if let Err(error) = patience.wait(&error).await {
                return drop(self.sender.send(Err(error)).await);
            }
        }
    }

    fn request(&self) -> v1::TailLogsRequest {
        let stream = self.wanted.stream;
        v1::TailLogsRequest {
            attempt: Some(self.wanted.attempt.clone()),
            stream: stream.into(),
            offset: if stream == LogStream::Unspecified { 0 } else { self.positions.of(stream) },
            follow: self.wanted.follow,
        }
    }

    /// Passes pieces on until the stream breaks; `None` where the log is complete.
    async fn pass_on(
        &mut self,
        mut stream: tonic::Streaming<v1::TailLogsResponse>,
    ) -> Option<Status> {
        loop {
            let item = match timeout(SILENCE, stream.message()).await {
                Err(_) => return Some(Status::unavailable("the daemon is silent")),
                Ok(Err(error)) if error.code() == Code::NotFound && self.positions.started() => {
                    return None; // deleted meanwhile
                }
                Ok(Err(error)) => return Some(error),
                Ok(Ok(None)) if self.wanted.follow => {
                    return Some(Status::unavailable("the daemon closed the stream"));
                }
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(answer))) => answer.item,
            };
            let item = match item {
                Some(tail_logs_response::Item::Chunk(chunk)) => self.positions.chunk(chunk),
                Some(tail_logs_response::Item::Gap(gap)) => self.positions.gap(gap),
                Some(tail_logs_response::Item::End(_)) => return None,
                Some(tail_logs_response::Item::Keepalive(_)) | None => None,
            };
            if let Some(item) = item
                && self.sender.send(Ok(item)).await.is_err()
            {
                return None;
            }
        }
    }
}

/// How far each stream was passed on, so that a stream that starts over doubles nothing.
#[derive(Default)]
struct Positions([i64; 4]);

impl Positions {
    fn of(&self, stream: LogStream) -> i64 {
        self.0[slot(stream)]
    }

    fn started(&self) -> bool {
        self.0.iter().any(|position| *position > 0)
    }

    /// What is new of a chunk.
    fn chunk(&mut self, mut chunk: v1::LogChunk) -> Option<Item> {
        let stream = chunk.stream();
        let position = &mut self.0[slot(stream)];
        let known = usize::try_from(*position - chunk.offset).unwrap_or_default();
        if known >= chunk.data.len() {
            return None;
        }
        chunk.data.advance(known);
        let len = i64::try_from(chunk.data.len()).unwrap_or(i64::MAX);
        *position = (*position).max(chunk.offset).saturating_add(len);
        Some(Item::Chunk { stream, data: chunk.data, time: chunk.time })
    }

    fn gap(&mut self, gap: v1::LogGap) -> Option<Item> {
        let stream = gap.stream();
        let position = &mut self.0[slot(stream)];
        let end = gap.offset.saturating_add(gap.length);
        let new = end > *position;
        *position = end.max(*position);
        new.then_some(Item::Gap { length: gap.length, reason: gap.reason })
    }
}

fn slot(stream: LogStream) -> usize {
    match stream {
        LogStream::Unspecified => 0,
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
        LogStream::System => 3,
    }
}

#[cfg(test)]
mod tests {
    use windlass_proto::{
        api::v1::{LogChunk, LogGap},
        common::v1::LogStream,
    };

    use super::{Item, Positions};

    #[test]
    fn a_log_that_starts_over_doubles_nothing() {
        let mut positions = Positions::default();
        let mut chunk = |offset, data: &'static str, stream: LogStream| {
            let chunk = LogChunk { stream: stream.into(), offset, data: data.into(), time: None };
            match positions.chunk(chunk) {
                Some(Item::Chunk { data, .. }) => String::from_utf8(data.into()).unwrap(),
                _ => String::new(),
            }
        };
        assert_eq!(chunk(0, "one\n", LogStream::Stdout), "one\n");
        assert_eq!(chunk(0, "err\n", LogStream::Stderr), "err\n");
        assert_eq!(chunk(0, "one\n", LogStream::Stdout), "");
        assert_eq!(chunk(2, "e\ntwo\n", LogStream::Stdout), "two\n");
        assert_eq!(chunk(4, "!", LogStream::Stderr), "!");

        let gap = LogGap {
            stream: LogStream::Stdout.into(),
            offset: 8,
            length: 10,
            reason: "disk".into(),
        };
        assert!(matches!(positions.gap(gap.clone()), Some(Item::Gap { length: 10, .. })));
        assert!(positions.gap(gap).is_none());
        assert_eq!(positions.of(LogStream::Stdout), 18);
    }
}
