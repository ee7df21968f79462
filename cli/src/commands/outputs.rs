use std::path::PathBuf;

use crate::{
    app::App,
    connect::Link,
    download::{self, Destination},
    error::{CliError, Exit},
    reference::{self, Reference},
    render::{self, Cell, Columns, Tint},
};

/// List and fetch the named values of steps
#[derive(clap::Args)]
pub(crate) struct Outputs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List the outputs of a run, or of one of its steps
    Ls {
        /// A run, or one of its steps
        #[arg(value_name = "RUN[/STEP]")]
        run: Reference,
    },
    /// Fetch an output as it is kept: JSON, a pickle, or the file that the step wrote
    Get {
        /// A step of a run
        #[arg(value_name = "RUN/STEP")]
        run: Reference,
        /// The output's name
        name: String,
        /// Write to this file instead of to stdout
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Outputs {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        match self.verb {
            Verb::Ls { run } => list(app, &link, &run).await,
            Verb::Get { run, name, output } => {
                let found = reference::run(&link, &run.run).await?;
                let steps = reference::steps(&found, &run)?;
                let [step] = steps.as_slice() else {
                    let first = found.steps.first().map_or("STEP", |step| &step.step);
                    let help = format!("write {}/{first}", run.run);
                    return Err(CliError::refused_with("an output belongs to a step", help));
                };
                let value = step.outputs.iter().find(|value| value.name == name);
                let value = value.ok_or_else(|| {
                    let names = step.outputs.iter().map(|value| value.name.as_str());
                    let message = format!("step {} has no output `{name}`", step.step);
                    reference::unknown(&message, &name, names)
                })?;
                let file = format!("{name}.{}", value.codec);
                let to = Destination::of(app.config, output, &file, false);
                download::blob(app, &link, &value.digest, to).await
            }
        }
    }
}

async fn list(app: &mut App<'_>, link: &Link, reference: &Reference) -> Result<Exit, CliError> {
    let run = reference::run(link, &reference.run).await?;
    let steps = reference::steps(&run, reference)?;
    if app.json {
        app.print_json(&render::output_entries(steps).into())?;
        return Ok(Exit::Ok);
    }
    let mut table = Columns::new(0, None);
    for step in steps {
        for value in &step.outputs {
            let size = u64::try_from(value.size_bytes).unwrap_or_default();
            table.push(vec![
                Cell::new(Tint::Faint, &step.step),
                Cell::plain(&value.name),
                Cell::plain(&value.codec),
                Cell::plain(render::bytes(size)).right(),
            ]);
        }
    }
    let text = table.render(app.paint(), usize::MAX);
    Ok(write!(app.out, "{text}").map(|()| Exit::Ok)?)
}
