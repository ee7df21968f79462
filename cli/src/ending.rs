//! Follows a new run to its end and prints what came of it.

use windlass_core::RunState;
use windlass_proto::api::v1;

use crate::{
    app::App,
    error::{CliError, Exit},
    follow::{Followed, Show, follow},
    reference, render,
    submission::Started,
};

/// The exit code that stands for a run's state; a run that goes on is no failure.
pub(crate) fn exit_of(run: &v1::Run) -> Exit {
    match render::run_state(run) {
        RunState::Failed => Exit::RunFailed,
        RunState::Cancelled => Exit::Cancelled,
        RunState::Queued | RunState::Running | RunState::Cancelling | RunState::Succeeded => {
            Exit::Ok
        }
    }
}

/// Prints how a run is called, for a caller that does not follow it.
pub(crate) fn submitted(app: &mut App<'_>, run: &v1::Run) -> Result<Exit, CliError> {
    if app.json {
        app.print_json(&serde_json::json!({ "run_id": run.run_id, "name": run.name }))?;
    } else {
        writeln!(app.out, "{}", render::clean(&run.name))?;
        writeln!(app.err, "follow it with: windlass logs -f {}", render::clean(&run.name))?;
    }
    Ok(Exit::Ok)
}

/// Follows a run and ends as it does.
pub(crate) async fn to_the_end(app: &mut App<'_>, started: Started) -> Result<Exit, CliError> {
    let Started { link, run } = started;
    let show = match app.json {
        true => Show::Nothing,
        false if app.config.stderr.terminal => Show::Progress,
        false => Show::Lines,
    };
    if show == Show::Lines {
        writeln!(app.err, "windlass: run {}", render::clean(&run.name))?;
    }
    let run = match Box::pin(follow(app, &link, run, show)).await? {
        Followed::Left(exit) => return Ok(exit),
        Followed::Ended(run) => run,
    };
    let (paint, now) = (app.err_paint(), jiff::Timestamp::now());
    match show {
        Show::Nothing => {
            let run = reference::run(&link, &run.run_id).await?;
            app.print_json(&render::run_json(&run, true))?;
        }
        Show::Progress => {
            let run = reference::run(&link, &run.run_id).await?;
            write!(app.err, "{}", render::summary(&run, paint, now))?;
        }
        Show::Lines => {
            let state = render::run_state(&run).word();
            let time = render::run_time(&run, now).map(render::duration).unwrap_or_default();
            write!(app.err, "{}", render::failure(&run, paint))?;
            writeln!(app.err, "windlass: {} {state} in {time}", render::clean(&run.name))?;
        }
    }
    Ok(exit_of(&run))
}
