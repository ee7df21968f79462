use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep};
use windlass_proto::api::v1;

use crate::{
    app::App,
    config::Config,
    connect::{Link, answer},
    error::{CliError, Exit},
    render::{self, Cell, Columns, Tint},
};

/// How long a worker may take to turn up.
const WORKER_LIMIT: Duration = Duration::from_secs(5);
const WORKER_LOOK: Duration = Duration::from_millis(20);

/// Free space below which the daemon refuses new runs, and below which doctor warns.
const LEAST_FREE: u64 = 512 << 20;
const LITTLE_FREE: u64 = 5 << 30;

/// Look whether everything that Windlass needs is there
#[derive(clap::Args)]
pub(crate) struct Doctor {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

struct Finding {
    what: &'static str,
    verdict: Verdict,
    detail: String,
    mend: String,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ok, detail: detail.into(), mend: String::new() }
    }

    fn bad(
        what: &'static str,
        verdict: Verdict,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { what, verdict, detail: detail.into(), mend: mend.into() }
    }
}

impl Doctor {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let config = app.config;
        let mut findings = vec![home(config), disk(config), socket(config)];
        findings.extend(services(config).await);
        findings.push(python(config));
        findings.push(uv());
        findings.push(git());
        let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
        print(app, &findings)?;
        Ok(if failed { Exit::RunFailed } else { Exit::Ok })
    }
}

fn print(app: &mut App<'_>, findings: &[Finding]) -> Result<(), CliError> {
    let word = |verdict| match verdict {
        Verdict::Ok => ("ok", Tint::Good),
        Verdict::Warn => ("warn", Tint::Odd),
        Verdict::Fail => ("fail", Tint::Bad),
    };
    if app.json {
        let entry = |finding: &Finding| {
            json!({
                "check": finding.what,
                "verdict": word(finding.verdict).0,
                "detail": finding.detail,
                "mend": (!finding.mend.is_empty()).then_some(&finding.mend),
            })
        };
        return app.print_json(&findings.iter().map(entry).collect());
    }
    let mut table = Columns::new(0, None);
    for finding in findings {
        let (word, tint) = word(finding.verdict);
        let row = [Cell::new(tint, word), Cell::plain(finding.what), Cell::plain(&finding.detail)];
        table.push(row.into());
        if !finding.mend.is_empty() {
            let mend = Cell::new(Tint::Strong, format!("→ {}", finding.mend));
            table.push(vec![Cell::plain(""), Cell::plain(""), mend]);
        }
    }
    let text = table.render(app.paint(), usize::MAX);
    Ok(write!(app.out, "{text}")?)
}

fn home(config: &Config) -> Finding {
    const WHAT: &str = "home";
    let root = config.home.root();
    let probe = root.join(format!(".doctor-{}", std::process::id()));
    let tried = fs::create_dir_all(root)
        .and_then(|()| fs::write(&probe, b"windlass"))
        .and_then(|()| fs::remove_file(&probe));
    match tried {
        Ok(()) => Finding::ok(WHAT, root.display().to_string()),
        Err(error) => Finding::bad(
            WHAT,
            Verdict::Fail,
            format!("cannot write to {}: {error}", root.display()),
            "choose another directory with WINDLASS_HOME or --home",
        ),
    }
}

