//! A home with a project in it, and workers that are processes.
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use prost::bytes::Bytes;
use windlass_blobs::Store;
use windlass_core::Home;
use windlass_proto::{
    common::v1::{CommandAction, OutputSpec, PythonAction, ShellAction},
    worker::v1::{Task, task::Action},
};

use crate::daemon::{Daemon, Listening, PATIENCE};

/// Everything that a test needs; removed at its end, and nothing is left running.
pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) home: Home,
    pub(crate) store: Store,
    pub(crate) listening: Option<Listening>,
    worker: Option<Child>,
    slots: u32,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// A daemon and a worker with two slots.
    pub(crate) fn new() -> Self {
        Self::with_slots(2)
    }

    pub(crate) fn with_slots(slots: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("worker-test-").tempdir().unwrap();
        let home = Home::new(dir.path().join("home"), Path::new("/tmp"), "test");
        std::fs::create_dir_all(home.run()).unwrap();
        let store = Store::open(&home.blobs()).unwrap();
        let daemon = Daemon::default();
        let listening = Some(daemon.listen(&home.daemon_socket()));
        let mut stage = Self { daemon, home, store, listening, worker: None, slots, _dir: dir };
        stage.start_worker();
        stage
    }

    pub(crate) fn start_worker(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.root().join("worker.log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_windlass-worker"))
            .arg("--home")
            .arg(self.home.root())
            .args(["--slots", &self.slots.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.worker = Some(child);
    }

    /// Ends the worker with that signal and waits for its end.
    pub(crate) fn end_worker(&mut self, signal: rustix::process::Signal) {
        let mut child = self.worker.take().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn worker_pid(&self) -> u32 {
        self.worker.as_ref().unwrap().id()
    }

    /// A task in a project of these files.
    pub(crate) fn task(&self, action: Action, files: &[(&str, &str)]) -> Task {
        let project = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = project.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            if text.starts_with("#!") {
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let options = windlass_blobs::snapshot::Options::default();
        let snapshot = windlass_blobs::snapshot::take(project.path(), &options).unwrap();
        for (path, _, _) in snapshot.files() {
            self.store.put_file(&path).unwrap();
        }
        #[expect(clippy::disallowed_methods, reason = "steps need the programs of this machine")]
        let path = std::env::var_os("PATH").unwrap().into_encoded_bytes();
        Task {
            action: Some(action),
            snapshot: self.store.put_bytes(&snapshot.tree.encode()).unwrap().to_string(),
            caller_env: [
                ("PATH".to_owned(), Bytes::from(path)),
                ("HOME".to_owned(), Bytes::from_static(b"/tmp")),
            ]
            .into(),
            ..Task::default()
        }
    }

    pub(crate) fn sh(&self, script: &str) -> Task {
        self.task(Action::Run(ShellAction { script: script.to_owned() }), &[("readme", "hello\n")])
    }

    pub(crate) fn command(&self, argv: &[&str]) -> Task {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        self.task(Action::Command(CommandAction { argv }), &[])
    }

    pub(crate) fn python(&self, target: &str, files: &[(&str, &str)]) -> Task {
        self.task(Action::Python(PythonAction { target: target.to_owned() }), files)
    }

    pub(crate) fn read(&self, digest: &str) -> String {
        let bytes = self.store.read(&digest.parse().unwrap(), 1 << 30).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Directories of attempts that are still there.
    pub(crate) fn attempts(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.work().join("attempts")).into_iter().flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["worker.log", "logs/keeper.log"] {
                let text = std::fs::read_to_string(self.home.root().join(log)).unwrap_or_default();
                println!("--- {log}\n{text}");
            }
        }
        // Politely: whoever leaves takes along what is mounted.
        if let Some(mut child) = self.worker.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            child.wait().ok();
        }
        for pid in keepers(self.home.root()) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        until("the keeper is gone", || keepers(self.home.root()).is_empty());
    }
}

/// Output specs of these names.
pub(crate) fn outputs(names: &[&str]) -> Vec<OutputSpec> {
    let spec = |name: &&str| OutputSpec { name: (*name).to_owned(), ..OutputSpec::default() };
    names.iter().map(spec).collect()
}

/// Processes whose command line or environment holds `text`.
pub(crate) fn processes(text: &str) -> Vec<rustix::process::Pid> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        rustix::process::Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)
    });
    let holds = |pid: &rustix::process::Pid| {
        let read = |name| std::fs::read(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
        let found =
            |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        pid.as_raw_nonzero().get() != std::process::id().cast_signed()
            && (read("cmdline").is_ok_and(found) || read("environ").is_ok_and(found))
    };
    pids.filter(holds).collect()
}

/// The keepers of a home.
pub(crate) fn keepers(home: &Path) -> Vec<rustix::process::Pid> {
    let work = home.join("work");
    let all = processes(work.to_str().unwrap()).into_iter();
    all.filter(|pid| {
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        String::from_utf8_lossy(&line.unwrap_or_default()).contains("\0keeper\0")
    })
    .collect()
}

/// Waits until `fact` holds.
pub(crate) fn until(what: &str, fact: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fact() {
        if Instant::now() > deadline {
            if std::thread::panicking() {
                return;
            }
            panic!("never came true: {what}");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
