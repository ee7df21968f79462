use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::bytes::Bytes;
use rustix::fs::{SeekFrom, seek};
use tokio::sync::Notify;
use windlass_core::LeaseId;
use windlass_proto::{
    common::v1::LogStream,
    timestamp,
    worker::v1::{AppendLogsRequest, AppendLogsResponse, LeaseProof},
};

use super::LogSizes;
use crate::{Clock, executor::Executor};

/// Bytes of a log in one message.
const CHUNK: u64 = 256 << 10;

/// Most bytes of all logs that are on their way.
const WINDOW: u64 = 4 << 20;

/// The spool is freed in steps of this size.
const FREE_STEP: u64 = 1 << 20;

/// The logs of all attempts that this worker holds: what there is, what was sent, what is kept.
pub(super) struct Logs {
    state: Mutex<State>,
    clock: Clock,
    executor: Arc<dyn Executor>,
    /// There is something to send, or room to send it.
    pub(super) to_send: Notify,
    /// Some log came nearer to its end.
    nearer: Notify,
}

#[derive(Default)]
struct State {
    opened: HashMap<LeaseId, Opened>,
    /// Logs with bytes to send, each once, in turn.
    queue: VecDeque<(LeaseId, Stream)>,
    unacknowledged: u64,
}

struct Opened {
    proof: LeaseProof,
    dir: PathBuf,
    shipments: [Option<Shipment>; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
    System,
}

struct Shipment {
    file: File,
    size: u64,
    sent: u64,
    durable: u64,
    freed: u64,
    /// Bytes that would follow those in the file and are lost.
    lost: u64,
    queued: bool,
    refused: bool,
    /// When the bytes at `sent` were seen first.
    seen: windlass_core::Timestamp,
}

impl Stream {
    fn of(stream: LogStream) -> Option<Self> {
        match stream {
            LogStream::Stdout => Some(Self::Stdout),
            LogStream::Stderr => Some(Self::Stderr),
            LogStream::System => Some(Self::System),
            LogStream::Unspecified => None,
        }
    }

    fn message(self) -> LogStream {
        match self {
            Self::Stdout => LogStream::Stdout,
            Self::Stderr => LogStream::Stderr,
            Self::System => LogStream::System,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
            Self::System => 2,
        }
    }

    fn file_name(self) -> &'static str {
        ["stdout", "stderr", "system"][self.index()]
    }
}

impl Shipment {
    /// Begins where the spool was not freed: all below is kept by the daemon.
    fn open(path: &Path, seen: windlass_core::Timestamp) -> io::Result<Self> {
        let file = File::open(path)?;
        // An error means that no byte is left, or that the file system has no holes.
        let start = match seek(&file, SeekFrom::Data(0)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => file.metadata()?.len(),
            Err(_) => 0,
        };
        let (sent, durable, freed) = (start, start, start);
        let (size, lost, queued, refused) = (0, 0, false, false);
        Ok(Self { file, size, sent, durable, freed, lost, queued, refused, seen })
    }

    fn end(&self) -> u64 {
        self.size + self.lost
    }

    fn is_settled(&self) -> bool {
        self.refused || self.durable >= self.end()
    }

    fn wants_to_send(&self) -> bool {
        !self.refused && self.sent < self.end()
    }

    /// The next bytes, or word of those that are lost.
    fn next(&mut self, proof: &LeaseProof, stream: Stream) -> io::Result<AppendLogsRequest> {
        let offset = i64::try_from(self.sent).unwrap_or(i64::MAX);
        let mut request = AppendLogsRequest {
            lease: Some(proof.clone()),
            stream: stream.message().into(),
            offset,
            time: Some(timestamp(self.seen)),
            ..AppendLogsRequest::default()
        };
        if self.sent < self.size {
            let len = CHUNK.min(self.size - self.sent);
            let mut data = vec![0; usize::try_from(len).unwrap_or_default()];
            self.file.read_exact_at(&mut data, self.sent)?;
            request.data = Bytes::from(data);
            self.sent += len;
        } else {
            request.offset = i64::try_from(self.end()).unwrap_or(i64::MAX);
            request.lost_bytes = i64::try_from(self.end() - self.sent).unwrap_or(i64::MAX);
            request.lost_reason = "the worker's disk was full".to_owned();
            self.sent = self.end();
        }
        Ok(request)
    }
}

impl Logs {
    pub(super) fn new(clock: Clock, executor: Arc<dyn Executor>) -> Self {
        let (to_send, nearer) = (Notify::new(), Notify::new());
        Self { state: Mutex::default(), clock, executor, to_send, nearer }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, proof: &LeaseProof, lease: LeaseId, dir: &Path) {
        let opened =
            Opened { proof: proof.clone(), dir: dir.to_path_buf(), shipments: [None, None, None] };
        self.lock().opened.insert(lease, opened);
    }

    pub(super) fn close(&self, lease: LeaseId) {
        let mut state = self.lock();
        let Some(opened) = state.opened.remove(&lease) else { return };
        let open = opened.shipments.iter().flatten();
        let unacknowledged: u64 = open.map(|s| s.sent.saturating_sub(s.durable)).sum();
        state.unacknowledged = state.unacknowledged.saturating_sub(unacknowledged);
        state.queue.retain(|(other, _)| *other != lease);
        self.to_send.notify_one();
    }