fn disk(config: &Config) -> Finding {
    const WHAT: &str = "disk";
    let Ok(found) = rustix::fs::statvfs(config.home.root()) else {
        return Finding::bad(WHAT, Verdict::Warn, "cannot tell the free space", "");
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let detail = format!("{} free", render::bytes(free));
    let mend = "delete old runs with `windlass rm`, or move the home with WINDLASS_HOME";
    match free {
        free if free < LEAST_FREE => Finding::bad(WHAT, Verdict::Fail, detail, mend),
        free if free < LITTLE_FREE => Finding::bad(WHAT, Verdict::Warn, detail, mend),
        _ => Finding::ok(WHAT, detail),
    }
}

fn socket(config: &Config) -> Finding {
    const WHAT: &str = "socket";
    let path = config.home.daemon_socket();
    let shown = path.display().to_string();
    if path.starts_with(config.home.root()) {
        return Finding::ok(WHAT, shown);
    }
    Finding::ok(WHAT, format!("{shown} (the home's own path is too long for one)"))
}

async fn services(config: &Config) -> Vec<Finding> {
    const WHAT: &str = "daemon";
    let log = config.home.logs().join("daemon.log");
    let fail = |error: &CliError| {
        Finding::bad(WHAT, Verdict::Fail, error.to_string(), format!("see {}", log.display()))
    };
    let link = match Link::open(config).await {
        Ok(link) => link,
        Err(error) => return vec![fail(&error)],
    };
    let info = match answer(link.system().get_server_info(v1::GetServerInfoRequest {})).await {
        Ok(info) => info,
        Err(error) => return vec![fail(&error)],
    };
    let detail = format!("windlass {}, pid {}", info.version, info.pid);
    let daemon = if info.version == env!("CARGO_PKG_VERSION") {
        Finding::ok(WHAT, detail)
    } else {
        let detail = format!("{detail}, but this is {}", env!("CARGO_PKG_VERSION"));
        Finding::bad(WHAT, Verdict::Warn, detail, "windlass daemon stop")
    };
    let mut findings = vec![daemon];
    if !info.read_only_reason.is_empty() {
        let refuses = format!("refuses new runs: {}", info.read_only_reason);
        findings.push(Finding::bad(WHAT, Verdict::Fail, refuses, ""));
    }
    findings.extend(worker(config, &link).await);
    findings
}

async fn worker(config: &Config, link: &Link) -> Vec<Finding> {
    const WHAT: &str = "worker";
    let deadline = Instant::now() + WORKER_LIMIT;
    loop {
        let found = answer(link.fleet().list_workers(v1::ListWorkersRequest {})).await;
        let found = found.map(|answer| answer.workers).unwrap_or_default();
        let active = found.iter().find(|w| w.state() == v1::worker::State::Active);
        if let Some(worker) = active {
            let slots = worker.capacity.get("slots").copied().unwrap_or_default();
            let executors = worker.executors.join(", ");
            let ok = Finding::ok(WHAT, format!("{}: {slots} slots, {executors}", worker.worker));
            return [ok].into_iter().chain(workspace(worker)).collect();
        }
        if Instant::now() >= deadline {
            let log = config.home.logs().display().to_string();
            let detail = match found.first() {
                Some(worker) => format!("{} is {}", worker.worker, worker.state().as_str_name()),
                None => "no worker has come".to_owned(),
            };
            return vec![Finding::bad(
                WHAT,
                Verdict::Fail,
                detail,
                format!("see the logs in {log}"),
            )];
        }
        sleep(WORKER_LOOK).await;
    }
}

/// How the worker gives each step a directory of its own, where it says so.
fn workspace(worker: &v1::Worker) -> Option<Finding> {
    const WHAT: &str = "workspace";
    let mode = worker.labels.get("workspace")?;
    Some(if mode == "copy" {
        let detail = "files are copied for every step";
        let mend = "overlayfs needs root, or a kernel that allows user namespaces";
        Finding::bad(WHAT, Verdict::Warn, detail, mend)
    } else {
        Finding::ok(WHAT, mode)
    })
}

fn python(config: &Config) -> Finding {
    const WHAT: &str = "python";
    let mend = "install Python 3.8 or later, or name one with `env: {python: PATH}`";
    let Some(path) = find_python(config) else {
        return Finding::bad(WHAT, Verdict::Warn, "no python3 on PATH", mend);
    };
    let shown = path.display();
    match first_line(Command::new(&path).arg("--version")) {
        Ok(version) => Finding::ok(WHAT, format!("{version} at {shown}")),
        Err(error) => {
            Finding::bad(WHAT, Verdict::Warn, format!("{shown} does not start: {error}"), mend)
        }
    }
}

/// The interpreter that the caller would get: of the virtual environment, else on PATH.
fn find_python(config: &Config) -> Option<PathBuf> {
    let virtual_env = config.var("VIRTUAL_ENV").map(|dir| Path::new(dir).join("bin"));
    let on_path = config.var("PATH").map(std::env::split_paths).into_iter().flatten();
    let names = ["python3", "python"];
    let dirs = virtual_env.into_iter().chain(on_path);
    dirs.flat_map(|dir| names.map(|name| dir.join(name))).find(|path| path.is_file())
}

fn uv() -> Finding {
    const WHAT: &str = "uv";
    match first_line(Command::new("uv").arg("--version")) {
        Ok(version) => Finding::ok(WHAT, version),
        Err(_) => Finding::ok(WHAT, "no uv: environments are built with venv and pip, more slowly"),
    }
}

fn git() -> Finding {
    const WHAT: &str = "git";
    match first_line(Command::new("git").arg("--version")) {
        Ok(version) => Finding::ok(WHAT, version),
        Err(_) => Finding::bad(
            WHAT,
            Verdict::Warn,
            "no git: runs are recorded without commit and branch",
            "install git",
        ),
    }
}

fn first_line(command: &mut Command) -> io::Result<String> {
    let done = command.output()?;
    if !done.status.success() {
        return Err(io::Error::other(done.status.to_string()));
    }
    // Python 2 says its version on stderr.
    let text = if done.stdout.is_empty() { done.stderr } else { done.stdout };
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}
