//! What `/proc` tells about processes. A process may vanish at any moment: then there is no answer.
use std::{fs, io::Read, os::unix::fs::FileExt};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Most processes of one tree that are looked at; a larger tree is seen in part.
const MAX_TREE: usize = 10_000;

/// Most bytes of a process's environment that are searched.
const MAX_ENVIRON: u64 = 4 << 20;

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: Pid,
    pub(crate) zombie: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Own CPU time and that of reaped children, in clock ticks.
    cpu_ticks: u64,
    /// Clock ticks between boot and start; tells a process from a later one of the same id.
    pub(crate) start: u64,
    rss_pages: u64,
}

impl Stat {
    /// CPU time in microseconds, reaped children included.
    pub(crate) fn cpu_micros(&self) -> u64 {
        self.cpu_ticks.saturating_mul(1_000_000) / clock_ticks_per_second().max(1)
    }

    /// Resident memory in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.rss_pages.saturating_mul(u64::try_from(page_size()).unwrap_or(4096))
    }
}

/// Looks at one process.
pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    let mut buffer = [0; 1024];
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let len = fs::File::open(path).ok()?.read(&mut buffer).ok()?;
    parse_stat(pid, &buffer[..len])
}

fn parse_stat(pid: Pid, text: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold anything, also spaces and parentheses.
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let text = std::str::from_utf8(text.get(end + 2..)?).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    let id = |i: usize| fields.get(i)?.parse::<i32>().ok();
    Some(Stat {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: id(1)?,
        group: id(2)?,
        session: id(3)?,
        cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        start: number(19)?,
        rss_pages: number(21)?,
    })
}

/// The children of a process, dead ones that nobody reaped included.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let own = pid.as_raw_nonzero();
    let main = format!("/proc/{own}/task/{own}/children");
    let Ok(text) = fs::read_to_string(main) else { return children_by_scan(pid) };
    let mut found: Vec<Pid> = parse_pids(&text).collect();
    let threads = fs::read_dir(format!("/proc/{own}/task")).into_iter().flatten().flatten();
    for thread in threads.filter(|t| t.file_name().to_str() != Some(&own.to_string())) {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(parse_pids(&text));
    }
    found
}

/// The list of a process's children, for `own_children`; none on kernels that keep no such list.
pub(crate) fn children_file(pid: Pid) -> Option<fs::File> {
    fs::File::open(format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero())).ok()
}

/// The children of the calling process, which must have a single thread, by its list of them.
pub(crate) fn own_children(own: Pid, list: Option<&fs::File>) -> Vec<Pid> {
    let read = |list: &fs::File| {
        let (mut text, mut block) = (Vec::new(), [0; 4096]);
        loop {
            match list.read_at(&mut block, u64::try_from(text.len()).unwrap_or(u64::MAX)).ok()? {
                0 => return String::from_utf8(text).ok(),
                len => text.extend_from_slice(&block[..len]),
            }
        }
    };
    match list.and_then(read) {
        Some(text) => parse_pids(&text).collect(),
        None => children_by_scan(own),
    }
}

/// For kernels without `children` files.
fn children_by_scan(pid: Pid) -> Vec<Pid> {
    let parent = pid.as_raw_nonzero().get();
    all().filter(|&pid| stat(pid).is_some_and(|s| s.parent == parent)).collect()
}

fn parse_pids(text: &str) -> impl Iterator<Item = Pid> {
    text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
}

/// Every process of the machine that is visible.
pub(crate) fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| Pid::from_raw(e.file_name().to_str()?.parse().ok()?))
}

/// A process and everything below it, at most a bounded number.
pub(crate) fn tree(root: Pid) -> Vec<Stat> {
    let mut found: Vec<Stat> = stat(root).into_iter().collect();
    let mut next = 0;
    while next < found.len() && found.len() < MAX_TREE {
        if !found[next].zombie {
            found.extend(children(found[next].pid).into_iter().filter_map(stat));
        }
        next += 1;
    }
    found
}

/// True where the environment that the process was started with holds `marker`.
pub(crate) fn environ_holds(pid: Pid, marker: &[u8]) -> bool {
    let mut environ = Vec::new();
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let read = fs::File::open(path).map(|file| file.take(MAX_ENVIRON).read_to_end(&mut environ));
    matches!(read, Ok(Ok(_)))
        && !marker.is_empty()
        && environ.split(|&byte| byte == 0).any(|var| var.starts_with(marker))
}

/// Sends `signal` to the process that was seen, never to a later one of the same id.
pub(crate) fn signal(seen: &Stat, signal: Signal) {
    let Ok(pidfd) = pidfd_open(seen.pid, PidfdFlags::empty()) else { return };
    if stat(seen.pid).is_some_and(|now| now.start == seen.start)
        && let Err(error) = pidfd_send_signal(&pidfd, signal)
    {
        tracing::debug!(pid = %seen.pid.as_raw_nonzero(), %error, "no signal sent");
    }
}

/// How often the kernel has killed a process for want of memory since boot.
pub(crate) fn oom_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_an_ugly_name() {
        let text = b"42 (a) b (c) S 7 8 9 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 555 1000 77 9";
        let pid = Pid::from_raw(42).unwrap();

        let stat = parse_stat(pid, text).unwrap();

        assert_eq!((stat.parent, stat.group, stat.session), (7, 8, 9));
        assert_eq!((stat.cpu_ticks, stat.start, stat.rss_pages), (100, 555, 77));
        assert_eq!(parse_stat(pid, b"42 (cut"), None);
    }

    #[test]
    fn finds_own_child_and_its_environment() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .env("WINDLASS_OUTPUTS", "/some/place")
            .spawn()
            .unwrap();
        let own = rustix::process::getpid();
        let pid = Pid::from_child(&child);

        assert!(children(own).contains(&pid));
        assert!(children_by_scan(own).contains(&pid));
        assert!(environ_holds(pid, b"WINDLASS_OUTPUTS=/some/place"));
        assert!(!environ_holds(pid, b"WINDLASS_OUTPUTS=/another/place"));
        signal(&tree(pid)[0], Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
