use crate::{
    app::App,
    ending,
    error::{CliError, Exit},
    project::Project,
    submission::{self, Options, Sweep},
    sweeping,
};

/// Start a run as `run` does, without following it; prints its name
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  windlass submit churn.yaml -p seed=7 --priority 10
  windlass submit churn.yaml -p 'lr=[0.1, 0.2]' -p 'depth=[3, 5]' --sweep lr --sweep depth")]
pub(crate) struct Submit {
    /// FILE.yaml, FILE.ipynb, MODULE:FUNCTION or FILE.py:FUNCTION
    pub(crate) target: String,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    sweep: Sweep,
}

impl Submit {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        if self.sweep.wanted() {
            let swept = sweeping::start(app, &project, &self.options, &self.sweep).await?;
            return swept.submitted(app);
        }
        let started = submission::start(app.config, &project, &self.options).await?;
        ending::submitted(app, &started.run)
    }
}
