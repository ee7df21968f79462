use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use windlass_proto::api::v1::{
    ErrorReason, LogChunk, LogEnd, LogGap, LogKeepalive, ReadLogsRequest, ReadLogsResponse,
    TailLogsRequest, TailLogsResponse, WatchMetricsRequest, WatchMetricsResponse,
    log_service_server::LogService, tail_logs_response,
};
use windlass_proto::common::v1::{AttemptRef, LogStream};
use windlass_proto::{MAX_CHUNK_BYTES, timestamp};

use super::{
    attempts::{Attempts, Changes, Found},
    status::{internal, invalid, status},
    streams::{Items, KEEPALIVE, Streams, send},
};
use crate::logs::{Item, Logs, ReadError, Step, Stream, Tail};
use crate::store::attempts::AttemptKey;

/// Bytes of a page where the caller does not say.
const DEFAULT_PAGE_BYTES: usize = 64 << 10;

/// Most metric points in one message.
const MAX_POINTS: u32 = 1_000;

/// Serves `windlass.api.v1.LogService`.
pub(crate) struct LogsRpc {
    attempts: Arc<dyn Attempts>,
    logs: Logs,
    streams: Streams,
}

impl LogsRpc {
    pub(crate) fn new(attempts: Arc<dyn Attempts>, logs: Logs, streams: Streams) -> Self {
        Self { attempts, logs, streams }
    }
}

#[tonic::async_trait]
impl LogService for LogsRpc {
    async fn read_logs(
        &self,
        request: Request<ReadLogsRequest>,
    ) -> Result<Response<ReadLogsResponse>, Status> {
        let ReadLogsRequest { attempt, stream, offset, max_bytes } = request.into_inner();
        let stream = parse_stream(stream)?
            .ok_or_else(|| invalid("stream", "must name stdout, stderr or system"))?;
        let max = match usize::try_from(max_bytes) {
            Ok(0) => DEFAULT_PAGE_BYTES,
            Ok(max) => max.min(MAX_CHUNK_BYTES),
            Err(_) => return Err(invalid("max_bytes", "must not be negative")),
        };
        // Asked before the read: what had ended then is read in full.
        let found = find(&*self.attempts, attempt.as_ref()).await?;
        let Some(key) = found.attempt else {
            let sealed = found.ended;
            return Ok(Response::new(ReadLogsResponse { sealed, ..Default::default() }));
        };
        let page = self.logs.read(key, stream, offset, max).await.map_err(read_error)?;
        let next = page.offset + count(page.data.len());
        Ok(Response::new(ReadLogsResponse {
            data: page.data,
            offset: position(page.offset),
            next_offset: position(next),
            sealed: found.ended,
            size_bytes: position(page.size),
        }))
    }

    type TailLogsStream = ReceiverStream<Result<TailLogsResponse, Status>>;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let request = request.into_inner();
        let only = parse_stream(request.stream)?;
        if only.is_none() && request.offset != 0 {
            return Err(invalid("offset", "must be 0 where all streams are asked for"));
        }
        let found = find(&*self.attempts, request.attempt.as_ref()).await?;
        let wanted = request.attempt.unwrap_or_default();
        let (attempts, logs) = (Arc::clone(&self.attempts), self.logs.clone());
        Ok(Response::new(self.streams.start(async move |items| {
            let found = settle(&*attempts, &wanted, found, request.follow, || {
                send(&items, tail_item(tail_logs_response::Item::Keepalive(LogKeepalive {})))
            });
            let Some(key) = found.await? else { return end(&items, 0).await };
            let mut tail = logs.tail(key, only, request.offset);
            // Asked after the tail was made: whatever ends later seals it.
            let named = AttemptRef { attempt: key.attempt.0, ..wanted };
            let ended = find(&*attempts, Some(&named)).await?.ended;
            if ended {
                tail.ended();
            }
            follow(&mut tail, &items, request.follow).await
        })))
    }

    type WatchMetricsStream = ReceiverStream<Result<WatchMetricsResponse, Status>>;

    async fn watch_metrics(
        &self,
        request: Request<WatchMetricsRequest>,
    ) -> Result<Response<Self::WatchMetricsStream>, Status> {
        let WatchMetricsRequest { attempt, after_sequence, follow } = request.into_inner();
        let found = find(&*self.attempts, attempt.as_ref()).await?;
        let wanted = attempt.unwrap_or_default();
        let attempts = Arc::clone(&self.attempts);
        Ok(Response::new(self.streams.start(async move |items| {
            let alive = || send(&items, WatchMetricsResponse::default());
            let Some(key) = settle(&*attempts, &wanted, found, follow, alive).await? else {
                return Ok(());
            };
            let named = AttemptRef { attempt: key.attempt.0, ..wanted };
            watch_metrics(&*attempts, &named, after_sequence, follow, &items).await
        })))
    }
}

