//! Commands against a daemon that tells what it was told to tell.

mod explaining;
mod fake;
mod following;
mod looking;
mod refusing;
mod secrets;
mod starting;
mod sweeping;

use std::{collections::BTreeMap, path::Path};

use clap::Parser;
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinSet};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{body::Body, codegen::http::Request, transport::Server};
use tower::ServiceExt;
use windlass_core::Home;
use windlass_proto::{
    api::v1::{
        self,
        blob_service_server::BlobServiceServer,
        log_service_server::{LogServiceServer, SERVICE_NAME as LOGS},
        run_service_server::{RunServiceServer, SERVICE_NAME as RUNS},
    },
    common::v1 as common,
};

use self::fake::Fake;
use crate::{
    app::App,
    cli::Cli,
    commands::Command,
    config::{Config, Surface},
    error::{CliError, Exit},
    render::{self, Paint},
};

/// A user with a project, a home and a daemon.
struct Stage {
    dir: TempDir,
    config: Config,
    daemon: Fake,
    _served: JoinSet<()>,
}

/// What one command printed and how it ended.
struct Said {
    exit: Exit,
    out: String,
    err: String,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("home"), Path::new("/tmp"), "key");
        let cwd = dir.path().join("project");
        for dir in [home.run(), cwd.clone()] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let config = Config {
            env: BTreeMap::new(),
            args: Vec::new(),
            cwd,
            exe: "/nonexistent/windlass".into(),
            stdin_terminal: false,
            stdout: Surface::PLAIN,
            stderr: Surface::PLAIN,
            now: "2026-11-23T12:00:00Z".parse().unwrap(),
            home,
        };
        let daemon = Fake::default();
        let listener = UnixListener::bind(config.home.daemon_socket()).unwrap();
        let fake = daemon.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                match request.uri().path().split('/').nth(1).unwrap_or_default() {
                    RUNS => RunServiceServer::new(fake).oneshot(request).await,
                    LOGS => LogServiceServer::new(fake).oneshot(request).await,
                    _ => BlobServiceServer::new(fake).oneshot(request).await,
                }
            }
        });
        let incoming = UnixListenerStream::new(listener);
        let mut served = JoinSet::new();
        served.spawn(async move {
            Server::builder().serve_with_incoming(service, incoming).await.unwrap();
        });
        Self { dir, config, daemon, _served: served }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.config.cwd.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn say(&self, args: &[&str]) -> Said {
        let cli = Cli::try_parse_from(["windlass"].iter().chain(args)).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let config = &self.config;
        let mut app = App { config, out: &mut out, err: &mut err, json: cli.json };
        let Some(Command::Client(command)) = cli.command else { panic!("{args:?}") };
        let result = Box::pin(command.run(&mut app)).await;
        let exit = result.unwrap_or_else(|error| {
            let text = match &error {
                CliError::Refused(problems) => {
                    render::print_problems(problems, &[&config.cwd], Paint { on: false })
                }
                other => format!("error: {other}\n"),
            };
            err.extend(text.into_bytes());
            error.exit()
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { exit, out: text(out), err: text(err) }
    }
}

/// A time some milliseconds after the start of all times here.
fn at(millis: i64) -> Option<prost_types::Timestamp> {
    let start = 1_795_431_600_000; // 2026-11-23T11:00:00Z
    let nanos = i32::try_from((start + millis) % 1_000 * 1_000_000).unwrap();
    Some(prost_types::Timestamp { seconds: (start + millis) / 1_000, nanos })
}

/// A step with one attempt that took from `from` to `to`.
pub(crate) fn step(name: &str, (from, to): (i64, i64), exit_code: i32) -> v1::Step {
    let good = exit_code == 0;
    let usage = common::ResourceUsage {
        peak_memory_bytes: 54_100_000,
        cpu_time: Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 }),
    };
    let end = common::AttemptEnd {
        reason: common::EndReason::ExitCode.into(),
        exit_code: Some(exit_code),
        usage: Some(usage),
        start_time: at(from),
        end_time: at(to),
        ..Default::default()
    };
    let state = if good { common::AttemptState::Succeeded } else { common::AttemptState::Failed };
    let attempt = v1::Attempt {
        attempt: 1,
        state: state.into(),
        worker: "local".into(),
        executor: "process".into(),
        end: Some(end),
        start_time: at(from),
        ..Default::default()
    };
    let state = if good { v1::step::State::Succeeded } else { v1::step::State::Failed };
    v1::Step {
        step: name.into(),
        state: state.into(),
        attempts: vec![attempt],
        ..Default::default()
    }
}

/// An ended run with these steps.
pub(crate) fn run(name: &str, state: v1::run::State, steps: Vec<v1::Step>) -> v1::Run {
    v1::Run {
        run_id: format!("0193a1b2-7c3d-7000-8000-{name:0>12}"),
        name: name.into(),
        pipeline: "churn".into(),
        target: "churn.yaml".into(),
        state: state.into(),
        kind: "run".into(),
        user: "ana".into(),
        host: "laptop".into(),
        create_time: at(0),
        start_time: at(10),
        end_time: at(4_010),
        snapshot: "8f".repeat(32),
        steps,
        ..Default::default()
    }
}
