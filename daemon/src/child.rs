//! Keeps the local worker alive, and has it heard.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::FlockOperation,
    process::{Pid, Signal, kill_process},
};
use tokio::{
    signal::unix::{Signal as SignalStream, SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use windlass_core::Home;

use crate::{clock::Clock, config::WorkerCommand, fleet::LEASE_TTL, lock::is_at};

/// Shortest and longest wait before the worker is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How often a worker that is not our child is looked at.
const FOREIGN_WORKER: Duration = Duration::from_millis(500);

/// How often it is looked whether the worker was heard, and how many looks in a row must find it
/// silent before it is killed: after a sleep of the whole machine the first one does.
const LOOK: Duration = Duration::from_secs(1);
const SILENT_LOOKS: u32 = 3;

/// How long a worker may take to be heard for the first time.
const FIRST_WORD: Duration = Duration::from_secs(60);

/// How often a worker that was asked to leave is looked at.
const LEAVING: Duration = Duration::from_millis(20);

/// A worker that lived for so long was healthy: the next one is started at once.
const HEALTHY: Duration = Duration::from_secs(60);

/// How long the worker may take to leave when asked.
const LEAVE: Duration = Duration::from_secs(5);

/// Knows which workers are heard.
#[tonic::async_trait]
pub(crate) trait Heard: Send + Sync {
    /// Time since the worker of that process was heard; `None` where it has no session.
    async fn silent_for(&self, pid: u32) -> Option<Duration>;
}

/// Starts the worker, and starts it again whenever it ends, until `stop`; then has it leave. One
/// that lives and is silent for longer than its leases is killed: nobody else would end it.
/// The processes of running steps belong to its keeper and go on.
pub(crate) async fn keep_alive(
    command: WorkerCommand,
    home: Home,
    (clock, heard): (Arc<dyn Clock>, Arc<dyn Heard>),
    stop: CancellationToken,
) {
    let mut wait = BACKOFF.0;
    // Open, so that one made anew in its place is another.
    let run = File::open(home.run());
    let ours = || run.as_ref().is_ok_and(|run| is_at(run, &home.run()));
    while !stop.is_cancelled() && ours() {
        let pause = wait;
        if is_held(&home) {
            // One that a daemon before us started: it will find us, and leave its place one day.
            tokio::select! {
                () = foreign_life(&home, &*heard) => {}
                () = stop.cancelled() => {}
            }
        } else {
            let begin = clock.monotonic();
            match one_life(&command, &home, &*heard, &stop).await {
                Ok(status) => tracing::warn!(status, "the worker ended"),
                Err(error) => tracing::error!(%error, "cannot run the worker"),
            }
            let healthy = clock.monotonic().saturating_sub(begin) >= HEALTHY;
            wait = if healthy { BACKOFF.0 } else { (wait * 2).min(BACKOFF.1) };
        }
        // Either way we go round; the loop looks at `stop`.
        timeout(pause, stop.cancelled()).await.ok();
    }
    // In a home made anew there is another daemon's.
    if ours() && timeout(LEAVE, send_away(&home)).await.is_err() {
        tracing::warn!("a worker that an earlier daemon started does not leave");
    }
}

/// Asks a worker that is not our child to leave, and waits until it has.
async fn send_away(home: &Home) {
    let mut asked = false;
    while is_held(home) {
        if let Some(pid) = holder(home)
            && !asked
        {
            asked = kill_process(pid, Signal::TERM).is_ok();
        }
        tokio::time::sleep(LEAVING).await;
    }
}

/// Waits until a worker that is not our child has left, or has fallen silent and was killed.
async fn foreign_life(home: &Home, heard: &dyn Heard) {
    let pid = holder(home);
    let left = async {
        while is_held(home) && holder(home) == pid {
            tokio::time::sleep(FOREIGN_WORKER).await;
        }
    };
    let number = pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    let Some((pid, number)) = pid.zip(number) else { return left.await };
    tokio::select! {
        () = left => {}
        () = fallen_silent(number, heard) => if is_held(home) && holder(home) == Some(pid) {
            tracing::error!("an earlier daemon's worker lives and is not heard; it is killed");
            if let Err(error) = kill_process(pid, Signal::KILL) {
                tracing::warn!(%error, "cannot kill a worker");
            }
        }
    }
}

/// The process that holds the lock of the home's worker, where there is one: as long as it holds
/// it, the number is its own.
fn holder(home: &Home) -> Option<Pid> {
    let pid = std::fs::read_to_string(home.worker_lock()).ok()?;
    pid.parse().ok().and_then(Pid::from_raw)
}

/// True where some worker of this home lives.
fn is_held(home: &Home) -> bool {
    let Ok(file) = File::open(home.worker_lock()) else { return false };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

/// Runs one worker to its end, or to `stop`; says how it ended.
async fn one_life(
    command: &WorkerCommand,
    home: &Home,
    heard: &dyn Heard,
    stop: &CancellationToken,
) -> io::Result<String> {
    // Caught from before the child lives, so that its end cannot be missed.
    let mut children = signal(SignalKind::child())?;
    let mut child = Command::new(&command.program)
        .args(&command.args)
        .arg("--home")
        .arg(home.root())
        .stdin(Stdio::null())
        // A Ctrl-C at our terminal is for us; we tell the worker in our own way.
        .process_group(0)
        .spawn()?;
    let child_id = child.id();
    tokio::select! {
        status = ended(&mut child, &mut children) => return status,
        () = fallen_silent(child_id, heard) => {
            tracing::error!("the worker lives and is not heard; it is killed, its steps go on");
            child.kill()?;
            return ended(&mut child, &mut children).await;
        }
        () = stop.cancelled() => {}
    }
    // Not reaped yet, so the number is still its own.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.ok_or(io::ErrorKind::InvalidInput)?, Signal::TERM)?;
    if let Ok(status) = timeout(LEAVE, ended(&mut child, &mut children)).await {
        return status;
    }
    tracing::warn!("the worker does not leave; it is killed, its steps go on");
    child.kill()?;
    ended(&mut child, &mut children).await
}

/// Waits until the worker of that process, which lives, has not been heard for too long.
async fn fallen_silent(pid: u32, heard: &dyn Heard) {
    let (mut looks, mut silent, mut was_heard) = (0, 0, false);
    while silent < SILENT_LOOKS {
        tokio::time::sleep(LOOK).await;
        looks += 1;
        let too_long = match heard.silent_for(pid).await {
            Some(time) => {
                was_heard = true;
                time > LEASE_TTL
            }
            // It leaves, or has not come yet.
            None => !was_heard && LOOK * looks > FIRST_WORD,
        };
        silent = if too_long { silent + 1 } else { 0 };
    }
}

/// Waits until `child` has ended; says how.
async fn ended(child: &mut Child, children: &mut SignalStream) -> io::Result<String> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.to_string());
        }
        children.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Mutex};

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::clock::SystemClock;

    fn shell(script: &str) -> WorkerCommand {
        let args = ["-c", script].map(Into::into).to_vec();
        WorkerCommand { program: "/bin/sh".into(), args }
    }

    fn home(dir: &Path) -> Home {
        fs::create_dir_all(dir.join("run")).unwrap();
        Home::new(dir.to_owned(), Path::new("/tmp"), "test")
    }

    /// Hears the first worker once and then no more, all others well.
    struct Ears(Mutex<Option<u32>>);

    #[tonic::async_trait]
    impl Heard for Ears {
        async fn silent_for(&self, pid: u32) -> Option<Duration> {
            let first = *self.0.lock().unwrap().get_or_insert(pid);
            Some(if pid == first { LEASE_TTL * 2 } else { Duration::ZERO })
        }
    }

    fn ears(first: Mutex<Option<u32>>) -> (Arc<dyn Clock>, Arc<dyn Heard>) {
        (Arc::new(SystemClock::new()), Arc::new(Ears(first)))
    }

    #[tokio::test]
    async fn a_worker_that_lives_and_is_not_heard_is_replaced_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        // Heeds nobody.
        let script = "trap '' TERM; echo $$ >> \"$1/lives\"; while :; do sleep 0.01; done";
        let stop = CancellationToken::new();
        let ears = ears(Mutex::default());
        let task = TaskTracker::new().spawn(keep_alive(shell(script), home, ears, stop.clone()));
        let lives = || fs::read_to_string(dir.path().join("lives")).unwrap_or_default();
        eventually(|| lives().lines().count() == 2).await;
        let first = lives().lines().next().and_then(|pid| pid.parse().ok()).unwrap();
        assert!(kill_process(Pid::from_raw(first).unwrap(), Signal::CONT).is_err());
        stop.cancel();
        timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
        assert_eq!(lives().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_silent_worker_of_an_earlier_daemon_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        // A process of its own that has the lock, as its standard input.
        let lock = File::create(home.worker_lock()).unwrap();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut old = Command::new("sleep").arg("60").stdin(lock).spawn().unwrap();
        fs::write(home.worker_lock(), old.id().to_string()).unwrap();
        let stop = CancellationToken::new();
        let ears = ears(Mutex::new(Some(old.id())));
        let command = shell("touch \"$1/started\"; exec sleep 60");
        let task = TaskTracker::new().spawn(keep_alive(command, home, ears, stop.clone()));
        eventually(|| dir.path().join("started").exists()).await;
        assert!(!old.wait().unwrap().success());
        stop.cancel();
        timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }

    async fn eventually(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), wait).await.unwrap();
    }

    #[tokio::test]
    async fn a_worker_that_dies_is_started_again_and_leaves_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        // `$1` is the home. Dies twice, then stays until TERM.
        let script = "echo life >> \"$1/lives\"; [ $(wc -l < \"$1/lives\") -ge 3 ] || kill -9 $$
            trap 'echo left >> \"$1/lives\"; exit 0' TERM; echo ready >> \"$1/lives\"
            while :; do sleep 0.01; done";
        let stop = CancellationToken::new();
        let ears = ears(Mutex::default());
        let task = TaskTracker::new().spawn(keep_alive(shell(script), home, ears, stop.clone()));
        let lives = || fs::read_to_string(dir.path().join("lives")).unwrap_or_default();
        eventually(|| lives().contains("ready")).await;
        stop.cancel();
        timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
        assert_eq!(lives(), "life\nlife\nlife\nready\nleft\n");
    }

    #[tokio::test]
    async fn no_second_worker_is_started_beside_one_that_lives() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let lock = File::create(home.worker_lock()).unwrap();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let stop = CancellationToken::new();
        let command = shell("touch \"$1/started\"; exec sleep 60");
        let ears = ears(Mutex::default());
        let task = TaskTracker::new().spawn(keep_alive(command, home, ears, stop.clone()));
        tokio::task::yield_now().await;
        assert!(!dir.path().join("started").exists());
        drop(lock);
        eventually(|| dir.path().join("started").exists()).await;
        stop.cancel();
        timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }
}
