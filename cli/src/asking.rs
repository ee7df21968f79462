//! What a target asks of its caller, for `windlass run TARGET --help`.

use std::ffi::OsString;

use clap::Parser;
use windlass_proto::{
    api::v1::{DescribePipelineResponse, run_source::Target},
    common::v1::{ParamSpec, SecretSpec, secret_spec::From},
};

use crate::{
    app::App,
    cli::Cli,
    commands::{Client, Command},
    error::{CliError, Exit},
    project::Project,
    render::{self, Cell, Columns, Tint},
    secrets::describe,
    settings::Settings,
    submission::upload,
};

/// The command line without its `--help`, where it names something to run.
pub(crate) fn with_target(args: impl Iterator<Item = OsString>) -> Option<(Cli, String)> {
    let args = args.filter(|arg| arg != "--help" && arg != "-h");
    let cli = Cli::try_parse_from(args).ok()?;
    let target = match &cli.command {
        Some(Command::Client(Client::Run(run))) => run.target.clone(),
        Some(Command::Client(Client::Submit(submit))) => submit.target.clone(),
        Some(Command::Client(Client::Plan(plan))) => plan.target.clone(),
        _ => return None,
    };
    Some((cli, target))
}

/// Prints the parameters and secrets of a target.
pub(crate) async fn print(app: &mut App<'_>, target: &str) -> Result<Exit, CliError> {
    let project = Project::of_target(app.config, target)?;
    let settings = Settings::load(app.config, &project.root)?;
    let (taken, link) = upload(app.config, &project, &settings).await?;
    let asked = describe(&link, taken.source).await?;
    let paint = app.paint();
    let kind = match project.target {
        Target::Function(_) => "Arguments",
        _ => "Parameters",
    };
    let target = render::clean(target);
    let title = paint.paint(Tint::Strong, &format!("{kind} of {target}:"));
    writeln!(app.out, "\n{title}")?;
    let width = app.look().width.unwrap_or(usize::MAX);
    if asked.params.is_empty() {
        writeln!(app.out, "  none")?;
    }
    write!(app.out, "{}", parameters(&asked.params).render(paint, width))?;
    secrets(app, &asked)?;
    Ok(Exit::Ok)
}

fn secrets(app: &mut App<'_>, asked: &DescribePipelineResponse) -> Result<(), CliError> {
    if asked.secrets.is_empty() {
        return Ok(());
    }
    let mut table = Columns::new(2, Some(1));
    for secret in &asked.secrets {
        table.push(vec![Cell::new(Tint::Name, &secret.name), Cell::plain(place(secret))]);
    }
    let paint = app.paint();
    let width = app.look().width.unwrap_or(usize::MAX);
    writeln!(app.out, "\n{}", paint.paint(Tint::Strong, "Secrets:"))?;
    Ok(write!(app.out, "{}", table.render(paint, width))?)
}

/// Parameters as a table: how to set them, type, default, bounds, help.
fn parameters(params: &[ParamSpec]) -> Columns {
    let mut table = Columns::new(2, Some(4));
    for param in params {
        let kind = if param.r#type.is_empty() { "any" } else { &param.r#type };
        let default = match &param.default_json {
            Some(default) => format!("= {}", render::shorten(default, 40)),
            None => "required".into(),
        };
        let tint = if param.default_json.is_some() { Tint::Plain } else { Tint::Odd };
        table.push(vec![
            Cell::new(Tint::Name, format!("-p {}=…", param.name)),
            Cell::new(Tint::Faint, kind),
            Cell::new(tint, default),
            Cell::plain(bounds(param)),
            Cell::plain(&param.help),
        ]);
    }
    table
}

/// Which values a parameter may have.
fn bounds(param: &ParamSpec) -> String {
    let mut parts = Vec::new();
    match (param.min, param.max) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max}")),
        (Some(min), None) => parts.push(format!("at least {min}")),
        (None, Some(max)) => parts.push(format!("at most {max}")),
        (None, None) => {}
    }
    if !param.choices_json.is_empty() {
        let choices = param.choices_json.iter().map(|choice| render::shown(choice));
        parts.push(format!("one of {}", choices.collect::<Vec<_>>().join(", ")));
    }
    if !param.pattern.is_empty() {
        parts.push(format!("like {}", param.pattern));
    }
    parts.join("; ")
}

fn place(secret: &SecretSpec) -> String {
    match &secret.from {
        None => format!("the environment variable {}", secret.name),
        Some(From::Env(name)) => format!("the environment variable {name}"),
        Some(From::Dotenv(path)) => format!("the line {}=… of {path}", secret.name),
        Some(From::File(path)) => format!("the file {path}"),
        Some(From::Command(command)) => format!("the command `{command}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ParamSpec, parameters, with_target};
    use crate::render::Paint;

    #[test]
    fn help_with_a_target_is_known() {
        let target = |args: &[&str]| {
            let args = ["windlass"].iter().chain(args).map(Into::into);
            with_target(args).map(|(_, target)| target)
        };
        assert_eq!(target(&["run", "p.yaml", "--help"]).as_deref(), Some("p.yaml"));
        assert_eq!(target(&["--json", "plan", "-p", "a=1", "m:f", "-h"]).as_deref(), Some("m:f"));
        assert_eq!(target(&["run", "--help"]), None);
        assert_eq!(target(&["show", "--help"]), None);
    }

    #[test]
    fn parameters_are_a_table() {
        let params = [
            ParamSpec {
                name: "test_size".into(),
                r#type: "float".into(),
                default_json: Some("0.2".into()),
                min: Some(0.05),
                max: Some(0.5),
                help: "share held out".into(),
                ..Default::default()
            },
            ParamSpec {
                name: "kind".into(),
                choices_json: vec!["\"a\"".into(), "3".into()],
                ..Default::default()
            },
        ];
        let expected = "
  -p test_size=…  float  = 0.2     0.05 to 0.5  share held out
  -p kind=…       any    required  one of a, 3
";
        let shown = parameters(&params).render(Paint { on: false }, 80);
        assert_eq!(format!("\n{shown}"), expected);
    }
}
