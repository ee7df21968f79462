//! The stream of log bytes: queued in the order in which they come, answered in that order, many
//! on their way at once.

use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use windlass_core::Timestamp;
use windlass_proto::common::v1::{AttemptRef, LogStream};
use windlass_proto::worker::v1::{AppendLogsRequest, AppendLogsResponse};
use windlass_proto::{MAX_CHUNK_BYTES, parse_lease, to_timestamp};

use crate::{
    clock::Clock,
    fleet::Leases,
    logs::{AppendError, Appending, Chunk, Logs, Lost, Stream},
    rpc::{
        status::{internal, invalid, invalid_id, shutting_down},
        streams::{Items, send},
    },
};

/// Most chunks of one worker that are on their way to the disk.
const MAX_UNDERWAY: usize = 64;

/// Longest reason why bytes were lost, in bytes.
const MAX_REASON: usize = 1_000;

/// A chunk whose answer is due.
struct Underway {
    attempt: Option<AttemptRef>,
    stream: i32,
    kept: Result<Appending, String>,
}

/// Takes the chunks of one worker.
pub(super) struct Intake {
    pub(super) leases: Leases,
    pub(super) logs: Logs,
    pub(super) clock: std::sync::Arc<dyn Clock>,
}

impl Intake {
    /// Takes chunks until the worker's end of the stream, answering each.
    pub(super) async fn run(
        self,
        chunks: Streaming<AppendLogsRequest>,
        items: Items<AppendLogsResponse>,
    ) -> Result<(), Status> {
        let (to, mut underway) = mpsc::channel(MAX_UNDERWAY);
        let answer = async {
            while let Some(chunk) = underway.recv().await {
                send(&items, answer(chunk).await?).await?;
            }
            Ok::<_, Status>(())
        };
        // The first of them that fails ends the stream: the worker opens another and sends again.
        tokio::try_join!(self.take(chunks, to), answer).map(|((), ())| ())
    }

    async fn take(
        &self,
        mut chunks: Streaming<AppendLogsRequest>,
        to: mpsc::Sender<Underway>,
    ) -> Result<(), Status> {
        while let Some(request) = chunks.message().await? {
            if to.send(self.queue(request).await?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn queue(&self, request: AppendLogsRequest) -> Result<Underway, Status> {
        let proof = parse_lease(request.lease.as_ref()).map_err(invalid_id)?;
        let number = request.stream;
        let chunk = chunk(&request, self.clock.now())?;
        let attempt = request.lease.and_then(|lease| lease.attempt);
        let kept = match self.leases.check(&proof) {
            None => Err("LEASE_FENCED: the lease is not held any more".to_owned()),
            Some(entry) => match self.logs.append(entry.key, chunk).await {
                Ok(appending) => Ok(appending),
                Err(error) => return Err(append_error(&error)),
            },
        };
        Ok(Underway { attempt, stream: number, kept })
    }
}

async fn answer(chunk: Underway) -> Result<AppendLogsResponse, Status> {
    let (durable, refused) = match chunk.kept {
        Err(refused) => (0, refused),
        Ok(appending) => match appending.durable().await {
            Ok(durable) => (durable, String::new()),
            Err(AppendError::Hole { durable }) => {
                (durable, format!("OFFSET_MISMATCH: log bytes must continue at {durable}"))
            }
            Err(error) => return Err(append_error(&error)),
        },
    };
    Ok(AppendLogsResponse {
        attempt: chunk.attempt,
        stream: chunk.stream,
        durable_offset: i64::try_from(durable).unwrap_or(i64::MAX),
        refused,
    })
}

fn append_error(error: &AppendError) -> Status {
    match error {
        AppendError::Closed => shutting_down(),
        AppendError::Hole { .. } | AppendError::Io(_) => internal(error),
    }
}

fn chunk(request: &AppendLogsRequest, now: Timestamp) -> Result<Chunk, Status> {
    let stream = match request.stream() {
        LogStream::Stdout => Stream::Stdout,
        LogStream::Stderr => Stream::Stderr,
        LogStream::System => Stream::System,
        LogStream::Unspecified => return Err(invalid("stream", "must be set")),
    };
    let offset =
        u64::try_from(request.offset).map_err(|_| invalid("offset", "must not be negative"))?;
    let lost = u64::try_from(request.lost_bytes)
        .map_err(|_| invalid("lost_bytes", "must not be negative"))?;
    if request.data.len() > MAX_CHUNK_BYTES {
        return Err(invalid("data", format!("at most {MAX_CHUNK_BYTES} bytes")));
    }
    let mut reason = request.lost_reason.clone();
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    Ok(Chunk {
        stream,
        offset,
        data: request.data.clone(),
        time: request.time.as_ref().map_or(now, to_timestamp),
        lost: (lost > 0).then_some(Lost { bytes: lost, reason }),
    })
}
