use crate::{
    app::App,
    ending,
    error::{CliError, Exit},
    project::Project,
    submission::{self, Options},
};

/// Start a run as `run` does, without following it; prints its name
#[derive(clap::Args)]
pub(crate) struct Submit {
    /// FILE.yaml, MODULE:FUNCTION or FILE.py:FUNCTION
    target: String,
    #[command(flatten)]
    options: Options,
}

impl Submit {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        let started = submission::start(app.config, &project, &self.options).await?;
        ending::submitted(app, &started.run)
    }
}
