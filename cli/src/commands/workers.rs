use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, answer},
    error::{CliError, Exit},
    render::{self, Cell, Columns, Tint},
};

/// List and control workers
#[derive(clap::Args)]
pub(crate) struct Workers {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List workers
    Ls,
    /// Give a worker no more work; what runs goes on
    Drain { worker: String },
    /// Give a drained worker work again
    Resume { worker: String },
}

impl Workers {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let mut fleet = link.fleet();
        let changed = match self.verb {
            Verb::Ls => {
                let found = answer(fleet.list_workers(v1::ListWorkersRequest {})).await?.workers;
                return list(app, &found);
            }
            Verb::Drain { worker } => {
                answer(fleet.drain_worker(v1::DrainWorkerRequest { worker })).await?.worker
            }
            Verb::Resume { worker } => {
                answer(fleet.resume_worker(v1::ResumeWorkerRequest { worker })).await?.worker
            }
        };
        list(app, changed.as_slice())
    }
}

fn list(app: &mut App<'_>, workers: &[v1::Worker]) -> Result<Exit, CliError> {
    if app.json {
        app.print_json(&workers.iter().map(render::worker).collect())?;
        return Ok(Exit::Ok);
    }
    let mut table = Columns::new(0, None);
    let heads = ["WORKER", "STATE", "RUNNING", "SLOTS", "EXECUTORS", "HOST", "VERSION", "SEEN"];
    table.push(heads.iter().map(|head| Cell::new(Tint::Faint, head)).collect());
    for worker in workers {
        let state = worker.state();
        let tint = if state == v1::worker::State::Active { Tint::Good } else { Tint::Odd };
        let state = state.as_str_name().trim_start_matches("STATE_").to_lowercase();
        let slots = worker.capacity.get("slots").map_or_else(String::new, i64::to_string);
        let seen = worker.last_heartbeat_time.as_ref().and_then(render::instant);
        table.push(vec![
            Cell::new(Tint::Name, &worker.worker),
            Cell::new(tint, state),
            Cell::plain(worker.running_attempts.to_string()).right(),
            Cell::plain(slots).right(),
            Cell::plain(worker.executors.join(" ")),
            Cell::plain(&worker.hostname),
            Cell::plain(&worker.version),
            Cell::plain(seen.map_or_else(String::new, |time| render::ago(time, app.config.now))),
        ]);
    }
    let text = table.render(app.paint(), usize::MAX);
    Ok(write!(app.out, "{text}").map(|()| Exit::Ok)?)
}
