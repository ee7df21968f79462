//! The worker alone, for images: `windlass-worker [--home DIR] [--name NAME] [--slots N]
//! [--socket PATH] [--workspace MODE]`. As `windlass-worker keeper …` it is its own keeper.
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use windlass_core::Home;
use windlass_worker::{
    KeeperCommand, WorkerConfig,
    keeper::{self, KeeperConfig},
    wall,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let mut args: Vec<OsString> = env::args_os().skip(1).collect();
    let result = if args.first().is_some_and(|arg| arg == "keeper") {
        args.remove(0);
        keep(args)
    } else {
        work(args)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut next = error.source();
            while let Some(cause) = next {
                text.push_str(&format!(": {cause}"));
                next = cause.source();
            }
            tracing::error!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn keep(args: Vec<OsString>) -> Result<(), Failure> {
    let config = KeeperConfig::parse(args, wall).ok_or("usage: keeper --dir WORK")?;
    Ok(keeper::run(config)?)
}

fn work(args: Vec<OsString>) -> Result<(), Failure> {
    let config = config(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let worker = windlass_worker::run(config, stop.clone());
        tokio::pin!(worker);
        tokio::select! {
            result = &mut worker => return Ok(result?),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        Ok(worker.await?)
    })
}

fn config(args: Vec<OsString>) -> Result<WorkerConfig, Failure> {
    let mut home = variable("WINDLASS_HOME").map(PathBuf::from);
    let mut name = "local".to_owned();
    let mut slots = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut socket: Option<PathBuf> = None;
    let mut workspace_mode = None;
    let mut offers = std::collections::BTreeMap::new();
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{} needs a value", flag.display()));
        let text = |value: OsString| value.into_string().map_err(|_| "a value is not UTF-8");
        match flag.to_str() {
            Some("--home") => home = Some(value()?.into()),
            Some("--name") => name = text(value()?)?,
            Some("--slots") => slots = text(value()?)?.parse()?,
            Some("--offer") => {
                let (name, amount) = windlass_worker::parse_offer(&text(value()?)?)?;
                offers.insert(name, amount);
            }
            Some("--socket") => socket = Some(value()?.into()),
            Some("--workspace") => workspace_mode = Some(text(value()?)?),
            _ => return Err(format!("unknown argument {}", flag.display()).into()),
        }
    }
    let home = std::path::absolute(home.ok_or("say where the home is: --home or WINDLASS_HOME")?)?;
    let key = windlass_blobs::digest_of(home.as_os_str().as_encoded_bytes()).to_string();
    let home = Home::new(home, Path::new("/tmp"), &key[..16]);
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(WorkerConfig {
        daemon_socket: socket.unwrap_or_else(|| home.daemon_socket()),
        home,
        name,
        slots: u32::try_from(slots)?,
        offers,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname,
        keeper: KeeperCommand { program: env::current_exe()?, args: vec!["keeper".into()] },
        workspace_mode,
        clock: wall,
    })
}

#[expect(clippy::disallowed_methods, reason = "main hands in everything from the environment")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}
