use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Child,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use wait4::{ResUse, Wait4};
use windlass_core::LeaseId;

use super::{
    exit_record::{ExitRecord, Outcome, StopCause},
    forest,
    mount::Mounted,
    procfs,
    protocol::{Ended, Grew, Known, STREAMS, Start, Started},
    spawn,
    spool::Spool,
    watched::Watched,
};
use crate::{mask::Masks, workspace::Overlay};

/// How long an attempt whose main process has ended is waited for: for its strays to die, and for
/// whoever holds its output open.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The name of a lease's directory.
pub(super) fn lease_name(lease: &[u8]) -> String {
    lease.try_into().map(|lease| LeaseId(lease).to_string()).unwrap_or_default()
}

/// One attempt in the keeper's hands.
pub(super) struct Attempt {
    pub(super) lease: Vec<u8>,
    dir: PathBuf,
    pub(super) marker: Vec<u8>,
    /// The main process, and the group it leads.
    pub(super) pid: Pid,
    /// Clock ticks since boot at its start; known once somebody asked.
    start_ticks: Option<u64>,
    start_micros: i64,
    pub(super) spools: [Spool; 2],
    /// Log sizes that the worker was told.
    told: [u64; 2],
    pub(super) peak_bytes: u64,
    pub(super) stray_cpu_micros: u64,
    pub(super) stop: Option<Stopping>,
    deadline: Option<Instant>,
    grace: Duration,
    oom_kills_before: u64,
    pub(super) phase: Phase,
    mounted: Option<Mounted>,
    masks: Vec<Vec<u8>>,
    /// Most bytes of memory of the whole tree.
    memory_limit: Option<u64>,
}

pub(super) enum Phase {
    Running {
        child: Child,
        pidfd: Watched<OwnedFd>,
    },
    /// The main process is gone; strays and pipes may not be.
    Ending {
        ended: Option<ResUse>,
        end_micros: i64,
        drop_at: Instant,
    },
    /// Over; holds the exit record as JSON.
    Ended {
        record: Vec<u8>,
    },
}

/// TERM was sent; KILL follows.
pub(super) struct Stopping {
    pub(super) cause: StopCause,
    pub(super) kill_at: Instant,
}

impl Attempt {
    /// Mounts, starts the process, and takes its pipes. The error is a text for people.
    pub(super) fn start(
        start: Start,
        epoll: &Rc<OwnedFd>,
        now: Instant,
        start_micros: i64,
    ) -> Result<Self, String> {
        let dir = super::protocol::to_path(&start.dir);
        let mounted = Mounted::new(&start.overlay)?;
        let limit = (start.timeout_millis > 0).then(|| Duration::from_millis(start.timeout_millis));
        let grace = Duration::from_millis(start.grace_millis);
        let (lease, marker) = (start.lease.clone(), forest::marker(&dir));
        let memory_limit = Some(start.memory_bytes).filter(|bytes| *bytes > 0);
        let texts = start.masks.clone();
        let masks =
            Masks::of(&texts).map_err(|error| format!("cannot mask its output: {error}"))?;
        let begun = spawn::spawn(start).and_then(|mut child| {
            Self::take_pipes(&dir, &mut child, (epoll, masks.as_ref()))
                .map(|taken| (child, taken))
                .map_err(|error| format!("failed to take the process in hand: {error}"))
        });
        let (child, (pidfd, spools)) = match begun {
            Ok(begun) => begun,
            Err(message) => {
                mounted.into_iter().for_each(Mounted::detach);
                return Err(message);
            }
        };
        Ok(Self {
            lease,
            dir,
            marker,
            pid: Pid::from_child(&child),
            start_ticks: None,
            start_micros,
            spools,
            told: [0; 2],
            peak_bytes: 0,
            stray_cpu_micros: 0,
            stop: None,
            deadline: limit.and_then(|limit| now.checked_add(limit)),
            grace,
            oom_kills_before: 0,
            phase: Phase::Running { child, pidfd },
            mounted,
            masks: texts,
            memory_limit,
        })
    }

