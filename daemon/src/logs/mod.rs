//! Logs of attempts: files by byte offset, written by plain threads, followed without polling.
//!
//! An attempt's files lie in `logs/RUN/` as `STEP.ATTEMPT.{stdout,stderr,system,index,gaps}`, made
//! at their first byte. A stream's file holds its bytes at their offsets and its length is the
//! truth about what is kept; the index tells times and how the streams interleave; `gaps` tells
//! which ranges were lost and why. Kept means written, not synced: it survives every death of a
//! process. A follower reads the files at its own pace, so a slow one costs nobody anything.

mod cursor;
mod files;
mod index;
mod live;
mod segment;
mod tail;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use prost::bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use windlass_core::{RunId, Timestamp};

use self::{files::Files, live::Registry, writer::Command};
pub(crate) use self::{
    files::Page,
    tail::{Step, Tail},
};
use crate::store::attempts::AttemptKey;

/// Threads that write; an attempt always has the same one.
const WRITERS: usize = 2;

/// Most bytes waiting to be written; who appends more waits.
const MAX_QUEUED_BYTES: usize = 8 << 20;

/// What one permit of the queue stands for, so that also empty chunks are bounded.
const PERMIT_BYTES: usize = 1 << 10;

/// Permits of the whole queue.
const PERMITS: usize = MAX_QUEUED_BYTES / PERMIT_BYTES;

/// One of an attempt's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    /// What Windlass itself says about the attempt.
    System,
}

/// Bytes to keep at their place.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) stream: Stream,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    /// When the worker read the first byte.
    pub(crate) time: Timestamp,
    /// What is missing before `offset` and will never come.
    pub(crate) lost: Option<Lost>,
}

/// Bytes that were lost.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) bytes: u64,
    pub(crate) reason: String,
}

/// One thing that a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Chunk { stream: Stream, offset: u64, data: Bytes, time: Timestamp },
    Gap { stream: Stream, offset: u64, length: u64, reason: String },
}

/// Why bytes were not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The bytes between are neither here nor declared lost.
    #[error("log bytes must continue at {durable}")]
    Hole { durable: u64 },
    /// The same bytes may be taken later, for instance once the disk has space again.
    #[error("failed to write the log")]
    Io(#[from] io::Error),
    #[error("the daemon is stopping")]
    Closed,
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("failed to read the log")]
    Io(#[from] io::Error),
    #[error("the daemon is stopping")]
    Closed,
}

/// All logs of a home. Clones share the writers.
#[derive(Clone)]
pub(crate) struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    registry: Arc<Registry>,
    space: Arc<Semaphore>,
    writers: Vec<mpsc::Sender<Command>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A chunk on its way to its file.
pub(crate) struct Appending(oneshot::Receiver<Result<u64, AppendError>>);

impl Appending {
    /// Waits until the chunk is kept; returns the offset below which everything is.
    pub(crate) async fn durable(self) -> Result<u64, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::Closed))
    }
}

impl Logs {
    /// Starts the writers for the logs in `dir`.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        let registry = Arc::new(Registry::default());
        let (mut writers, mut threads) = (vec![], vec![]);
        for number in 0..WRITERS {
            // Bounded by `space`: whatever is in the channel holds a permit, but for seals, of
            // which there is one an attempt.
            let (sender, receiver) = mpsc::channel();
            let dir = dir.clone();
            let thread = std::thread::Builder::new()
                .name(format!("logs-{number}"))
                .spawn(move || writer::run(&dir, &receiver))?;
            writers.push(sender);
            threads.push(thread);
        }
        let space = Arc::new(Semaphore::new(PERMITS));
        let threads = Mutex::new(threads);
        Ok(Self { inner: Arc::new(Inner { dir, registry, space, writers, threads }) })
    }

    /// Queues `chunk` once there is room; chunks of a stream are kept in the order of these calls.
    ///
    /// Bytes that are already kept are ignored. A hole is refused unless declared lost.
    pub(crate) async fn append(
        &self,
        key: AttemptKey,
        chunk: Chunk,
    ) -> Result<Appending, AppendError> {
        let wanted = chunk.data.len().div_ceil(PERMIT_BYTES).clamp(1, PERMITS);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let space = Arc::clone(&self.inner.space);
        let permit = space.acquire_many_owned(wanted).await.map_err(|_| AppendError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let live = self.inner.registry.get(key);
        let command = Command::Append { key, live, chunk, permit, reply };
        self.writer(key).send(command).map_err(|_| AppendError::Closed)?;
        Ok(Appending(answer))
    }

    /// Tells followers that the attempt has ended with streams of these `sizes`: they leave once
    /// they have everything. Costs nothing where nobody wrote or follows. Never blocks.
    pub(crate) fn seal(&self, key: AttemptKey, sizes: [u64; 3]) {
        if let Some(live) = self.inner.registry.find(key) {
            // A writer that is gone took its followers along.
            self.writer(key).send(Command::Seal { key, live, sizes }).ok();
        }
    }

    /// Reads one page of at most `max` bytes; a negative `offset` counts from the end.
    pub(crate) async fn read(
        &self,
        key: AttemptKey,
        stream: Stream,
        offset: i64,
        max: usize,
    ) -> Result<Page, ReadError> {
        let files = Files::new(&self.inner.dir, key);
        blocking(move || files.page(stream, offset, max)).await
    }

    /// Follows one stream from `offset`, or all of them interleaved from their beginnings.
    ///
    /// Look at the attempt's state only after this call, and tell the answer to
    /// [`Tail::ended`]: whatever ends later seals the tail.
    pub(crate) fn tail(&self, key: AttemptKey, stream: Option<Stream>, offset: i64) -> Tail {
        Tail::new(Files::new(&self.inner.dir, key), self.inner.registry.get(key), stream, offset)
    }

    /// Deletes every log of the run; one that has none is no error.
    pub(crate) async fn delete_run(&self, run: RunId) -> Result<(), ReadError> {
        for writer in &self.inner.writers {
            let (reply, done) = oneshot::channel();
            writer.send(Command::Forget { run, reply }).map_err(|_| ReadError::Closed)?;
            done.await.map_err(|_| ReadError::Closed)?;
        }
        let dir = self.inner.dir.join(run.to_string());
        blocking(move || match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// Writes what is queued, then ends the writers. Blocks for that long.
    pub(crate) fn close(&self) {
        self.inner.space.close();
        for writer in &self.inner.writers {
            writer.send(Command::Close).ok();
        }
        let mut threads = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a writer of logs panicked");
            }
        }
    }

    fn writer(&self, key: AttemptKey) -> &mpsc::Sender<Command> {
        let spread = key.run.0.as_bytes()[15] ^ key.step.0.to_le_bytes()[0];
        &self.inner.writers[usize::from(spread) % WRITERS]
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ReadError::Closed),
    }
}

#[cfg(test)]
mod tests;
