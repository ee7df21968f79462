//! The process trees of all attempts: who belongs to whom, what they use, and their end.
//!
//! A process whose parent died is handed to the keeper, its subreaper. Such a stray belongs to
//! the attempt that its tree was seen under, else to that named in its environment, else to that
//! whose process group it is in. A stray without any of these (a new session with an emptied
//! environment, within moments) lives as long as an attempt that might have started it.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::Instant,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};

use super::{
    attempt::Attempt,
    procfs::{self, Stat},
};

/// The variable that every process of an attempt has: it names a place in its directory.
const MARKER: &str = "WINDLASS_OUTPUTS=";

/// Passes of one sweep, against processes that fork while they are looked for.
const MAX_PASSES: usize = 4;

/// Start of the variable by which processes of the attempt in `dir` are known.
pub(crate) fn marker(dir: &Path) -> Vec<u8> {
    [MARKER.as_bytes(), dir.as_os_str().as_bytes(), b"/"].concat()
}

/// The attempts of a keeper by serial number.
pub(super) type Attempts = BTreeMap<u64, Attempt>;

pub(super) struct Forest {
    own: Pid,
    /// The keeper's children, as the kernel lists them.
    children: Option<File>,
    /// Start of the marker of every attempt, of this keeper or an earlier one.
    any_marker: Vec<u8>,
    /// Processes seen below an attempt: id to start and the attempt's serial.
    known: HashMap<Pid, (u64, u64)>,
}

enum Owner {
    Attempt(u64),
    /// Its attempt is over.
    Nobody,
    /// One of several attempts that still run.
    Unsure,
}

impl Forest {
    pub(super) fn new(own: Pid, attempts_dir: &Path) -> Self {
        let children = procfs::children_file(own);
        Self { own, children, any_marker: marker(attempts_dir), known: HashMap::new() }
    }

    /// Children of the keeper that are no attempt's main process.
    fn strays(&self, attempts: &Attempts) -> Vec<Stat> {
        let mains: HashSet<Pid> =
            attempts.values().filter(|a| a.is_running()).map(|a| a.pid).collect();
        let children = procfs::own_children(self.own, self.children.as_ref()).into_iter();
        children.filter(|pid| !mains.contains(pid)).filter_map(procfs::stat).collect()
    }

    fn owner(&self, stray: &Stat, attempts: &mut Attempts) -> Owner {
        let known = self.known.get(&stray.pid).filter(|(start, _)| *start == stray.start);
        let found = known.map(|&(_, serial)| serial).or_else(|| {
            let by_environ = |a: &Attempt| procfs::environ_holds(stray.pid, &a.marker);
            let by_group = |a: &Attempt| a.pid.as_raw_nonzero().get() == stray.group;
            let mut all = attempts.iter();
            all.find(|(_, a)| by_group(a) || by_environ(a)).map(|(&serial, _)| serial)
        });
        match found {
            Some(serial) if attempts.get(&serial).is_some_and(|a| !a.has_ended()) => {
                Owner::Attempt(serial)
            }
            Some(_) => Owner::Nobody,
            None if procfs::environ_holds(stray.pid, &self.any_marker) => Owner::Nobody,
            None => {
                let mut running = attempts.values_mut().filter(|a| a.is_running());
                let possible = running.any(|a| a.start_ticks() <= stray.start);
                if possible { Owner::Unsure } else { Owner::Nobody }
            }
        }
    }

    /// Reaps dead strays and kills those whose attempt is over. Returns the attempts, by serial,
    /// that still have living ones to wait for.
    pub(super) fn sweep(&mut self, attempts: &mut Attempts) -> HashSet<u64> {
        let mut waiting = HashSet::new();
        for _ in 0..MAX_PASSES {
            waiting.clear();
            let mut killed = false;
            for stray in self.strays(attempts) {
                let owner = self.owner(&stray, attempts);
                if stray.zombie {
                    self.reap(&stray, &owner, attempts);
                    continue;
                }
                match owner {
                    Owner::Unsure => {}
                    Owner::Attempt(serial) => {
                        self.known.insert(stray.pid, (stray.start, serial));
                        if attempts.get(&serial).is_some_and(Attempt::is_ending) {
                            waiting.insert(serial);
                            self.kill_tree(stray.pid, Some(serial));
                            killed = true;
                        }
                    }
                    Owner::Nobody => {
                        self.kill_tree(stray.pid, None);
                        killed = true;
                    }
                }
            }
            if !killed {
                break;
            }
        }
        waiting
    }

    fn reap(&mut self, stray: &Stat, owner: &Owner, attempts: &mut Attempts) {
        if let Owner::Attempt(serial) = owner
            && let Some(attempt) = attempts.get_mut(serial)
        {
            attempt.stray_cpu_micros += stray.cpu_micros();
        }
        waitpid(Some(stray.pid), WaitOptions::NOHANG).ok();
        self.known.remove(&stray.pid);
    }

    fn kill_tree(&mut self, root: Pid, serial: Option<u64>) {
        for process in procfs::tree(root) {
            if let Some(serial) = serial {
                self.known.insert(process.pid, (process.start, serial));
            }
            procfs::signal(&process, Signal::KILL);
        }
    }

    /// Sends `signal` to every process of a running attempt.
    pub(super) fn signal_attempt(&mut self, serial: u64, signal: Signal, attempts: &mut Attempts) {
        let Some(attempt) = attempts.get(&serial).filter(|a| a.is_running()) else { return };
        let main = attempt.pid;
        let mut below: Vec<Stat> = procfs::tree(main);
        for stray in self.strays(attempts) {
            if matches!(self.owner(&stray, attempts), Owner::Attempt(owner) if owner == serial) {
                below.extend(procfs::tree(stray.pid));
            }
        }
        kill_process_group(main, signal).ok();
        let group = main.as_raw_nonzero().get();
        for process in below {
            self.known.insert(process.pid, (process.start, serial));
            if process.group != group {
                procfs::signal(&process, signal);
            }
        }
    }

    /// Looks at every running attempt's tree: remembers who is in it, and its memory.
    pub(super) fn sample(&mut self, attempts: &mut Attempts, now: Instant) {
        let mut memory: HashMap<u64, u64> = HashMap::new();
        let mut seen = HashMap::new();
        let mut roots: Vec<(u64, Pid)> =
            attempts.iter().filter(|(_, a)| a.is_running()).map(|(&s, a)| (s, a.pid)).collect();
        for stray in self.strays(attempts) {
            if let Owner::Attempt(serial) = self.owner(&stray, attempts) {
                roots.push((serial, stray.pid));
            }
        }
        for (serial, root) in roots {
            for process in procfs::tree(root) {
                *memory.entry(serial).or_default() += process.rss_bytes();
                seen.insert(process.pid, (process.start, serial));
            }
        }
        self.known = seen;
        for (serial, bytes) in memory {
            if let Some(attempt) = attempts.get_mut(&serial) {
                attempt.note_memory(bytes, now);
            }
        }
    }

    /// Forgets an attempt's processes.
    pub(super) fn forget(&mut self, serial: u64) {
        self.known.retain(|_, (_, owner)| *owner != serial);
    }
}
