use crate::{
    app::App,
    connect::Link,
    ending,
    error::{CliError, Exit},
    follow::{Pursuit, Quiet, Which},
    reference, render,
};

/// Wait for runs to end; ends as they did
#[derive(clap::Args)]
pub(crate) struct Wait {
    /// Ids, unique prefixes or names of runs, `@last`, `@-2`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
}

impl Wait {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        // All names are read before any wait, for `@last` may soon mean another.
        let mut runs = Vec::new();
        for name in &self.runs {
            runs.push(reference::run_alone(&link, name).await?);
        }
        let mut worst = Exit::Ok;
        let mut ended = Vec::new();
        for run in runs {
            let mut pursuit = Pursuit::begin(&link, run, Which::None);
            let mut view = Quiet { err: app.err };
            while !pursuit.advance(&mut view).await? {}
            let run = pursuit.into_run();
            worst = worse(worst, ending::exit_of(&run));
            if !app.json {
                let state = render::run_state(&run).word();
                writeln!(app.err, "{} {state}", render::clean(&run.name))?;
            }
            ended.push(render::run_json(&run, false));
        }
        if app.json {
            app.print_json(&ended.into())?;
        }
        Ok(worst)
    }
}

/// Of several ends: a failure says more than a cancellation, that more than success.
fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit| match exit {
        Exit::RunFailed => 2,
        Exit::Cancelled => 1,
        Exit::Ok | Exit::Refused | Exit::Unreachable | Exit::Terminated => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}
