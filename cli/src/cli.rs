use std::path::PathBuf;

use clap::Parser;

use crate::{
    commands::Command,
    render::{Paint, Tint},
};

/// Runs your code unchanged, and keeps a record of every run
#[derive(Parser)]
#[command(name = "windlass", bin_name = "windlass", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Print JSON for scripts
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Where everything is kept [default: $WINDLASS_HOME, else $XDG_DATA_HOME/windlass]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
}

/// The commands by what one wants.
const OVERVIEW: &[(&str, &[(&str, &str)])] = &[
    (
        "Start",
        &[
            ("run", "Run a pipeline file or a function, and follow it"),
            ("submit", "The same without following"),
            ("exec", "Run any command as a recorded run"),
            ("rerun", "Run the code of an old run again, as it was then"),
        ],
    ),
    (
        "Look",
        &[
            ("ls", "List runs, newest first"),
            ("show", "Show what is recorded of a run"),
            ("watch", "Look at runs as they go on"),
            ("explain", "Tell why a run failed or waits, and what helps"),
            ("logs", "Print what steps have printed"),
            ("metrics", "Print the metrics that steps reported, point by point"),
            ("artifacts", "List and fetch the files that steps wrote"),
            ("outputs", "List and fetch the named values of steps"),
            ("best", "Rank runs by a metric"),
        ],
    ),
    (
        "Control",
        &[("wait", "Wait for runs to end"), ("cancel", "Stop a run"), ("rm", "Delete ended runs")],
    ),
    (
        "Check",
        &[
            ("init", "Write a pipeline file from the functions of a module"),
            ("check", "Look for mistakes in a pipeline"),
            ("plan", "Show what would run, with which values"),
            ("schema", "Print the JSON Schema of the pipeline file"),
            ("doctor", "Look whether everything needed is there"),
        ],
    ),
    (
        "Services",
        &[
            ("daemon", "Run, look at or stop the daemon"),
            ("worker", "Run a worker"),
            ("workers", "List and control workers"),
            ("completion", "Print the shell's completion script"),
            ("version", "Print the version"),
        ],
    ),
];

/// What to try first.
const EXAMPLES: &[&str] = &[
    "windlass run functions:train            # a function of functions.py, as it is",
    "windlass run src/train.py:train -p n=200",
    "windlass run churn.yaml                 # a pipeline of steps",
    "windlass exec -- python train.py        # any command",
];

/// What `windlass` alone says.
pub(crate) fn overview(paint: Paint) -> String {
    let mut out =
        String::from("Windlass runs your code unchanged, and keeps a record of every run.\n");
    let mut section = |title: &str, lines: &[String]| {
        out.push_str(&format!("\n{}\n", paint.paint(Tint::Strong, title)));
        lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    };
    section("Try", &EXAMPLES.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    for (title, verbs) in OVERVIEW {
        let line = |(verb, what): &(&str, &str)| {
            format!("{}{what}", paint.paint(Tint::Busy, &format!("{verb:<12}")))
        };
        section(title, &verbs.iter().map(line).collect::<Vec<_>>());
    }
    out.push_str("\n`windlass COMMAND --help` says more; every command takes --json and --home.\n");
    out
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, OVERVIEW, Paint, overview};
    use crate::commands::{Client, Command};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_overview_names_every_command() {
        let shown: Vec<_> =
            OVERVIEW.iter().flat_map(|(_, verbs)| verbs.iter().map(|v| v.0)).collect();
        let command = Cli::command();
        let mut there: Vec<_> = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        let mut sorted = shown.clone();
        sorted.sort_unstable();
        there.sort_unstable();
        assert_eq!(sorted, there);
        assert!(overview(Paint { on: false }).contains("windlass exec -- python train.py"));
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        for args in [
            &["windlass", "exec", "--json", "--", "sh", "-c", "exit 7", "--json"][..],
            &["windlass", "--json", "exec", "sh", "-c", "exit 7", "--json"][..],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.json);
            assert!(matches!(cli.command, Some(Command::Client(Client::Exec(_)))));
        }
    }

    #[test]
    fn mistakes_are_usage_errors_with_the_nearest_word() {
        let Err(error) = Cli::try_parse_from(["windlass", "runn", "x"]) else { panic!() };
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("'run'"), "{error}");
        let Err(error) = Cli::try_parse_from(["/opt/x/wl-1.2", "run"]) else { panic!() };
        assert!(error.to_string().contains("Usage: windlass run"), "{error}");
        assert!(Cli::try_parse_from(["windlass", "ls", "--limit", "0"]).is_err());
        assert!(Cli::try_parse_from(["windlass", "logs", "x/"]).is_err());
        assert!(Cli::try_parse_from(["windlass", "logs", "x/y", "--attempt", "0"]).is_err());
        assert!(Cli::try_parse_from(["windlass"]).unwrap().command.is_none());
    }
}
