use crate::{
    app::App,
    connect::Link,
    error::{CliError, Exit},
    reference, watching,
};

/// Look at runs as they go on: a live view with steps, times and logs
///
/// Arrows choose, Tab goes from runs to steps to log, f holds the log or follows it again, c
/// cancels the run after a question, / filters the runs, q leaves. Leaving changes nothing: the
/// runs go on.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  windlass watch
  windlass watch @last")]
pub(crate) struct Watch {
    /// The run to begin with: id, unique prefix or name, `@last` or `@-2`
    run: Option<String>,
}

impl Watch {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let config = app.config;
        if !(config.stdin_terminal && config.stdout.terminal) || app.json {
            return Err(CliError::refused_with(
                "watch needs a terminal",
                "for scripts: `windlass ls --json`, `windlass show RUN --json`, `windlass wait RUN`",
            ));
        }
        let link = Link::open(config).await?;
        let first = match &self.run {
            Some(run) => Some(reference::run_alone(&link, run).await?),
            None => None,
        };
        Box::pin(watching::watch(config, &link, first)).await
    }
}