    fn take_pipes(
        dir: &Path,
        child: &mut Child,
        (epoll, masks): (&Rc<OwnedFd>, Option<&Arc<Masks>>),
    ) -> io::Result<(Watched<OwnedFd>, [Spool; 2])> {
        let taken = (|| {
            let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            let spools = [
                Spool::new(dir.join(STREAMS[0]), stdout.into(), epoll, masks)?,
                Spool::new(dir.join(STREAMS[1]), stderr.into(), epoll, masks)?,
            ];
            let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
            Ok((Watched::new(pidfd, epoll), spools))
        })();
        if taken.is_err() {
            kill_process_group(Pid::from_child(child), Signal::KILL).ok();
            child.wait()?;
        }
        taken
    }

    /// Notes how often memory had run out before the attempt began.
    pub(super) fn set_oom_baseline(&mut self, oom_kills: u64) {
        self.oom_kills_before = oom_kills;
    }

    /// True until the main process has been reaped.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Clock ticks between boot and the start of a running main process.
    pub(super) fn start_ticks(&mut self) -> u64 {
        if self.start_ticks.is_none() && self.is_running() {
            self.start_ticks = procfs::stat(self.pid).map(|stat| stat.start);
        }
        self.start_ticks.unwrap_or_default()
    }

    /// Begins to stop the attempt; an earlier stop keeps its cause, and only the sooner KILL counts.
    pub(super) fn begin_stop(&mut self, cause: StopCause, kill_at: Instant) {
        match &mut self.stop {
            Some(stop) => stop.kill_at = stop.kill_at.min(kill_at),
            None => self.stop = Some(Stopping { cause, kill_at }),
        }
    }

    /// Begins to stop an attempt whose time is over; true where that is news.
    pub(super) fn time_out(&mut self, now: Instant) -> bool {
        let over = self.is_running()
            && self.stop.is_none()
            && self.deadline.is_some_and(|deadline| deadline <= now);
        if over {
            self.begin_stop(StopCause::TimedOut, now + self.grace);
        }
        over
    }

    /// When something about it is due by the clock.
    pub(super) fn next_due(&self) -> Option<Instant> {
        match (&self.phase, &self.stop) {
            (Phase::Running { .. }, Some(stop)) => Some(stop.kill_at),
            (Phase::Running { .. }, None) => self.deadline,
            (Phase::Ending { .. } | Phase::Ended { .. }, _) => None,
        }
    }

    /// Reaps the main process if it has ended; what is left of its group is killed before, while
    /// the zombie still holds the group's id.
    pub(super) fn reap_main(&mut self, now: Instant, end_micros: i64) -> bool {
        let Phase::Running { child, .. } = &mut self.phase else { return false };
        kill_process_group(self.pid, Signal::KILL).ok();
        let ended = match child.try_wait4() {
            Ok(None) => return false,
            Ok(Some(ended)) => Some(ended),
            Err(error) => {
                tracing::error!(%error, "failed to wait for a step's process");
                None
            }
        };
        self.phase = Phase::Ending { ended, end_micros, drop_at: now + END_PATIENCE };
        true
    }

    /// Ends the attempt if nothing of it is left, or its time of patience is over: writes the exit
    /// record. Returns true where it ended now.
    pub(super) fn try_finish(&mut self, strays: bool, now: Instant) -> bool {
        let Phase::Ending { ended, end_micros, drop_at } = &self.phase else { return false };
        let waits = strays || self.spools.iter().any(|spool| spool.pipe().is_some());
        if waits && now < *drop_at {
            return false;
        }
        let (ended, end_micros) = (*ended, *end_micros);
        self.spools.iter_mut().for_each(Spool::close);
        let record = self.record(ended, end_micros);
        let json = serde_json::to_vec(&record).unwrap_or_default();
        if let Err(error) = ExitRecord::write(&self.dir, &json) {
            tracing::warn!(%error, "failed to write an exit record");
        }
        self.phase = Phase::Ended { record: json };
        true
    }

