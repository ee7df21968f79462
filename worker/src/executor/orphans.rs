use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, waitpid},
};

use crate::keeper::{
    marker,
    procfs::{self, Stat},
};

/// How long killing goes on at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one round waits for those it killed.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Kills every process that belongs to an attempt of a keeper that is gone: by the directory named
/// in its environment, by the process groups `mains`, and everything below those. Blocks.
///
/// Returns false where some did not die in time.
pub(super) fn kill_all(attempts: &Path, mains: &[u32]) -> bool {
    let marker = marker(attempts);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let victims = victims(&marker, mains);
        if victims.is_empty() {
            return true;
        }
        let pidfds: Vec<_> = victims
            .iter()
            .filter_map(|victim| pidfd_open(victim.pid, PidfdFlags::empty()).ok())
            .collect();
        for victim in &victims {
            procfs::signal(victim, Signal::KILL);
        }
        for pidfd in &pidfds {
            poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&ROUND)).ok();
        }
        let own = getpid().as_raw_nonzero().get();
        for victim in victims.iter().filter(|victim| victim.parent == own) {
            waitpid(Some(victim.pid), WaitOptions::NOHANG).ok();
        }
    }
    false
}

fn victims(marker: &[u8], mains: &[u32]) -> Vec<Stat> {
    let own = getpid();
    let living = |stat: &Stat| !stat.zombie && stat.pid != own;
    let all: Vec<Stat> = procfs::all().filter_map(procfs::stat).filter(living).collect();
    let by_pid: HashMap<i32, &Stat> =
        all.iter().map(|s| (s.pid.as_raw_nonzero().get(), s)).collect();
    let groups: HashSet<i32> = mains.iter().filter_map(|&pid| i32::try_from(pid).ok()).collect();
    let mut verdicts: HashMap<Pid, bool> = HashMap::new();
    for stat in &all {
        let marked = groups.contains(&stat.group) || procfs::environ_holds(stat.pid, marker);
        verdicts.insert(stat.pid, marked);
    }
    let below = |stat: &&Stat| {
        let mut at = Some(*stat);
        for _ in 0..all.len() {
            let Some(process) = at else { return false };
            if verdicts.get(&process.pid) == Some(&true) {
                return true;
            }
            at = by_pid.get(&process.parent).copied();
        }
        false
    };
    all.iter().filter(below).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn kills_what_is_marked_and_what_is_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = dir.path().join("0a/io/outputs");
        let mut marked = Command::new("sh")
            .args(["-c", "setsid env -i sleep 1000 & exec sleep 1000"])
            .env("WINDLASS_OUTPUTS", outputs)
            .spawn()
            .unwrap();
        let mut other = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();

        assert!(kill_all(dir.path(), &[]));

        assert!(!marked.wait().is_ok_and(|status| status.success()));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
