use crate::{
    app::App,
    ending,
    error::{CliError, Exit},
    project::Project,
    submission::{self, Options, Sweep},
    sweeping,
};

/// Run a pipeline file or a function, and follow it to its end
///
/// TARGET is FILE.yaml, FILE.ipynb, MODULE:FUNCTION or FILE.py:FUNCTION. The project's files are taken as they
/// are now; what the run writes is kept with the run and leaves the project alone. Ctrl-C asks
/// whether to detach or to cancel. With a TARGET, --help lists the parameters of the target too.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  windlass run churn.yaml --help                        # what can be set
  windlass run churn.yaml --params base.yaml -p seed=7 -p model.depth=4
  windlass run functions:train -p fit.n_estimators=200  # a constant in the code
  windlass run churn.yaml -p 'lr=[0.1, 0.2]' --sweep lr # a run for each
  windlass run churn.yaml --mocks mocks.yaml --patch train=stubs:train")]
pub(crate) struct Run {
    /// FILE.yaml, FILE.ipynb, MODULE:FUNCTION or FILE.py:FUNCTION
    pub(crate) target: String,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    sweep: Sweep,
    /// Do not follow the run
    #[arg(long)]
    detach: bool,
}

impl Run {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        if self.sweep.wanted() {
            let swept = Box::pin(sweeping::start(app, &project, &self.options, &self.sweep));
            let swept = swept.await?;
            return if self.detach { swept.submitted(app) } else { swept.follow(app).await };
        }
        let started = submission::start(app.config, &project, &self.options).await?;
        if self.detach {
            return ending::submitted(app, &started.run);
        }
        ending::to_the_end(app, started).await
    }
}
