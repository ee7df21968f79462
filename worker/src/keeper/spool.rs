use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use crate::mask::{Masker, Masks};
use rustix::{
    fs::{FallocateFlags, OFlags, fallocate, fcntl_setfl},
    pipe::fcntl_setpipe_size,
};

use super::watched::Watched;

/// Block in which pipes are read.
pub(super) const BLOCK: usize = 64 << 10;

/// Blocks taken from one pipe before the others get their turn.
const BURST: usize = 16;

/// Wanted size of the pipe of a stream that is busy.
const BUSY_PIPE: usize = 1 << 20;

/// Most bytes kept in a spool that are not durable elsewhere; then its pipe is no longer read.
pub(super) const MAX_BACKLOG: u64 = 64 << 20;

/// Freeing less than this of a spool is not worth a call.
const MIN_PUNCH: u64 = 1 << 20;

/// One of an attempt's output streams: a pipe that is read into a file.
pub(super) struct Spool {
    path: PathBuf,
    pipe: Option<Watched<File>>,
    /// Made with the first byte.
    file: Option<File>,
    size: u64,
    durable: u64,
    freed: u64,
    /// Read, but not written: the disk is full. At most a block.
    unwritten: Vec<u8>,
    lost: u64,
    wide: bool,
    masker: Option<Masker>,
    /// Masked, on its way to the file.
    masked: Vec<u8>,
}

/// Why a spool stopped reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// The pipe is empty for now.
    Dry,
    /// There may be more.
    More,
    /// Too much is not durable yet, or the disk is full.
    Held,
    /// Every writer has closed it.
    Closed,
}

