use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::answer,
    error::{CliError, Exit, Problem},
    project::Project,
    render,
    settings::Settings,
    submission::upload,
};

/// Look for mistakes in a pipeline and the code it names, and run nothing
#[derive(clap::Args)]
pub(crate) struct Check {
    /// FILE.yaml, FILE.ipynb, MODULE:FUNCTION or FILE.py:FUNCTION
    target: String,
}

impl Check {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let problems = match self.problems(app).await {
            Ok(problems) => problems,
            Err(CliError::Refused(problems)) if app.json => problems,
            Err(error) => return Err(error),
        };
        if app.json {
            app.print_json(&render::problems_json(&problems))?;
        } else if problems.is_empty() {
            writeln!(app.out, "{}: no mistakes found", render::clean(&self.target))?;
        } else {
            return Err(CliError::Refused(problems));
        }
        Ok(if problems.is_empty() { Exit::Ok } else { Exit::Refused })
    }

    async fn problems(&self, app: &App<'_>) -> Result<Vec<Problem>, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        let settings = Settings::load(app.config, &project.root)?;
        let (taken, link) = upload(app.config, &project, &settings).await?;
        let request = v1::CheckPipelineRequest { source: Some(taken.source) };
        let found = answer(link.runs().check_pipeline(request)).await?.errors;
        let problem = |error: v1::PipelineError| Problem {
            path: error.path,
            line: error.line,
            column: error.column,
            message: error.message,
            help: error.help,
        };
        Ok(found.into_iter().map(problem).collect())
    }
}
