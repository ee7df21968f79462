//! The daemon alone, for images; `windlass daemon` is the same.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use windlass_daemon::{
    config::Config,
    home::{Places, locate_home},
    process,
};

/// Records and schedules the runs of one home; workers connect to its socket.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Directory of everything; `$WINDLASS_HOME`, else `$XDG_DATA_HOME/windlass`.
    #[arg(long)]
    home: Option<PathBuf>,
    /// Leave the terminal; it is no error that the home has a daemon already.
    #[arg(long)]
    background: bool,
    /// Leave after so many seconds with nothing to do.
    #[arg(long)]
    idle_secs: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    run(args).unwrap_or_else(|error| {
        report(&*error);
        ExitCode::FAILURE
    })
}

#[expect(clippy::disallowed_methods, reason = "main is where the environment is read")]
fn run(args: Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let places = Places {
        windlass_home: std::env::var_os("WINDLASS_HOME"),
        data_home: std::env::var_os("XDG_DATA_HOME"),
        home: std::env::var_os("HOME"),
        runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
        current_dir: std::env::current_dir()?,
    };
    let home = locate_home(args.home, &places)?;
    let idle = args.idle_secs.map(Duration::from_secs);
    let filter = std::env::var("WINDLASS_LOG").ok();
    Ok(process::run(
        Config { idle, background: args.background, ..Config::new(home) },
        filter.as_deref(),
    )?)
}

/// Tells a person why there is no daemon, cause by cause.
#[expect(clippy::print_stderr, reason = "main's last word, where no log may have been set up")]
fn report(error: &dyn std::error::Error) {
    eprintln!("windlassd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because {error}");
        cause = error.source();
    }
}
