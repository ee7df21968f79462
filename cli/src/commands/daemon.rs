use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::json;
use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, answer, unreachable_at},
    error::{CliError, Exit},
    render,
};

/// How long a daemon that was told to stop may take to be gone.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Run the daemon in the foreground, or look at and stop the one there is
///
/// Nobody needs to start a daemon: the first command does.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Daemon {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// Started by a command: detached, quiet, leaving when idle
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Say whether a daemon is there; never starts one
    Status,
    /// Stop the daemon; running steps go on, and the next daemon takes them back
    Stop,
}

impl Verb {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::existing(app.config).await?;
        match (self, link) {
            (Self::Status, Some(link)) => status(app, &link).await,
            (Self::Status, None) => absent(app),
            (Self::Stop, Some(link)) => stop(app, &link).await,
            (Self::Stop, None) => {
                if app.json {
                    app.print_json(&json!({ "stopped": false }))?;
                } else {
                    writeln!(app.err, "no daemon is running")?;
                }
                Ok(Exit::Ok)
            }
        }
    }
}

async fn status(app: &mut App<'_>, link: &Link) -> Result<Exit, CliError> {
    let info = answer(link.system().get_server_info(v1::GetServerInfoRequest {})).await?;
    let socket = app.config.home.daemon_socket();
    if app.json {
        app.print_json(&json!({
            "ready": true,
            "pid": info.pid,
            "version": info.version,
            "home": info.home,
            "socket": socket.display().to_string(),
            "read_only_reason": (!info.read_only_reason.is_empty()).then_some(&info.read_only_reason),
        }))?;
        return Ok(Exit::Ok);
    }
    let since = info.start_time.as_ref().and_then(render::instant);
    let since = since.map_or_else(String::new, |time| {
        let up = render::elapsed(time, app.config.now);
        format!(", up {}", render::duration(up))
    });
    writeln!(app.out, "ready: windlass {}, pid {}{since}", info.version, info.pid)?;
    writeln!(app.out, "home   {}", info.home)?;
    writeln!(app.out, "socket {}", socket.display())?;
    if !info.read_only_reason.is_empty() {
        writeln!(app.out, "refuses new runs: {}", render::clean(&info.read_only_reason))?;
    }
    Ok(Exit::Ok)
}

fn absent(app: &mut App<'_>) -> Result<Exit, CliError> {
    let home = &app.config.home;
    if !app.json {
        return Err(unreachable_at(home, &io::ErrorKind::NotFound.into()));
    }
    app.print_json(&json!({
        "ready": false,
        "pid": null,
        "version": null,
        "home": home.root().display().to_string(),
        "socket": home.daemon_socket().display().to_string(),
    }))?;
    Ok(Exit::Unreachable)
}

async fn stop(app: &mut App<'_>, link: &Link) -> Result<Exit, CliError> {
    let info = answer(link.system().get_server_info(v1::GetServerInfoRequest {})).await?;
    let pid = i32::try_from(info.pid).ok().and_then(Pid::from_raw);
    // Taken before the daemon is told, so that it cannot mean another process.
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    answer(link.system().stop_server(v1::StopServerRequest {})).await?;
    if let Some(process) = process {
        let gone = tokio::task::spawn_blocking(move || gone(&process)).await;
        if !matches!(gone, Ok(Ok(true))) {
            let secs = STOP_LIMIT.as_secs();
            return Err(CliError::Unreachable(format!("the daemon is still there after {secs} s")));
        }
    }
    if app.json {
        app.print_json(&json!({ "stopped": true, "pid": info.pid }))?;
    } else {
        writeln!(app.err, "stopped")?;
    }
    Ok(Exit::Ok)
}

/// Waits for the end of a process; false where that takes too long.
fn gone(process: &OwnedFd) -> io::Result<bool> {
    let limit = Timespec { tv_sec: STOP_LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&limit))? > 0)
}
