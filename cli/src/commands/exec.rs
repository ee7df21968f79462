use crate::{
    app::App,
    ending,
    error::{CliError, Exit},
    project::Project,
    submission::{self, Options},
};

/// Run any command as a recorded run: `windlass exec -- python train.py --lr 0.1`
#[derive(clap::Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    options: Options,
    /// Do not follow the run
    #[arg(long)]
    detach: bool,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    argv: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_command(app.config, self.argv)?;
        let started = submission::start(app.config, &project, &self.options).await?;
        if self.detach {
            return ending::submitted(app, &started.run);
        }
        ending::to_the_end(app, started).await
    }
}