/// The attempt asked for. With `follow`, waits until there is one or there never will be.
async fn settle<F: Future<Output = Result<(), Status>>>(
    attempts: &dyn Attempts,
    wanted: &AttemptRef,
    mut found: Found,
    follow: bool,
    alive: impl Fn() -> F,
) -> Result<Option<AttemptKey>, Status> {
    let mut changes = attempts.changes(found.run);
    let mut more = follow;
    while found.attempt.is_none() && !found.ended {
        // Asked again after the subscription, and after every change.
        found = find(attempts, Some(wanted)).await?;
        if found.attempt.is_some() || found.ended || !more {
            break;
        }
        more = changed(&mut *changes, &alive).await?;
    }
    Ok(found.attempt)
}

/// Waits for a change, or for the time to say that the stream lives; false after the last change.
async fn changed<F: Future<Output = Result<(), Status>>>(
    changes: &mut dyn Changes,
    alive: &impl Fn() -> F,
) -> Result<bool, Status> {
    tokio::select! {
        more = changes.next() => Ok(more),
        () = tokio::time::sleep(KEEPALIVE) => alive().await.map(|()| true),
    }
}

async fn follow(
    tail: &mut Tail,
    items: &Items<TailLogsResponse>,
    follow: bool,
) -> Result<(), Status> {
    loop {
        match tail.read().await.map_err(read_error)? {
            Step::Item(item) => send(items, tail_item(told(item))).await?,
            Step::End => return end(items, tail.position()).await,
            Step::Wait if !follow => return Ok(()),
            Step::Wait => tokio::select! {
                () = tail.changed() => {}
                () = tokio::time::sleep(KEEPALIVE) => {
                    let alive = tail_logs_response::Item::Keepalive(LogKeepalive {});
                    send(items, tail_item(alive)).await?;
                }
            },
        }
    }
}

async fn watch_metrics(
    attempts: &dyn Attempts,
    named: &AttemptRef,
    mut after: u64,
    follow: bool,
    items: &Items<WatchMetricsResponse>,
) -> Result<(), Status> {
    let mut changes = attempts.changes(find(attempts, Some(named)).await?.run);
    let mut more = follow;
    loop {
        // Asked before the points: those of an attempt that had ended then are all there.
        let found = find(attempts, Some(named)).await?;
        let Some(key) = found.attempt else { return Ok(()) };
        let points = attempts.metrics(key, after, MAX_POINTS).await?;
        if let Some(last) = points.last() {
            after = last.sequence;
            send(items, WatchMetricsResponse { points }).await?;
        } else if found.ended || !more {
            return Ok(());
        } else {
            let alive = || send(items, WatchMetricsResponse::default());
            more = changed(&mut *changes, &alive).await?;
        }
    }
}

async fn find(attempts: &dyn Attempts, wanted: Option<&AttemptRef>) -> Result<Found, Status> {
    let wanted = wanted.ok_or_else(|| invalid("attempt", "must be set"))?;
    let required = |field, value: &str| match value {
        "" => Err(invalid(field, "must be set")),
        _ => Ok(()),
    };
    required("attempt.run_id", &wanted.run_id)?;
    required("attempt.step", &wanted.step)?;
    attempts.find(&wanted.run_id, &wanted.step, wanted.attempt).await
}

fn parse_stream(stream: i32) -> Result<Option<Stream>, Status> {
    match LogStream::try_from(stream) {
        Ok(LogStream::Unspecified) => Ok(None),
        Ok(LogStream::Stdout) => Ok(Some(Stream::Stdout)),
        Ok(LogStream::Stderr) => Ok(Some(Stream::Stderr)),
        Ok(LogStream::System) => Ok(Some(Stream::System)),
        Err(_) => Err(invalid("stream", format!("no log stream has the number {stream}"))),
    }
}

fn api_stream(stream: Stream) -> i32 {
    let stream = match stream {
        Stream::Stdout => LogStream::Stdout,
        Stream::Stderr => LogStream::Stderr,
        Stream::System => LogStream::System,
    };
    stream.into()
}

fn told(item: Item) -> tail_logs_response::Item {
    match item {
        Item::Chunk { stream, offset, data, time } => tail_logs_response::Item::Chunk(LogChunk {
            stream: api_stream(stream),
            offset: position(offset),
            data,
            time: Some(timestamp(time)),
        }),
        Item::Gap { stream, offset, length, reason } => tail_logs_response::Item::Gap(LogGap {
            stream: api_stream(stream),
            offset: position(offset),
            length: position(length),
            reason,
        }),
    }
}

async fn end(items: &Items<TailLogsResponse>, size: u64) -> Result<(), Status> {
    let end = LogEnd { size_bytes: position(size) };
    send(items, tail_item(tail_logs_response::Item::End(end))).await
}

fn tail_item(item: tail_logs_response::Item) -> TailLogsResponse {
    TailLogsResponse { item: Some(item) }
}

fn read_error(error: ReadError) -> Status {
    match error {
        ReadError::Closed => status(ErrorReason::ShuttingDown, error.to_string()),
        ReadError::Io(_) => internal(&error),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn position(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
