use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{sync::mpsc, time::timeout};

use super::CallerEnv;
use std::os::unix::ffi::OsStrExt;

/// Longest line that is passed on whole; what is longer comes in pieces.
const MAX_LINE_BYTES: u64 = 4 << 20;
/// Most lines between the reader of a tool's output and the one who shows them.
const LINES_QUEUED: usize = 256;
/// Lines that explain a failure.
const TAIL_LINES: usize = 20;

/// How a child ended, and its last lines.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) tail: String,
}

/// A command with the caller's variables and nothing else.
pub(super) fn command(program: impl AsRef<OsStr>, caller: &CallerEnv, dir: &Path) -> Command {
    let mut command = Command::new(program);
    let variables = caller.iter().map(|(name, value)| (name, OsStr::from_bytes(value)));
    command.env_clear().envs(variables).current_dir(dir).stdin(Stdio::null());
    command
}

/// Runs `command`, passing each line of its stdout and stderr to `line`. Kills it with its children
/// after `limit`, and when the future is dropped.
pub(super) async fn run(
    mut command: Command,
    limit: Duration,
    line: impl Fn(&str),
) -> io::Result<Ended> {
    let (output, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut group = Group(command.spawn()?);
    drop(command); // and with it our ends of the pipe
    let (send, mut lines) = mpsc::channel(LINES_QUEUED);
    let reader = thread::Builder::new().name("tool output".into());
    let _detached = reader.spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while matches!((&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes), Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if send.blocking_send(text).is_err() {
                return;
            }
        }
    })?;
    let mut tail = VecDeque::new();
    let shown = async {
        while let Some(text) = lines.recv().await {
            line(&text);
            if !text.is_empty() {
                tail.push_back(text);
            }
            if tail.len() > TAIL_LINES {
                tail.pop_front();
            }
        }
    };
    timeout(limit, shown).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let waited = tokio::task::spawn_blocking(move || group.0.wait()).await;
    let status = waited.map_err(io::Error::other)??;
    Ok(Ended { status, tail: Vec::from(tail).join("\n") })
}

/// A child that leads its process group; both end with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = group.map(|id| kill_process_group(id, Signal::KILL)) {
            tracing::debug!(%error, "cannot kill a tool's process group");
        }
        if let Err(error) = self.0.wait() {
            tracing::debug!(%error, "cannot wait for a tool");
        }
    }
}
