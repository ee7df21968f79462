use std::collections::HashMap;

use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::Link,
    download::{self, Destination},
    error::{CliError, Exit},
    reference::{self, Reference},
    render,
};

/// Longest value that the page shows, in bytes, and most of them.
const MAX_VALUE: i64 = 200;
const MAX_VALUES: usize = 40;

/// Show what is recorded of a run: code, parameters, steps, metrics, calls, files
#[derive(clap::Args)]
pub(crate) struct Show {
    /// Id, unique prefix or name of a run, `@last`, `@last-ok` or `@-2`; `RUN/STEP` for one step
    #[arg(default_value = "@last", value_name = "RUN[/STEP]")]
    run: Reference,
    /// Print the recorded difference of the working tree to its commit, as git prints it
    #[arg(long)]
    diff: bool,
}

impl Show {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let mut run = reference::run(&link, &self.run.run).await?;
        if self.diff {
            let digest = run.git.map(|git| git.diff_digest).unwrap_or_default();
            if digest.is_empty() {
                let told = format!("no difference is recorded of {}", run.name);
                return Err(CliError::refused(told));
            }
            return download::blob(app, &link, &digest, Destination::Stdout).await;
        }
        if let Some(name) = &self.run.step {
            let only = reference::step(&run, name)?.clone();
            run.steps = vec![only];
        }
        if app.json {
            app.print_json(&render::run_json(&run, true))?;
        } else {
            let values = values(&link, &run).await?;
            let look = app.look();
            write!(app.out, "{}", render::page(&run, &values, &look))?;
        }
        Ok(Exit::Ok)
    }
}

/// The text of small JSON outputs, by digest.
async fn values(link: &Link, run: &v1::Run) -> Result<HashMap<String, String>, CliError> {
    let mut values = HashMap::new();
    let outputs = run.steps.iter().flat_map(|step| &step.outputs);
    let small = outputs.filter(|value| value.codec == "json" && value.size_bytes <= MAX_VALUE);
    for value in small.take(MAX_VALUES) {
        if !values.contains_key(&value.digest) {
            values.insert(value.digest.clone(), download::text(link, &value.digest).await?);
        }
    }
    Ok(values)
}
