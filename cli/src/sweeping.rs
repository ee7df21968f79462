//! Runs a pipeline once for each combination of swept parameters.

use serde_json::json;
use uuid::Uuid;
use windlass_core::RunState;
use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::Link,
    ending,
    error::{CliError, Exit},
    follow::{Group, GroupFollowed, follow_group},
    project::Project,
    reference, render,
    submission::{self, Combination, GROUP, Options, Sweep},
};

/// The runs of a sweep, created in order.
pub(crate) struct Swept {
    link: Link,
    group: Group,
}

/// Creates the runs of a sweep.
pub(crate) async fn start(
    app: &mut App<'_>,
    project: &Project,
    options: &Options,
    sweep: &Sweep,
) -> Result<Swept, CliError> {
    // Mistakes of the sweep itself are told before anything is uploaded.
    let given = options.parameters.cli()?;
    let combinations = sweep.combinations(&given)?;
    let (link, base) = Box::pin(submission::prepare(app.config, project, options)).await?;
    let label = (GROUP.to_owned(), sweep.group());
    let mut group = Group { label, runs: Vec::new(), marks: Vec::new() };
    let total = combinations.len();
    for (at, combination) in combinations.into_iter().enumerate() {
        group.marks.push(mark(&combination));
        let request = request(&base, combination, &group.label, at);
        let created = submission::create(&link, request).await;
        if created.is_err() && at > 0 {
            let name = &group.label.1;
            writeln!(
                app.err,
                "windlass: {at} of {total} runs were made before this; \
                 list them with: windlass ls --label {GROUP}={name}"
            )?;
        }
        group.runs.push(created?);
    }
    Ok(Swept { link, group })
}

/// The request for one run of a sweep; a name that the user chose gets the run's number.
fn request(
    base: &v1::CreateRunRequest,
    combination: Combination,
    (label, group): &(String, String),
    at: usize,
) -> v1::CreateRunRequest {
    let mut request =
        v1::CreateRunRequest { request_id: Uuid::now_v7().to_string(), ..base.clone() };
    let params = request.params.get_or_insert_default();
    // What is a secret has been taken out of the values already, and must stay out.
    let known = |given: &v1::NamedText| params.cli.iter().any(|known| known.name == given.name);
    params.cli = combination.cli.into_iter().filter(known).collect();
    request.labels.insert(label.clone(), group.clone());
    if !request.name.is_empty() {
        request.name = format!("{}-{}", request.name, at + 1);
    }
    request
}

fn mark(combination: &Combination) -> String {
    let one = |given: &v1::NamedText| format!("{}={}", given.name, render::shown(&given.text));
    combination.swept.iter().map(one).collect::<Vec<_>>().join("  ")
}

impl Swept {
    /// Prints how the runs are called, for a caller that does not follow them.
    pub(crate) fn submitted(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let Group { label, runs, marks } = self.group;
        if app.json {
            let entry = |run: &v1::Run| json!({ "run_id": run.run_id, "name": run.name });
            app.print_json(&runs.iter().map(entry).collect())?;
            return Ok(Exit::Ok);
        }
        for run in &runs {
            writeln!(app.out, "{}", render::clean(&run.name))?;
        }
        let count = render::plural(marks.len(), "run");
        let group = render::clean(&label.1);
        writeln!(app.err, "{count}; list them with: windlass ls --label {GROUP}={group}")?;
        Ok(Exit::Ok)
    }

    /// Follows the runs; ends as the worst of them, and with a ranking where they have a metric.
    pub(crate) async fn follow(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let Self { link, group } = self;
        let name = group.label.1.clone();
        if !app.json {
            let count = render::plural(group.runs.len(), "run");
            writeln!(app.err, "windlass: {count} of group {}", render::clean(&name))?;
        }
        let runs = match Box::pin(follow_group(app, &link, group)).await? {
            GroupFollowed::Left(exit) => return Ok(exit),
            GroupFollowed::Ended(runs) => runs,
        };
        if app.json {
            let mut whole = Vec::with_capacity(runs.len());
            for run in &runs {
                let run = reference::run(&link, &run.run_id).await?;
                whole.push(render::run_json(&run, true));
            }
            app.print_json(&whole.into())?;
        } else {
            let count = |wanted: RunState| {
                runs.iter().filter(|run| render::run_state(run) == wanted).count()
            };
            let of = |state: RunState| match count(state) {
                0 => None,
                count => Some(format!("{count} {}", state.word())),
            };
            let states = [RunState::Succeeded, RunState::Failed, RunState::Cancelled];
            let counts: Vec<_> = states.into_iter().filter_map(of).collect();
            writeln!(app.err, "windlass: {}", counts.join(", "))?;
            rank(app, runs.clone(), &name)?;
        }
        let exits = runs.iter().map(ending::exit_of);
        Ok(exits.max_by_key(|exit| badness(*exit)).unwrap_or(Exit::Ok))
    }
}

/// A failed run counts more than a cancelled one.
fn badness(exit: Exit) -> u8 {
    match exit {
        Exit::Ok => 0,
        Exit::RunFailed => 2,
        _ => 1,
    }
}

/// Prints the succeeded runs by the first metric that they all have, the highest first.
fn rank(app: &mut App<'_>, mut runs: Vec<v1::Run>, group: &str) -> Result<(), CliError> {
    runs.retain(|run| render::run_state(run) == RunState::Succeeded && !run.substituted);
    let Some(first) = runs.first() else { return Ok(()) };
    let shared = |name: &&String| runs.iter().all(|run| run.metrics.contains_key(*name));
    let Some(metric) = first.metrics.keys().filter(shared).min().cloned() else { return Ok(()) };
    let value = |run: &v1::Run| run.metrics.get(&metric).copied().unwrap_or(f64::NAN);
    // What is no number comes last.
    let key = |run: &v1::Run| Some(value(run)).filter(|v| !v.is_nan()).unwrap_or(f64::NEG_INFINITY);
    runs.sort_by(|a, b| key(b).total_cmp(&key(a)));
    let look = app.look();
    write!(app.out, "{}", render::ranking(&runs, &metric, &look))?;
    let (metric, group) = (render::clean(&metric), render::clean(group));
    writeln!(
        app.err,
        "again, or by another metric: windlass best --metric {metric} --group {group}"
    )?;
    Ok(())
}
