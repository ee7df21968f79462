use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use windlass_core::RunId;

use super::{AppendError, Chunk, files::Files, live::Live, segment::Segment};
use crate::store::attempts::AttemptKey;

/// Attempts that one writer has open, with at most four files each.
const MAX_OPEN: usize = 32;

/// How long followers of an ended attempt are held for bytes that were reported and have not come.
const SEAL_PATIENCE: Duration = Duration::from_secs(10);

/// What a writer is asked to do.
pub(super) enum Command {
    Append {
        key: AttemptKey,
        live: Arc<Live>,
        chunk: Chunk,
        /// Room in the queue, given back once written.
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<u64, AppendError>>,
    },
    Seal {
        key: AttemptKey,
        live: Arc<Live>,
        sizes: [u64; 3],
    },
    /// Closes the files of a run that is about to be deleted.
    Forget {
        run: RunId,
        reply: oneshot::Sender<()>,
    },
    Close,
}

/// An attempt that ended before all of its bytes were here.
struct Sealing {
    key: AttemptKey,
    live: Arc<Live>,
    sizes: [u64; 3],
    until: Instant,
}

struct Writer<'a> {
    dir: &'a Path,
    open: HashMap<AttemptKey, (u64, Segment)>,
    /// Counts uses, so that the file used longest ago is closed first.
    uses: u64,
    sealing: Vec<Sealing>,
}

/// Works until closed.
pub(super) fn run(dir: &Path, commands: &Receiver<Command>) {
    let mut writer = Writer { dir, open: HashMap::new(), uses: 0, sealing: vec![] };
    loop {
        let command = match writer.sealing.iter().map(|sealing| sealing.until).min() {
            None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => commands.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match command {
            Ok(Command::Append { key, live, chunk, permit, reply }) => {
                let result = writer.append(key, live, &chunk);
                drop((chunk, permit));
                // Who asked may be gone.
                reply.send(result).ok();
            }
            Ok(Command::Seal { key, live, sizes }) => writer.seal(key, live, sizes),
            Ok(Command::Forget { run, reply }) => {
                writer.forget(run);
                reply.send(()).ok();
            }
            Err(RecvTimeoutError::Timeout) => writer.give_up_waiting(),
            Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Writer<'_> {
    fn append(
        &mut self,
        key: AttemptKey,
        live: Arc<Live>,
        chunk: &Chunk,
    ) -> Result<u64, AppendError> {
        let result = self.segment(key, live)?.append(chunk);
        if !self.sealing.is_empty() {
            self.seal_complete(key);
        }
        if let Err(AppendError::Io(error)) = &result {
            tracing::warn!(%error, run = %key.run, "cannot write a log");
            // Opened anew next time, so that what is believed about the files is true again.
            self.open.remove(&key);
        }
        result
    }

    fn seal(&mut self, key: AttemptKey, live: Arc<Live>, sizes: [u64; 3]) {
        let complete = sizes == [0; 3]
            || match self.segment(key, Arc::clone(&live)) {
                Ok(segment) => segment.has(sizes),
                Err(error) => {
                    tracing::warn!(%error, run = %key.run, "cannot open a log");
                    true
                }
            };
        if complete {
            live.seal();
            self.open.remove(&key);
        } else {
            self.sealing.push(Sealing { key, live, sizes, until: Instant::now() + SEAL_PATIENCE });
        }
    }

    /// Seals the attempt if it has ended and its last bytes have just come.
    fn seal_complete(&mut self, key: AttemptKey) {
        let Some((_, segment)) = self.open.get(&key) else { return };
        let done = |sealing: &Sealing| sealing.key == key && segment.has(sealing.sizes);
        if self.sealing.iter().any(done) {
            self.sealing.retain(|sealing| sealing.key != key);
            segment.live().seal();
            self.open.remove(&key);
        }
    }

    fn give_up_waiting(&mut self) {
        let now = Instant::now();
        self.sealing.retain(|sealing| {
            let patient = sealing.until > now;
            if !patient {
                tracing::warn!(run = %sealing.key.run, "the end of a log never came");
                sealing.live.seal();
            }
            patient
        });
    }

    fn forget(&mut self, run: RunId) {
        self.open.retain(|key, _| key.run != run);
        self.sealing.retain(|sealing| {
            let other = sealing.key.run != run;
            if !other {
                sealing.live.seal();
            }
            other
        });
    }

    fn segment(&mut self, key: AttemptKey, live: Arc<Live>) -> io::Result<&mut Segment> {
        self.uses += 1;
        if !self.open.contains_key(&key) {
            if self.open.len() >= MAX_OPEN
                && let Some(oldest) = self.open.iter().min_by_key(|(_, (used, _))| *used)
            {
                let oldest = *oldest.0;
                self.open.remove(&oldest);
            }
            let segment = Segment::open(Files::new(self.dir, key), live)?;
            self.open.insert(key, (self.uses, segment));
        }
        let found = self.open.get_mut(&key).ok_or(io::ErrorKind::NotFound)?;
        found.0 = self.uses;
        Ok(&mut found.1)
    }
}
