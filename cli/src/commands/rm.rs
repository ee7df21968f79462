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
            runs.push(reference::run_alone(&link, name).await?);
        }
        for run in &runs {
            let request = v1::DeleteRunRequest { run: run.run_id.clone() };
            answer(link.runs().delete_run(request)).await?;
            if !app.json {
                writeln!(app.out, "{} deleted", render::clean(&run.name))?;
            }
        }
        if app.json {
            let ids: Vec<_> = runs.iter().map(|run| run.run_id.as_str()).collect();
            app.print_json(&serde_json::json!({ "deleted": ids }))?;
        }
        Ok(Exit::Ok)
    }
}
