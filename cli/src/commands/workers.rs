use std::collections::HashMap;

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
    let heads = ["WORKER", "STATE", "RUNNING", "USED", "EXECUTORS", "HOST", "VERSION", "SEEN"];
    table.push(heads.iter().map(|head| Cell::new(Tint::Faint, head)).collect());
    for worker in workers {
        let state = worker.state();
        let tint = if state == v1::worker::State::Active { Tint::Good } else { Tint::Odd };
        let state = state.as_str_name().trim_start_matches("STATE_").to_lowercase();
        let seen = worker.last_heartbeat_time.as_ref().and_then(render::instant);
        table.push(vec![
            Cell::new(Tint::Name, &worker.worker),
            Cell::new(tint, state),
            Cell::plain(worker.running_attempts.to_string()).right(),
            Cell::plain(used(worker)),
            Cell::plain(worker.executors.join(" ")),
            Cell::plain(&worker.hostname),
            Cell::plain(&worker.version),
            Cell::plain(seen.map_or_else(String::new, |time| render::ago(time, app.config.now))),
        ]);
    }
    let text = table.render(app.paint(), usize::MAX);
    Ok(write!(app.out, "{text}").map(|()| Exit::Ok)?)
}

/// What is used of each thing that the worker has: `slots 1/4  cpu 1/4  memory 1.0/31.2 GiB`.
fn used(worker: &v1::Worker) -> String {
    let mut names: Vec<&String> = worker.capacity.keys().collect();
    let standard = ["slots", "cpu", "memory", "gpu"];
    let place = |name: &String| standard.iter().position(|known| known == name);
    names.sort_by_key(|name| (place(name).unwrap_or(standard.len()), *name));
    let one = |name: &String| {
        let amount = |of: &HashMap<String, i64>| of.get(name).copied().unwrap_or(0);
        let (used, all) = (amount(&worker.used), amount(&worker.capacity));
        match name.as_str() {
            "cpu" => format!("cpu {}/{}", thousandths(used), thousandths(all)),
            "memory" => {
                let bytes = |amount| render::bytes(u64::try_from(amount).unwrap_or(0));
                format!("memory {}/{}", bytes(used), bytes(all))
            }
            name => format!("{name} {used}/{all}"),
        }
    };
    names.into_iter().map(one).collect::<Vec<_>>().join("  ")
}

/// Cores of thousandths of a core, without zeros at the end.
fn thousandths(amount: i64) -> String {
    match (amount / 1_000, amount % 1_000) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{rest:03}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stands_beside_what_there_is() {
        let amounts = |amounts: &[(&str, i64)]| {
            amounts.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
        };
        let capacity = amounts(&[("tape", 1), ("cpu", 4_000), ("slots", 4), ("memory", 4 << 30)]);
        let taken = amounts(&[("cpu", 1_500), ("slots", 2), ("memory", 1 << 30)]);
        let worker = v1::Worker { capacity, used: taken, ..v1::Worker::default() };
        let told = used(&worker);
        assert!(told.starts_with("slots 2/4  cpu 1.5/4  memory 1"), "{told}");
        assert!(told.ends_with("  tape 0/1"), "{told}");
    }
}