impl Spool {
    /// Reads `pipe` without ever blocking on it.
    /// What it reads is masked where there are masks.
    pub(super) fn new(
        path: PathBuf,
        pipe: OwnedFd,
        epoll: &Rc<OwnedFd>,
        masks: Option<&Arc<Masks>>,
    ) -> io::Result<Self> {
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self {
            path,
            pipe: Some(Watched::new(File::from(pipe), epoll)),
            file: None,
            size: 0,
            durable: 0,
            freed: 0,
            unwritten: Vec::new(),
            lost: 0,
            wide: false,
            masker: masks.map(|masks| Masker::new(Arc::clone(masks))),
            masked: Vec::new(),
        })
    }

    /// Bytes in the file, freed ones included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that were read and could not be kept.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// The pipe, as long as it is open.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Moves what is there into the file, at most a burst.
    pub(super) fn pump(&mut self, block: &mut [u8]) -> Pumped {
        self.pump_until(block, self.durable.saturating_add(MAX_BACKLOG))
    }

    /// Moves what is there now, whatever is durable; used once the attempt has ended.
    pub(super) fn drain(&mut self, block: &mut [u8]) -> Pumped {
        for _ in 0..=BUSY_PIPE / (BURST * BLOCK) {
            let pumped = self.pump_until(block, u64::MAX);
            if pumped != Pumped::More {
                return pumped;
            }
        }
        Pumped::More
    }

    fn pump_until(&mut self, block: &mut [u8], limit: u64) -> Pumped {
        if !self.write_rest() {
            return Pumped::Held;
        }
        for _ in 0..BURST {
            if self.size >= limit {
                return Pumped::Held;
            }
            let Some(pipe) = &mut self.pipe else { return Pumped::Closed };
            match pipe.fd.read(block) {
                Ok(0) => {
                    self.pipe = None;
                    return if self.finish_masking() { Pumped::Closed } else { Pumped::Held };
                }
                Ok(len) => {
                    if len == block.len() && !self.wide {
                        self.wide = true;
                        // Refused where the user has too many; the pipe then stays as it is.
                        fcntl_setpipe_size(&*pipe, BUSY_PIPE).ok();
                    }
                    if !self.take(&block[..len]) {
                        return Pumped::Held;
                    }
                    if len < block.len() / 2 {
                        return Pumped::Dry;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pumped::Dry,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to read a step's output");
                    self.pipe = None;
                    return Pumped::Closed;
                }
            }
        }
        Pumped::More
    }

    /// Masks `bytes` where there is something to mask, and writes them.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let Some(masker) = &mut self.masker else { return self.append(bytes) };
        let mut masked = std::mem::take(&mut self.masked);
        masker.push(bytes, &mut masked);
        let written = self.append(&masked);
        masked.clear();
        self.masked = masked;
        written
    }

    /// Writes what was held back as the possible beginning of a secret.
    fn finish_masking(&mut self) -> bool {
        let Some(mut masker) = self.masker.take() else { return true };
        let mut rest = Vec::new();
        masker.finish(&mut rest);
        self.append(&rest)
    }

    /// Writes `bytes`, keeping what did not fit; false where something is left.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let (written, result) = self.write(bytes);
        self.size += u64::try_from(written).unwrap_or_default();
        if let Err(error) = result {
            tracing::warn!(path = %self.path.display(), %error, "failed to keep a step's output");
            self.unwritten.extend_from_slice(&bytes[written..]);
        }
        self.unwritten.is_empty()
    }

    fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        let mut go = || {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(
                    OpenOptions::new().create(true).truncate(true).write(true).open(&self.path)?,
                ),
            };
            while written < bytes.len() {
                match file.write(&bytes[written..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(len) => written += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let result = go();
        (written, result)
    }

    fn write_rest(&mut self) -> bool {
        if self.unwritten.is_empty() {
            return true;
        }
        let rest = std::mem::take(&mut self.unwritten);
        self.append(&rest)
    }

    /// Frees the file below `offset`, which is kept elsewhere.
    pub(super) fn durable(&mut self, offset: u64) {
        self.durable = self.durable.max(offset.min(self.size));
        let Some(file) = &self.file else { return };
        if self.durable - self.freed >= MIN_PUNCH {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where the file system cannot, the file stays until the attempt is forgotten.
            fallocate(file, mode, self.freed, self.durable - self.freed).ok();
            self.freed = self.durable;
        }
    }

    /// True where `pump` would do something again.
    pub(super) fn may_go_on(&self) -> bool {
        self.pipe.is_some() && self.size < self.durable.saturating_add(MAX_BACKLOG)
    }

    /// Bytes that lie in the pipe and for which there is no room.
    fn count_unread(&mut self) -> u64 {
        let Some(pipe) = self.pipe.as_mut().filter(|_| !self.unwritten.is_empty()) else {
            return 0;
        };
        let mut block = [0; 4096];
        let mut unread = 0;
        while unread <= BUSY_PIPE {
            match pipe.fd.read(&mut block) {
                Ok(len @ 1..) => unread += len,
                Ok(0) | Err(_) => break,
            }
        }
        u64::try_from(unread).unwrap_or_default()
    }

    /// Reads no more. What could not be written is counted as lost.
    pub(super) fn close(&mut self) {
        self.write_rest();
        self.finish_masking();
        self.lost += self.count_unread();
        self.lost += u64::try_from(self.unwritten.len()).unwrap_or_default();
        self.unwritten.clear();
        self.pipe = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use rustix::{
        event::epoll,
        pipe::{PipeFlags, pipe_with},
    };

    use super::*;

    fn spool(dir: &tempfile::TempDir) -> (Spool, File) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let epoll = Rc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        (Spool::new(dir.path().join("stdout"), read, &epoll, None).unwrap(), File::from(write))
    }

    #[test]
    fn moves_bytes_and_sees_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, mut write) = spool(&dir);
        let mut block = vec![0; BLOCK];

        assert_eq!(spool.pump(&mut block), Pumped::Dry);
        assert!(!dir.path().join("stdout").exists(), "no file without a byte");
        write.write_all(b"one\n").unwrap();
        assert_eq!(spool.pump(&mut block), Pumped::Dry);
        write.write_all(b"two").unwrap();
        drop(write);
        while spool.pump(&mut block) != Pumped::Closed {}

        assert_eq!(fs::read(dir.path().join("stdout")).unwrap(), b"one\ntwo");
        assert_eq!(spool.size(), 7);
    }

    #[test]
    fn stops_at_the_backlog_and_goes_on_once_it_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, mut write) = spool(&dir);
        let writer = std::thread::spawn(move || {
            let block = vec![b'x'; 1 << 20];
            (0..70).try_for_each(|_| write.write_all(&block)).unwrap();
        });
        let mut block = vec![0; BLOCK];

        while spool.pump(&mut block) != Pumped::Held {}
        assert!((MAX_BACKLOG..MAX_BACKLOG + 2 * BLOCK as u64).contains(&spool.size()));
        assert!(!spool.may_go_on());
        spool.durable(32 << 20);
        assert!(spool.may_go_on());
        while spool.pump(&mut block) != Pumped::Closed {}
        writer.join().unwrap();

        assert_eq!(spool.size(), 70 << 20);
    }
}
