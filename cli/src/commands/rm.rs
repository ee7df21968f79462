use uuid::Uuid;
use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, answer},
    error::{CliError, Exit},
    reference, render,
};

/// Delete ended runs with their logs and records
#[derive(clap::Args)]
pub(crate) struct Rm {
    /// Ids, unique prefixes or names of runs, `@last`, `@-2`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
}

impl Rm {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        // All names are read before any run goes, for `@last` will then mean another.
        let mut runs = Vec::new();
        for name in &self.runs {
            // Who says the id may say it twice: what is not there any more is deleted.
            if Uuid::try_parse(name).is_ok() {
                runs.push((name.clone(), name.clone()));
            } else {
                let run = reference::run_alone(&link, name).await?;
                runs.push((run.run_id, run.name));
            }
        }
        for (id, name) in &runs {
            answer(link.runs().delete_run(v1::DeleteRunRequest { run: id.clone() })).await?;
            if !app.json {
                writeln!(app.out, "{} deleted", render::clean(name))?;
            }
        }
        if app.json {
            let ids: Vec<_> = runs.iter().map(|(id, _)| id.as_str()).collect();
            app.print_json(&serde_json::json!({ "deleted": ids }))?;
        }
        Ok(Exit::Ok)
    }
}