    fn record(&self, ended: Option<ResUse>, end_micros: i64) -> ExitRecord {
        let outcome = match ended.map(|ended| ended.status) {
            Some(status) => status.code().map_or_else(
                || Outcome::Signalled(status.signal().unwrap_or_default()),
                Outcome::Exited,
            ),
            None => Outcome::Signalled(Signal::KILL.as_raw()),
        };
        let rusage = ended.map(|ended| ended.rusage);
        let own_cpu = rusage.map(|r| (r.utime + r.stime).as_micros()).unwrap_or_default();
        let killed = matches!(outcome, Outcome::Signalled(9) | Outcome::Exited(137));
        let peak = self.peak_bytes.max(rusage.map_or(0, |r| r.maxrss));
        // What was over the limit between two looks, and is gone again, was over it all the same.
        let over = self.memory_limit.is_some_and(|limit| peak > limit);
        let stopped = self.stop.as_ref().map(|stop| stop.cause);
        ExitRecord {
            lease: lease_name(&self.lease),
            outcome,
            stopped: stopped.or(over.then_some(StopCause::OverMemory)),
            out_of_memory: killed
                && self.stop.is_none()
                && procfs::oom_kills() > self.oom_kills_before,
            start_micros: self.start_micros,
            end_micros,
            peak_memory_bytes: peak,
            cpu_micros: u64::try_from(own_cpu).unwrap_or(u64::MAX) + self.stray_cpu_micros,
            stdout_bytes: self.spools[0].size(),
            stderr_bytes: self.spools[1].size(),
            lost_bytes: [self.spools[0].lost(), self.spools[1].lost()],
        }
    }

    /// Undoes the mount, if there is one; returns what may stay mounted.
    pub(super) fn unmount(&mut self) -> Option<Overlay> {
        self.mounted.take().map(Mounted::unmount)
    }

    pub(super) fn started(&self) -> Started {
        let pid = u32::try_from(self.pid.as_raw_nonzero().get()).unwrap_or_default();
        Started { lease: self.lease.clone(), pid, start_micros: self.start_micros }
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        match &self.phase {
            Phase::Ended { record } => {
                Some(Ended { lease: self.lease.clone(), record: record.clone() })
            }
            Phase::Running { .. } | Phase::Ending { .. } => None,
        }
    }

    /// News about the sizes of its logs that the worker was not told yet.
    pub(super) fn growth(&mut self) -> impl Iterator<Item = Grew> {
        let lease = &self.lease;
        self.spools.iter().zip(&mut self.told).zip(0..).filter_map(|((spool, told), stream)| {
            let size = spool.size();
            let news = std::mem::replace(told, size) != size;
            news.then(|| Grew { lease: lease.clone(), stream, size })
        })
    }

    pub(super) fn known(&mut self) -> Known {
        self.told = [self.spools[0].size(), self.spools[1].size()];
        Known {
            started: Some(self.started()),
            stdout_bytes: self.told[0],
            stderr_bytes: self.told[1],
            ended: self.ended(),
            masks: self.masks.clone(),
        }
    }

    /// True where the tree has a limit of memory, so that it is looked at often.
    pub(super) fn is_limited(&self) -> bool {
        self.memory_limit.is_some() && self.is_running()
    }

    /// Notes how much memory the tree has now; over its limit it is killed.
    pub(super) fn note_memory(&mut self, bytes: u64, now: Instant) {
        self.peak_bytes = self.peak_bytes.max(bytes);
        if self.memory_limit.is_some_and(|limit| bytes > limit) && self.is_running() {
            self.begin_stop(StopCause::OverMemory, now);
        }
    }
}
