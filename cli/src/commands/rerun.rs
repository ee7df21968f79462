use crate::{
    app::App,
    ending,
    error::{CliError, Exit},
    submission::{self, Description, Parameters},
};

/// Run the code of an old run again, as it was then; parameters may change
#[derive(clap::Args)]
pub(crate) struct Rerun {
    /// Id, unique prefix or name of a run, `@last`, `@last-ok` or `@-2`
    run: String,
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    description: Description,
    /// Do not follow the run
    #[arg(long)]
    detach: bool,
}

impl Rerun {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let again = submission::again(app.config, &self.run, &self.parameters, &self.description);
        let started = again.await?;
        if self.detach {
            return ending::submitted(app, &started.run);
        }
        ending::to_the_end(app, started).await
    }
}
