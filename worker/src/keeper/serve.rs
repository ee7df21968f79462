use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixListener},
    },
    rc::Rc,
    time::{Duration, Instant},
};

use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    process::{Signal, getpid},
};

use super::{
    IDLE, KeeperConfig, KeeperError,
    attempt::Attempt,
    connection::{Connection, ConnectionLost},
    exit_record::StopCause,
    forest::{Attempts, Forest},
    mount::detach,
    procfs,
    protocol::News,
    spawn::own_signals,
    spool::{BLOCK, Pumped},
};
use crate::workspace::Overlay;

/// How often the trees of running attempts are looked at.
const SAMPLE: Duration = Duration::from_millis(250);

/// The same while one of them has a limit of memory.
const SAMPLE_LIMITED: Duration = Duration::from_millis(50);

/// How often an attempt that is ending, or being killed, is looked at.
const SETTLE: Duration = Duration::from_millis(1);

/// How long news that nobody waits for are kept back, so that those of a short attempt wake the
/// worker once.
const TELL_LATER: Duration = Duration::from_millis(2);

/// How often an idle keeper looks whether its directory is still there.
const LOOK_ROUND: Duration = Duration::from_secs(5);

/// How long a keeper that leaves tries to kill what it has.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// Most mounts of ended attempts that are remembered.
const MAX_MOUNTS: usize = 64;

/// Events taken at once.
const EVENTS: usize = 64;

const LISTENER: u64 = 0;
const CONNECTION: u64 = 1;
const SIGNALS: u64 = 2;
/// An attempt's descriptors: its serial times this, plus 0 for the process and 1 and 2 for pipes.
pub(super) const PER_ATTEMPT: u64 = 4;

pub(super) struct Keeper {
    pub(super) config: KeeperConfig,
    /// Tells this keeper from any other.
    pub(super) id: String,
    /// The work directory, open so that one made anew in its place is another.
    work: File,
    pub(super) epoll: Rc<OwnedFd>,
    listener: UnixListener,
    signals: SignalFd,
    connection: Option<Connection>,
    /// When what waits for the worker is to be sent.
    tell_at: Option<Instant>,
    pub(super) attempts: Attempts,
    pub(super) serials: HashMap<Vec<u8>, u64>,
    /// Exit records of attempts that could not be started, until they are released.
    pub(super) refused: HashMap<Vec<u8>, Vec<u8>>,
    pub(super) next_serial: u64,
    forest: Forest,
    block: Vec<u8>,
    /// When it last had a worker or something that ran.
    busy_at: Instant,
    sampled_at: Instant,
    pub(super) oom_kills: u64,
    pub(super) leaving_since: Option<Instant>,
    /// Overlays of ended attempts, some of which stay mounted for others.
    mounts: Vec<Overlay>,
}

