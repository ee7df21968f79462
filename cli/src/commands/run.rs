use crate::{
    app::App,
    ending,
    error::{CliError, Exit},
    project::Project,
    submission::{self, Options},
};

/// Run a pipeline file or a function, and follow it to its end
///
/// TARGET is FILE.yaml, MODULE:FUNCTION or FILE.py:FUNCTION. The project's files are taken as they
/// are now; what the run writes is kept with the run and leaves the project alone. Ctrl-C asks
/// whether to detach or to cancel.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// FILE.yaml, MODULE:FUNCTION or FILE.py:FUNCTION
    target: String,
    #[command(flatten)]
    options: Options,
    /// Do not follow the run
    #[arg(long)]
    detach: bool,
}

impl Run {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        let started = submission::start(app.config, &project, &self.options).await?;
        if self.detach {
            return ending::submitted(app, &started.run);
        }
        ending::to_the_end(app, started).await
    }
}