    pub(super) fn grew(&self, lease: LeaseId, stream: LogStream, size: u64) {
        let Some(stream) = Stream::of(stream) else { return };
        self.extend(lease, stream, size, 0);
    }

    fn extend(&self, lease: LeaseId, stream: Stream, size: u64, lost: u64) {
        let now = (self.clock)();
        let mut state = self.lock();
        let Some(opened) = state.opened.get_mut(&lease) else { return };
        let slot = &mut opened.shipments[stream.index()];
        let shipment = match slot {
            Some(shipment) => shipment,
            None => match Shipment::open(&opened.dir.join(stream.file_name()), now) {
                Ok(shipment) => slot.insert(shipment),
                Err(error) => return tracing::error!(%error, "failed to open a log"),
            },
        };
        if size <= shipment.size && lost == 0 {
            return;
        }
        if shipment.sent >= shipment.size {
            shipment.seen = now;
        }
        shipment.size = shipment.size.max(size);
        shipment.lost = lost;
        if shipment.wants_to_send() && !std::mem::replace(&mut shipment.queued, true) {
            state.queue.push_back((lease, stream));
            self.to_send.notify_one();
        }
    }

    /// Waits until the daemon has everything of the attempt's logs.
    pub(super) async fn settled(&self, lease: LeaseId, sizes: LogSizes) {
        let ends = [
            (Stream::Stdout, sizes.output[0], sizes.lost[0]),
            (Stream::Stderr, sizes.output[1], sizes.lost[1]),
            (Stream::System, sizes.system, 0),
        ];
        for (stream, size, lost) in ends {
            if size + lost > 0 {
                self.extend(lease, stream, size, lost);
            }
        }
        loop {
            let nearer = self.nearer.notified();
            tokio::pin!(nearer);
            nearer.as_mut().enable();
            let settled =
                self.lock().opened.get(&lease).is_none_or(|opened| {
                    opened.shipments.iter().flatten().all(Shipment::is_settled)
                });
            if settled {
                return;
            }
            nearer.await;
        }
    }

    /// Forgets what was on its way: a new session begins behind what is durable.
    pub(super) fn rewind(&self) {
        let state = &mut *self.lock();
        state.queue.clear();
        state.unacknowledged = 0;
        for (&lease, opened) in &mut state.opened {
            let streams = [Stream::Stdout, Stream::Stderr, Stream::System];
            for (stream, shipment) in streams.into_iter().zip(&mut opened.shipments) {
                let Some(shipment) = shipment else { continue };
                shipment.sent = shipment.durable;
                shipment.queued = shipment.wants_to_send();
                if shipment.queued {
                    state.queue.push_back((lease, stream));
                }
            }
        }
    }

    /// True where the next chunk may be sent now.
    pub(super) fn can_send(&self) -> bool {
        let state = self.lock();
        !state.queue.is_empty() && state.unacknowledged < WINDOW
    }

    /// The next chunk of the log whose turn it is.
    pub(super) fn next_chunk(&self) -> Option<AppendLogsRequest> {
        let state = &mut *self.lock();
        while let Some((lease, stream)) = state.queue.pop_front() {
            let Some(opened) = state.opened.get_mut(&lease) else { continue };
            let Some(shipment) = &mut opened.shipments[stream.index()] else { continue };
            shipment.queued = false;
            let before = shipment.sent;
            match shipment.next(&opened.proof, stream) {
                Ok(request) => {
                    state.unacknowledged += shipment.sent - before;
                    if shipment.wants_to_send() {
                        shipment.queued = true;
                        state.queue.push_back((lease, stream));
                    }
                    return Some(request);
                }
                Err(error) => {
                    tracing::error!(%error, "failed to read a log; the rest of it is lost");
                    shipment.refused = true;
                    self.nearer.notify_waiters();
                }
            }
        }
        None
    }

    /// Takes an answer of the daemon: how much it has, or that it refuses an attempt's logs.
    pub(super) fn acknowledge(&self, answer: &AppendLogsResponse) {
        let Some(stream) = Stream::of(answer.stream()) else { return };
        let durable = u64::try_from(answer.durable_offset).unwrap_or_default();
        let state = &mut *self.lock();
        for (&lease, opened) in &mut state.opened {
            if opened.proof.attempt != answer.attempt {
                continue;
            }
            let Some(shipment) = &mut opened.shipments[stream.index()] else { continue };
            if !answer.refused.is_empty() {
                tracing::warn!(reason = answer.refused, %lease, "the daemon refuses a log");
                shipment.refused = true;
            }
            // More than was sent, where a worker before this one had sent it.
            shipment.sent = shipment.sent.max(durable);
            let gained = durable.saturating_sub(shipment.durable);
            state.unacknowledged = state.unacknowledged.saturating_sub(gained);
            shipment.durable += gained;
            if stream != Stream::System && shipment.durable - shipment.freed >= FREE_STEP {
                shipment.freed = shipment.durable;
                self.executor.log_durable(lease, stream.index(), shipment.durable);
            }
        }
        self.nearer.notify_waiters();
    }
}
