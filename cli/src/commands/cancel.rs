use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, insist},
    error::{CliError, Exit},
    render,
};

/// Stop a run and whatever it has running
#[derive(clap::Args)]
pub(crate) struct Cancel {
    /// Id, unique prefix or name of a run, `@last` or `@-2`
    run: String,
    /// Skip the grace period and kill at once
    #[arg(long)]
    now: bool,
}

impl Cancel {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let reason = format!("cancelled by {}@{}", app.config.user(), app.config.host());
        let request = v1::CancelRunRequest { run: self.run, reason, force: self.now };
        let cancel = || {
            let (mut runs, request) = (link.runs(), request.clone());
            async move { runs.cancel_run(request).await }
        };
        let run = insist(&link, cancel).await?.run.unwrap_or_default();
        if app.json {
            app.print_json(&render::run_json(&run, false))?;
        } else {
            let state = render::run_state(&run).word();
            writeln!(app.out, "{} {state}", render::clean(&run.name))?;
        }
        Ok(Exit::Ok)
    }
}
