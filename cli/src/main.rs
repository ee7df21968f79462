//! The one binary: command line, daemon and worker.

mod app;
mod asking;
mod cli;
mod commands;
mod complete;
mod config;
mod connect;
mod download;
mod ending;
mod error;
mod explanation;
mod follow;
mod git;
mod interpreter;
mod project;
mod reference;
mod render;
mod secrets;
mod services;
mod settings;
mod snapshot;
mod starter;
mod submission;
mod sweeping;
#[cfg(test)]
mod tests;
mod watching;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, error::ErrorKind};
use tokio::runtime::Builder;
use windlass_daemon::home::{Places, locate_home};

use crate::{
    app::App,
    cli::Cli,
    commands::{Command, daemon::Daemon},
    config::{Config, Surface},
    error::{CliError, Exit, causes},
    render::Paint,
};

fn main() -> ExitCode {
    let env: BTreeMap<OsString, OsString> = env::vars_os().collect();
    let paint = Paint { on: Surface::of(io::stderr(), &env).colour };
    let exit = start(env).unwrap_or_else(|error| {
        report(&error, paint);
        error.exit()
    });
    ExitCode::from(exit.code())
}

fn start(env: BTreeMap<OsString, OsString>) -> Result<Exit, CliError> {
    if env.contains_key(std::ffi::OsStr::new(complete::VARIABLE)) {
        let config = Arc::new(read_config(env.clone(), None)?);
        if complete::answer_shell(config) {
            return Ok(Exit::Ok);
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print()?;
            let help = error.kind() == ErrorKind::DisplayHelp;
            if let Some((cli, target)) = help.then(|| asking::with_target(env::args_os())).flatten()
            {
                let config = read_config(env, cli.home)?;
                return with_app(&config, false, async |app| asking::print(app, &target).await);
            }
            return Ok(if error.use_stderr() { Exit::Refused } else { Exit::Ok });
        }
    };
    let command = match cli.command {
        // Started without any environment: it needs no home.
        Some(Command::Keeper(keeper)) => return services::keeper(keeper),
        command => command,
    };
    let config = read_config(env, cli.home)?;
    match command {
        None | Some(Command::Keeper(_)) => {
            let paint = Paint { on: config.stdout.colour };
            io::stdout().write_all(cli::overview(paint).as_bytes())?;
            Ok(Exit::Ok)
        }
        Some(Command::Daemon(Daemon { verb: None, background })) => {
            services::daemon(config, background)
        }
        Some(Command::Worker(worker)) => services::worker(config, worker),
        Some(Command::Daemon(Daemon { verb: Some(verb), .. })) => {
            with_app(&config, cli.json, async |app| Box::pin(verb.run(app)).await)
        }
        Some(Command::Client(command)) => {
            with_app(&config, cli.json, async |app| Box::pin(command.run(app)).await)
        }
    }
}

/// Runs a command on a runtime of its own and sees that what it wrote is out.
fn with_app(
    config: &Config,
    json: bool,
    command: impl AsyncFnOnce(&mut App<'_>) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("cannot start"))?;
    let mut out = BufWriter::new(io::stdout());
    let mut err = io::stderr();
    let result = runtime.block_on(async {
        let mut app = App { config, out: &mut out, err: &mut err, json };
        command(&mut app).await
    });
    // A thread that waits for a key must not hold us up.
    runtime.shutdown_background();
    let exit = result?;
    out.flush()?;
    Ok(exit)
}

fn read_config(
    env: BTreeMap<OsString, OsString>,
    home: Option<PathBuf>,
) -> Result<Config, CliError> {
    let cwd = env::current_dir().map_err(CliError::io("the current directory is gone"))?;
    let exe = env::current_exe().map_err(CliError::io("cannot find this program"))?;
    let get = |name: &str| env.get(std::ffi::OsStr::new(name)).cloned();
    let places = Places {
        windlass_home: get("WINDLASS_HOME"),
        data_home: get("XDG_DATA_HOME"),
        home: get("HOME"),
        runtime_dir: get("XDG_RUNTIME_DIR"),
        current_dir: cwd.clone(),
    };
    let home = locate_home(home, &places).map_err(|error| CliError::refused(error.to_string()))?;
    Ok(Config {
        args: env::args_os().collect(),
        cwd,
        exe,
        home,
        stdin_terminal: io::stdin().is_terminal(),
        stdout: Surface::of(io::stdout(), &env),
        stderr: Surface::of(io::stderr(), &env),
        now: jiff::Timestamp::now(),
        env,
    })
}

/// Tells a person what went wrong. What cannot be told is not told.
fn report(error: &CliError, paint: Paint) {
    let here = env::current_dir().unwrap_or_default();
    let root = project::root_above(&here);
    let text = match error {
        CliError::ReaderGone => return,
        CliError::Refused(problems) => render::print_problems(problems, &[&here, root], paint),
        CliError::Unreachable(_) | CliError::Io { .. } => {
            format!("{} {}\n", paint.paint(render::Tint::Bad, "error:"), causes(error))
        }
    };
    drop(io::stderr().write_all(text.as_bytes()));
}
