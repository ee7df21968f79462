//! The daemon as a process: its lock, its socket, its end.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use windlass_proto::api::v1::{
    GetServerInfoRequest, GetServerInfoResponse, StopServerRequest,
    system_service_client::SystemServiceClient,
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon that is killed with its test.
struct Daemon(Child);

impl Daemon {
    fn start(home: &Path, more: &[&str]) -> Self {
        Self(command(home, more).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; exit code and what was said.
    async fn ended(mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begin.elapsed() < PATIENCE, "the daemon does not end"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn command(home: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlassd"));
    command
        .args(["--home".as_ref(), home.as_os_str()])
        .args(more)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn refused(home: &Path) -> String {
    let Output { status, stderr, .. } = command(home, &[]).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

/// The service, once the daemon answers.
async fn connect(home: &Path) -> SystemServiceClient<Channel> {
    let socket = home.join("run/daemon.sock");
    let connect = async {
        loop {
            let socket = socket.clone();
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://windlass.invalid");
            match endpoint.connect_with_connector(connector).await {
                Ok(channel) => return SystemServiceClient::new(channel),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, connect).await.unwrap()
}

async fn info(home: &Path) -> GetServerInfoResponse {
    connect(home).await.get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner()
}

fn home(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("home")
}

#[tokio::test]
async fn a_home_has_one_daemon_which_leaves_nothing_when_told_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir);
    let daemon = Daemon::start(&home, &[]);
    let first = info(&home).await;
    assert_eq!(first.pid, daemon.0.id());
    assert_eq!(fs::metadata(home.join("run/daemon.sock")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);

    let said = refused(&home);
    assert!(said.contains(&format!("already running for {}", home.display())), "{said}");
    assert!(said.contains(&format!("(pid {})", daemon.0.id())), "{said}");

    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().await.0, Some(0));
    assert!(!home.join("run/daemon.sock").exists());
    let wal = fs::metadata(home.join("windlass.db-wal")).map_or(0, |found| found.len());
    assert_eq!(wal, 0, "the write-ahead log is in the database");

    let daemon = Daemon::start(&home, &[]);
    assert_eq!(info(&home).await.instance_id, first.instance_id);
    connect(&home).await.stop_server(StopServerRequest {}).await.unwrap();
    assert_eq!(daemon.ended().await.0, Some(0));
}

#[tokio::test]
async fn a_killed_daemon_is_followed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir);
    let daemon = Daemon::start(&home, &[]);
    let first = info(&home).await;
    daemon.signal(Signal::KILL);
    daemon.ended().await;
    assert!(home.join("run/daemon.sock").exists(), "nobody tidied up");
    let daemon = Daemon::start(&home, &[]);
    // The old socket refuses until the new one is there.
    assert_eq!(info(&home).await.instance_id, first.instance_id);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().await.0, Some(0));
}

#[tokio::test]
async fn of_daemons_started_at_once_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir);
    let mut daemons: Vec<_> = (0..4).map(|_| Daemon::start(&home, &["--background"])).collect();
    let pid = info(&home).await.pid;
    let stays = daemons.iter().position(|daemon| daemon.0.id() == pid).unwrap();
    let winner = daemons.swap_remove(stays);
    for loser in daemons {
        assert_eq!(
            loser.ended().await,
            (Some(0), String::new()),
            "in the background, losing is no error"
        );
    }
    winner.signal(Signal::TERM);
    assert_eq!(winner.ended().await.0, Some(0));
    let log = fs::read_to_string(home.join("logs/daemon.log")).unwrap();
    assert!(log.contains("started") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn an_idle_daemon_leaves_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&home(&dir), &["--idle-secs", "0"]);
    assert_eq!(daemon.ended().await.0, Some(0));
}

#[test]
fn a_home_that_cannot_be_used_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let said = refused(&file);
    assert!(said.contains(&format!("{} is not a directory", file.display())), "{said}");
    assert!(said.contains("WINDLASS_HOME"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);

    let said = refused(Path::new("/proc/windlass"));
    assert!(said.contains("/proc"), "{said}");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(&dir);
    fs::create_dir(&home).unwrap();
    let conn = rusqlite::Connection::open(home.join("windlass.db")).unwrap();
    conn.pragma_update(None, "user_version", 9_999).unwrap();
    drop(conn);
    let said = refused(&home);
    assert!(said.contains("version 9999"), "{said}");
    assert!(!home.join("run/daemon.sock").exists());
}
