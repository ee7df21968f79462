//! Keeps the local worker alive.

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

use crate::{clock::Clock, config::WorkerCommand, lock::is_at};

/// Shortest and longest wait before the worker is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How often a worker that is not our child is looked at.
const FOREIGN_WORKER: Duration = Duration::from_millis(500);

/// How often a worker that was asked to leave is looked at.
const LEAVING: Duration = Duration::from_millis(20);

/// A worker that lived for so long was healthy: the next one is started at once.
const HEALTHY: Duration = Duration::from_secs(60);

/// How long the worker may take to leave when asked.
const LEAVE: Duration = Duration::from_secs(5);

/// Starts the worker, and starts it again whenever it ends, until `stop`; then has it leave.
/// The processes of running steps belong to its keeper and go on.
pub(crate) async fn keep_alive(
    command: WorkerCommand,
    home: Home,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut wait = BACKOFF.0;
    // Open, so that one made anew in its place is another.
    let run = File::open(home.run());
    let ours = || run.as_ref().is_ok_and(|run| is_at(run, &home.run()));
    while !stop.is_cancelled() && ours() {
        let mut pause = wait;
        if is_held(&home) {
            // One that a daemon before us started: it will find us, and leave its place one day.
            pause = FOREIGN_WORKER;
        } else {
            let begin = clock.monotonic();
            match one_life(&command, &home, &stop).await {
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
        let pid = std::fs::read_to_string(home.worker_lock()).unwrap_or_default();
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw)
            && !asked
        {
            // It holds the lock, so the number is its own.
            asked = kill_process(pid, Signal::TERM).is_ok();
        }
        tokio::time::sleep(LEAVING).await;
    }
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
    tokio::select! {
        status = ended(&mut child, &mut children) => return status,
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
    use std::{fs, path::Path};

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
        let clock = Arc::new(SystemClock::new());
        let task = TaskTracker::new().spawn(keep_alive(shell(script), home, clock, stop.clone()));
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
        let clock = Arc::new(SystemClock::new());
        let command = shell("touch \"$1/started\"; exec sleep 60");
        let task = TaskTracker::new().spawn(keep_alive(command, home, clock, stop.clone()));
        tokio::task::yield_now().await;
        assert!(!dir.path().join("started").exists());
        drop(lock);
        eventually(|| dir.path().join("started").exists()).await;
        stop.cancel();
        timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }
}
