//! Starts the daemon of a home where none answers.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};
use windlass_core::Home;
use windlass_daemon::home::prepare;

use super::connect;
use crate::{
    config::Config,
    error::{CliError, causes},
};

/// How long a daemon may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// First and longest pause between two looks for a daemon that is starting.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How much of the daemon's log an error shows, in bytes and lines.
const LOG_TAIL: u64 = 2_000;
const LOG_LINES: usize = 5;

/// What of the caller's environment a daemon started on the way gets: what finds programs, places
/// and packages. Other variables belong to the run and travel with it.
const DAEMON_VARIABLES: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "WINDLASS_HOME",
    "WINDLASS_LOG",
    "WINDLASS_IDLE_SECS",
    "WINDLASS_SLOTS",
    "WINDLASS_WORKSPACE",
    "REQUESTS_CA_BUNDLE",
    "NO_PROXY",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];
const DAEMON_PREFIXES: &[&str] = &["LC_", "XDG_", "PIP_", "UV_"];

/// How to start a daemon where none answers.
#[derive(Clone)]
pub(super) struct Starter {
    exe: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Starter {
    pub(super) fn of(config: &Config) -> Self {
        let wanted = |name: &OsStr| {
            let name = name.to_string_lossy();
            DAEMON_VARIABLES.contains(&&*name)
                || DAEMON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        let env = config.env.iter().filter(|(name, _)| wanted(name));
        let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { exe: config.exe.clone(), env }
    }

    /// Starts a daemon and waits for its first answer. Where several commands do this at once,
    /// the home's lock lets one daemon live and all of them find it.
    pub(super) async fn start(&self, home: &Home) -> Result<UnixStream, CliError> {
        // The daemon would do the same, but where it fails a person is to hear why.
        prepare(home).map_err(|error| CliError::Unreachable(causes(&error)))?;
        let log = home.logs().join("daemon.log");
        let logged = fs::metadata(&log).map_or(0, |found| found.len());
        let mut child = self.spawn(home, &log).map_err(CliError::io(format!(
            "cannot start a daemon for {}",
            home.root().display()
        )))?;
        let deadline = Instant::now() + START_LIMIT;
        let mut pause = FIRST_LOOK;
        loop {
            let error = match connect(home).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let failed = matches!(child.try_wait(), Ok(Some(status)) if !status.success());
            if failed || Instant::now() >= deadline {
                let why = last_words(&log, logged);
                // Who has ended says why; that it does not answer is no news.
                let why = if failed && !why.is_empty() { why } else { format!("{error}\n{why}") };
                let text =
                    format!("no daemon could be started for {}: {why}", home.root().display());
                return Err(CliError::Unreachable(text.trim_end().to_owned()));
            }
            sleep(pause).await;
            pause = (pause * 5 / 4).min(LAST_LOOK);
        }
    }

    /// The child leaves our session by itself.
    fn spawn(&self, home: &Home, log: &Path) -> io::Result<Child> {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        Command::new(&self.exe)
            .args(["daemon", "--background", "--home"])
            .arg(home.root())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

/// What a daemon that would not start said: its last error, else its last lines. Only what was
/// logged beyond the first `logged` bytes counts, for a daemon before it may have failed too.
fn last_words(log: &Path, logged: u64) -> String {
    let text = tail(log, logged).unwrap_or_default();
    let lines: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .map(crate::render::bare_line)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.iter().rev().find_map(|line| line.strip_prefix("error: ")) {
        Some(error) => error.to_owned(),
        None => lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
    }
}

fn tail(log: &Path, logged: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let len = file.metadata()?.len();
    // A long log was put aside at the start.
    let begin = if len < logged { 0 } else { logged };
    file.seek(SeekFrom::Start(begin.max(len.saturating_sub(LOG_TAIL))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use windlass_core::Home;

    use super::Starter;
    use crate::error::{CliError, Exit};

    /// Starts a daemon that is this shell script; why there is none.
    async fn refusal(dir: &Path, home: &Home, script: &str) -> String {
        let exe = dir.join("windlass");
        fs::write(&exe, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&exe, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Starter { exe, env: vec![] }.start(home).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let CliError::Unreachable(text) = error else { panic!("{error:?}") };
        text
    }

    #[tokio::test]
    async fn a_daemon_that_cannot_start_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        let home = Home::new(root.clone(), Path::new("/tmp"), "key");
        fs::create_dir_all(home.logs()).unwrap();
        let before = "error: of an earlier daemon\nINFO started\n";
        fs::write(home.logs().join("daemon.log"), before).unwrap();
        let begin = format!("no daemon could be started for {}: ", root.display());

        let text = refusal(dir.path(), &home, "echo \"cannot $2\"; exit 1").await;
        assert_eq!(text, format!("{begin}cannot --background"));

        let script = "echo ERROR ended; echo 'error: the database is too new'; exit 4";
        let text = refusal(dir.path(), &home, script).await;
        assert_eq!(text, format!("{begin}the database is too new"));
    }

    #[tokio::test]
    async fn a_home_that_cannot_be_used_is_told_with_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("file");
        fs::write(&root, "").unwrap();
        let home = Home::new(root.clone(), Path::new("/tmp"), "key");
        let text = refusal(dir.path(), &home, "exit 1").await;
        let mend = "is not a directory; move it away or choose another home with WINDLASS_HOME";
        assert_eq!(text, format!("{} {mend}", root.display()));
    }
}