impl Keeper {
    pub(super) fn new(config: KeeperConfig, listener: UnixListener) -> Result<Self, KeeperError> {
        let setup = |error: io::Error| KeeperError::Setup(error);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| setup(e.into()))?;
        let mask = own_signals();
        mask.thread_block().map_err(|e| setup(e.into()))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&mask, flags).map_err(|e| setup(e.into()))?;
        let watch = |fd: std::os::fd::BorrowedFd<'_>, token| {
            epoll::add(&epoll, fd, EventData::new_u64(token), EventFlags::IN)
        };
        watch(listener.as_fd(), LISTENER).map_err(|e| setup(e.into()))?;
        watch(signals.as_fd(), SIGNALS).map_err(|e| setup(e.into()))?;
        let now = Instant::now();
        Ok(Self {
            id: uuid::Uuid::new_v4().to_string(),
            work: File::open(&config.work).map_err(setup)?,
            forest: Forest::new(getpid(), &config.work.join("attempts")),
            config,
            epoll: Rc::new(epoll),
            listener,
            signals,
            connection: None,
            tell_at: None,
            attempts: Attempts::new(),
            serials: HashMap::new(),
            refused: HashMap::new(),
            next_serial: 1,
            block: vec![0; BLOCK],
            busy_at: now,
            sampled_at: now,
            oom_kills: procfs::oom_kills(),
            leaving_since: None,
            mounts: Vec::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<(), KeeperError> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            if self.is_done(now) {
                self.mounts.iter().for_each(detach);
                return Ok(());
            }
            let wait = self.next_wait(now);
            let timeout = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(KeeperError::Events(errno.into())),
            }
            for event in events.drain(..) {
                self.handle(event.data.u64());
            }
            self.by_the_clock();
            self.settle();
            self.tell();
        }
    }

    /// Remembers what may stay mounted, the newest last.
    fn note_mount(&mut self, overlay: Overlay) {
        self.mounts.retain(|known| known.target != overlay.target);
        self.mounts.push(overlay);
        if self.mounts.len() > MAX_MOUNTS {
            // Gone long ago: so many wait for no attempt.
            self.mounts.remove(0);
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        let idle = self.attempts.values().all(Attempt::has_ended);
        match self.leaving_since {
            Some(since) => idle || now - since > LEAVE_PATIENCE,
            None => idle && self.connection.is_none() && now - self.busy_at > IDLE,
        }
    }

    fn next_wait(&self, now: Instant) -> Duration {
        let settling =
            |a: &Attempt| a.is_ending() || a.stop.as_ref().is_some_and(|s| s.kill_at <= now);
        let active = self.attempts.values().filter(|a| !a.has_ended());
        let mut wait = if self.connection.is_some() { LOOK_ROUND } else { IDLE };
        if let Some(at) = self.tell_at {
            wait = wait.min(at.saturating_duration_since(now));
        }
        for attempt in active {
            wait = wait.min(SAMPLE);
            if settling(attempt) {
                wait = wait.min(SETTLE);
            } else if let Some(due) = attempt.next_due() {
                wait = wait.min(due.saturating_duration_since(now));
            }
        }
        if self.leaving_since.is_some() { wait.min(SETTLE) } else { wait }
    }

    fn handle(&mut self, token: u64) {
        match token {
            LISTENER => self.accept(),
            CONNECTION => self.converse(),
            SIGNALS => {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.leave();
            }
            _ => {
                let serial = token / PER_ATTEMPT;
                match token % PER_ATTEMPT {
                    0 => self.main_ended(serial),
                    1 => self.pump(serial, 0),
                    _ => self.pump(serial, 1),
                }
            }
        }
    }

    /// A new worker replaces the one before, which may be dead without having closed. What that one
    /// said and nobody read goes with its connection: the new one is told of all that was taken.
    fn accept(&mut self) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return tracing::warn!(%error, "failed to accept a worker"),
            };
            let connection = Connection::new(stream).and_then(|connection| {
                let token = EventData::new_u64(CONNECTION);
                epoll::add(&self.epoll, connection.fd(), token, EventFlags::IN)?;
                Ok(connection)
            });
            match connection {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => tracing::warn!(%error, "failed to take a worker's connection"),
            }
        }
    }

    fn converse(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.read(&mut self.block) {
            Ok(commands) => {
                for order in commands.into_iter().filter_map(|command| command.order) {
                    self.obey(order);
                }
            }
            Err(lost) => self.disconnect(&lost),
        }
    }

    fn disconnect(&mut self, lost: &ConnectionLost) {
        tracing::info!(reason = %lost, "worker left");
        self.connection = None;
        self.busy_at = Instant::now();
    }

    pub(super) fn put(&mut self, news: News) {
        let Some(connection) = &mut self.connection else { return };
        let now = Instant::now();
        let at = match &news {
            News::Started(_) | News::Released(_) => now + TELL_LATER,
            News::Welcome(_) | News::Grew(_) | News::Ended(_) => now,
        };
        self.tell_at = Some(self.tell_at.map_or(at, |other| other.min(at)));
        connection.put(news);
    }

    pub(super) fn watch(&self, fd: impl AsFd, token: u64) {
        if let Err(error) = epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
            && error != rustix::io::Errno::EXIST
        {
            tracing::error!(%error, "failed to watch a step's process");
        }
    }

    pub(super) fn begin_stop(&mut self, serial: u64, cause: StopCause, grace: Duration) {
        let Some(attempt) = self.attempts.get_mut(&serial).filter(|a| a.is_running()) else {
            return;
        };
        attempt.begin_stop(cause, Instant::now() + grace);
        let signal = if grace.is_zero() { Signal::KILL } else { Signal::TERM };
        self.forest.signal_attempt(serial, signal, &mut self.attempts);
    }

    /// Moves output, and watches the pipe exactly while it is wanted.
    pub(super) fn pump(&mut self, serial: u64, stream: usize) {
        let Some(attempt) = self.attempts.get_mut(&serial) else { return };
        let ending = attempt.is_ending();
        let spool = &mut attempt.spools[stream];
        let pumped =
            if ending { spool.drain(&mut self.block) } else { spool.pump(&mut self.block) };
        let token = serial * PER_ATTEMPT + if stream == 0 { 1 } else { 2 };
        let Some(pipe) = self.attempts.get(&serial).and_then(|a| a.spools[stream].pipe()) else {
            return;
        };
        if pumped == Pumped::Held {
            // A pipe that is not read would report its end again and again.
            epoll::delete(&self.epoll, pipe).ok();
        } else {
            self.watch(pipe, token);
        }
    }

    fn main_ended(&mut self, serial: u64) {
        let end_micros = (self.config.clock)().0;
        let Some(attempt) = self.attempts.get_mut(&serial) else { return };
        if attempt.reap_main(Instant::now(), end_micros) {
            self.pump(serial, 0);
            self.pump(serial, 1);
        }
    }

    /// Brings attempts whose main process is gone to their end.
    fn settle(&mut self) {
        let ending = |(&serial, a): (&u64, &Attempt)| a.is_ending().then_some(serial);
        let serials: Vec<u64> = self.attempts.iter().filter_map(ending).collect();
        if serials.is_empty() {
            return;
        }
        let waiting = self.forest.sweep(&mut self.attempts);
        let now = Instant::now();
        for serial in serials {
            let Some(attempt) = self.attempts.get_mut(&serial) else { continue };
            if !attempt.try_finish(waiting.contains(&serial), now) {
                continue;
            }
            let ended = attempt.ended();
            self.forest.forget(serial);
            self.busy_at = now;
            ended.into_iter().for_each(|ended| self.put(News::Ended(ended)));
            // The worker need not wait for the unmount; nothing of the attempt runs any more.
            self.tell();
            if let Some(overlay) = self.attempts.get_mut(&serial).and_then(Attempt::unmount) {
                self.note_mount(overlay);
            }
        }
    }

    /// Time limits, kills that are due, and the regular look at everything.
    fn by_the_clock(&mut self) {
        let now = Instant::now();
        let mut signals = Vec::new();
        for (&serial, attempt) in &mut self.attempts {
            if attempt.time_out(now) {
                signals.push((serial, Signal::TERM));
            }
            let due = attempt.stop.as_ref().is_some_and(|stop| stop.kill_at <= now);
            if due && attempt.is_running() {
                signals.push((serial, Signal::KILL));
            }
        }
        for (serial, signal) in signals {
            self.forest.signal_attempt(serial, signal, &mut self.attempts);
        }
        let running = self.attempts.values().any(|a| !a.has_ended());
        let limited = self.attempts.values().any(Attempt::is_limited);
        let interval = match (limited, running) {
            (true, _) => SAMPLE_LIMITED,
            (false, true) => SAMPLE,
            (false, false) => LOOK_ROUND,
        };
        if now - self.sampled_at < interval {
            return;
        }
        self.sampled_at = now;
        if running {
            self.look(now);
        }
        if self.leaving_since.is_none() && !self.has_its_directory() {
            tracing::warn!("the work directory is gone");
            self.leave();
        }
    }

    /// False where the work directory was removed, or made anew.
    fn has_its_directory(&self) -> bool {
        let (Ok(ours), Ok(there)) = (self.work.metadata(), self.config.work.metadata()) else {
            return self.config.work.is_dir();
        };
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    }

    fn look(&mut self, now: Instant) {
        self.busy_at = now;
        self.forest.sweep(&mut self.attempts);
        self.forest.sample(&mut self.attempts, now);
        self.oom_kills = self.oom_kills.max(procfs::oom_kills());
        let held = |(&serial, a): (&u64, &Attempt)| {
            (0..2).filter(|&i| a.spools[i].may_go_on()).map(|i| (serial, i)).collect::<Vec<_>>()
        };
        let again: Vec<_> = self.attempts.iter().flat_map(held).collect();
        again.into_iter().for_each(|(serial, stream)| self.pump(serial, stream));
    }

    /// Kills everything; the loop ends when it is dead.
    fn leave(&mut self) {
        self.leaving_since.get_or_insert_with(Instant::now);
        let serials: Vec<u64> = self.attempts.keys().copied().collect();
        for serial in serials {
            self.begin_stop(serial, StopCause::KeeperLeft, Duration::ZERO);
        }
    }

    /// Sends news whose time has come. Growth of logs is only told when nothing else waits for
    /// room, so it never piles up.
    fn tell(&mut self) {
        let now = Instant::now();
        let Some(connection) = &mut self.connection else {
            self.tell_at = None;
            return;
        };
        let waited = connection.waits_to_send;
        if !waited {
            let growth = self.attempts.values_mut().flat_map(Attempt::growth);
            for grew in growth {
                connection.put(News::Grew(grew));
                self.tell_at = Some(now);
            }
            if self.tell_at.is_none_or(|at| at > now) {
                return;
            }
        }
        self.tell_at = None;
        let result = connection.flush().and_then(|flushed| {
            connection.waits_to_send = !flushed;
            if waited != connection.waits_to_send {
                let flags = if flushed { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
                let token = EventData::new_u64(CONNECTION);
                epoll::modify(&self.epoll, connection.fd(), token, flags)
                    .map_err(io::Error::from)?;
            }
            Ok(())
        });
        if let Err(lost) = result {
            self.disconnect(&lost);
        }
    }
}
