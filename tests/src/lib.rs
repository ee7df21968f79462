//! A user's account with one project: real binary, daemon, worker, keeper and clock, in a temporary
//! place of its own.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test says what went wrong by panicking"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for a fact that should come about within moments.
pub const SOON: Duration = Duration::from_secs(20);

/// A home and a project; gone, with every process, when dropped.
pub struct World {
    top: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

/// What one command printed and how it ended.
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Panics unless the command exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Panics unless the command was refused as a usage error in words that hold all of `says`.
    #[track_caller]
    pub fn refused(self, says: &[&str]) -> Self {
        let ran = self.exits(2);
        let told = (ran.text() + &ran.stderr).to_lowercase();
        for word in says {
            assert!(told.contains(&word.to_lowercase()), "lacks {word:?}: {told}");
        }
        ran
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl World {
    /// A fresh account. Nothing runs yet.
    pub fn new() -> Self {
        let top = tempfile::Builder::new().prefix("wl-").tempdir_in("/tmp").unwrap();
        std::fs::create_dir(top.path().join("p")).unwrap();
        let mut env = BTreeMap::from([("NO_COLOR".to_owned(), "1".to_owned())]);
        env.insert("WINDLASS_HOME".into(), top.path().join("h").to_string_lossy().into());
        env.insert("XDG_CONFIG_HOME".into(), top.path().join("c").to_string_lossy().into());
        Self { top, env }
    }

    /// An account whose project is a copy of `examples/NAME`.
    pub fn with_example(name: &str) -> Self {
        let world = Self::new();
        let from = workspace().join("examples").join(name);
        let status = Command::new("cp").arg("-rT").arg(from).arg(world.project()).status().unwrap();
        assert!(status.success(), "copying example {name}");
        world
    }

    pub fn home(&self) -> PathBuf {
        self.top.path().join("h")
    }

    pub fn project(&self) -> PathBuf {
        self.top.path().join("p")
    }

    pub fn top(&self) -> &Path {
        self.top.path()
    }

    /// Sets a variable for every later command.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.into(), value.into());
    }

    /// Writes a file of the project.
    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let target = self.project().join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, content).unwrap();
        self
    }

    /// The command, ready to run in the project.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["WINDLASS_", "XDG_", "PYTHON"].iter().any(|p| text.starts_with(p)) {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.project()).envs(&self.env).stdin(Stdio::null());
        command
    }

    /// Runs `windlass ARGS` to its end.
    pub fn w<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Starts `windlass ARGS` with its output in pipes.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `windlass run ARGS --json`, which must succeed: the finished run.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Value {
        self.w([&["run"], args, &["--json"]].concat()).exits(0).json()
    }

    /// `windlass submit ARGS`: the run's id.
    #[track_caller]
    pub fn submit(&self, args: &[&str]) -> String {
        let answer = self.w([&["submit"], args, &["--json"]].concat()).exits(0).json();
        answer["run_id"].as_str().unwrap().to_owned()
    }

    /// What `show --json` says of a run.
    #[track_caller]
    pub fn show(&self, run: &str) -> Value {
        self.w(["show", run, "--json"]).exits(0).json()
    }

    /// Process id of the daemon; starts one if there is none.
    pub fn daemon_pid(&self) -> i32 {
        // One that is just being replaced may refuse a connection.
        let answers = || (self.w(["ls", "--limit", "1"]).code == 0).then_some(());
        until(SOON, "a daemon that answers", answers);
        let status = self.w(["daemon", "status", "--json"]).exits(0).json();
        i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
    }

    /// Process ids of this account's `windlass WHAT …` services, for instance `worker` or `keeper`.
    pub fn services(&self, what: &str) -> Vec<i32> {
        let mine = self.top.path().to_string_lossy().into_owned();
        let is_it = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut words = line.split(|b| *b == 0);
            let program = words.next().unwrap_or_default();
            program.ends_with(b"windlass")
                && words.next() == Some(what.as_bytes())
                && (contains(&line, mine.as_bytes()) || contains(&environment, mine.as_bytes()))
        };
        processes().into_iter().filter(is_it).collect()
    }

    /// A channel to the daemon; starts one if there is none.
    pub async fn channel(&self) -> Channel {
        self.daemon_pid();
        let socket = self.home().join("run/daemon.sock");
        let uri = format!("unix://{}", socket.display());
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.command(["daemon", "stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status());
        let mine = self.top.path().to_string_lossy().into_owned();
        for pid in processes() {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if contains(&line, mine.as_bytes()) || contains(&environment, mine.as_bytes()) {
                kill(pid);
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for place in
            mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|p| p.starts_with(&mine))
        {
            rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// Every process of the machine but this one.
pub fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| u32::try_from(*pid).ok() != Some(std::process::id())).collect()
}

/// Processes whose command line holds `mark`.
pub fn alive(mark: &str) -> Vec<i32> {
    let holds = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        contains(&line, mark.as_bytes())
    };
    processes().into_iter().filter(holds).collect()
}

/// Sends SIGKILL; a process that is gone is no error.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        kill_process(pid, Signal::KILL).ok();
    }
}

/// Waits until `fact` gives a value, at most `limit`.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "only the operating system can tell; bounded")]
pub fn until<T>(limit: Duration, what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < end, "{what} did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The entry of a step in what `show --json` printed.
#[track_caller]
pub fn step<'a>(run: &'a Value, name: &str) -> &'a Value {
    let steps = run["steps"].as_array().unwrap();
    steps.iter().find(|s| s["step"] == name).unwrap_or_else(|| panic!("no step {name} in {run}"))
}

/// Top of the source tree.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The `windlass` beside this test program, of the same profile.
fn binary() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let found = here.ancestors().nth(2).unwrap().join("windlass");
    assert!(found.exists(), "{} is missing: run `cargo build -p windlass` first", found.display());
    found
}
