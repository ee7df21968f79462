//! What the shell completes: names of runs, steps and files, asked of a daemon that is there.

use std::{ffi::OsStr, sync::Arc, time::Duration};

use clap::CommandFactory;
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
};
use tokio::{runtime::Builder, time::timeout};
use windlass_proto::api::v1;

use crate::{
    cli::Cli,
    config::Config,
    connect::{Link, answer},
    project::{Project, root_above},
    reference, render,
    secrets::describe,
    settings::Settings,
    snapshot,
};

/// Variable by which the shell asks.
pub(crate) const VARIABLE: &str = "COMPLETE";

/// How long a completion may take.
const LIMIT: Duration = Duration::from_millis(800);

/// Most steps of a run offered.
const MAX_STEPS: usize = 200;

/// Most runs offered.
const MAX_RUNS: i32 = 50;

/// Answers the shell where it asks; true where it did.
pub(crate) fn answer_shell(config: Arc<Config>) -> bool {
    let args = config.args.clone();
    let cwd = config.cwd.clone();
    let complete = CompleteEnv::with_factory(move || with_completers(&config)).var(VARIABLE);
    // A completion that fails offers nothing, and says nothing into the user's prompt.
    complete.try_complete(args, Some(&cwd)).unwrap_or(true)
}

/// The command line, with a completer at each argument that names something recorded.
fn with_completers(config: &Arc<Config>) -> clap::Command {
    attach(Cli::command(), config)
}

fn attach(mut command: clap::Command, config: &Arc<Config>) -> clap::Command {
    let verbs: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |sub| attach(sub, config));
    }
    command.mut_args(|arg| match kind(arg.get_id().as_str(), &arg) {
        Some(kind) => {
            let config = Arc::clone(config);
            let complete = move |current: &OsStr| candidates(&config, kind, current);
            arg.add(ArgValueCompleter::new(complete))
        }
        None => arg,
    })
}

/// What an argument names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Run,
    RunOrStep,
    Artifact,
    Output,
    Worker,
    Profile,
    /// What `-p` may set.
    Parameter,
}

fn kind(id: &str, arg: &clap::Arg) -> Option<Kind> {
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (id, value) {
        ("run", Some("RUN[/STEP]" | "RUN/STEP")) => Some(Kind::RunOrStep),
        ("run" | "runs", _) => Some(Kind::Run),
        ("path", _) => Some(Kind::Artifact),
        ("name", Some("NAME")) if arg.is_positional() => Some(Kind::Output),
        ("worker", _) => Some(Kind::Worker),
        ("profile", _) => Some(Kind::Profile),
        ("values", Some("NAME=VALUE")) => Some(Kind::Parameter),
        _ => None,
    }
}

fn candidates(config: &Config, kind: Kind, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    if kind == Kind::Profile {
        let mut profiles = profiles(config);
        profiles.retain(|profile| profile.starts_with(&*current));
        return profiles.into_iter().map(CompletionCandidate::new).collect();
    }
    let ask = async {
        let link = Link::existing(config).await.ok()??;
        Some(offered(config, &link, kind, &current).await)
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let offered = runtime.ok().and_then(|runtime| {
        runtime.block_on(async { timeout(LIMIT, Box::pin(ask)).await.ok().flatten() })
    });
    let mut offered = offered.unwrap_or_default();
    offered.retain(|candidate| candidate.get_value().to_string_lossy().starts_with(&*current));
    offered
}

async fn offered(
    config: &Config,
    link: &Link,
    kind: Kind,
    current: &str,
) -> Vec<CompletionCandidate> {
    match kind {
        Kind::RunOrStep if current.contains('/') => {
            let (name, _) = current.split_once('/').unwrap_or((current, ""));
            let run = reference::run(link, name).await.unwrap_or_default();
            let step = |step: &v1::Step| {
                let state = render::step_state(step).word();
                CompletionCandidate::new(format!("{name}/{}", step.step)).help(Some(state.into()))
            };
            let wanted = current.get(name.len() + 1..).unwrap_or_default();
            let fits = |step: &&v1::Step| step.step.starts_with(wanted);
            run.steps.iter().filter(fits).take(MAX_STEPS).map(step).collect()
        }
        Kind::Run | Kind::RunOrStep => runs(link, current).await,
        Kind::Artifact => {
            of_named_run(config, link, |step| {
                step.artifacts.iter().map(|artifact| artifact.path.clone()).collect()
            })
            .await
        }
        Kind::Output => {
            of_named_run(config, link, |step| {
                step.outputs.iter().map(|output| output.name.clone()).collect()
            })
            .await
        }
        Kind::Parameter => parameters(config, link).await.unwrap_or_default(),
        Kind::Profile => Vec::new(),
        Kind::Worker => {
            let found = answer(link.fleet().list_workers(v1::ListWorkersRequest {})).await;
            let workers = found.map(|answer| answer.workers).unwrap_or_default();
            workers.into_iter().map(|worker| CompletionCandidate::new(worker.worker)).collect()
        }
    }
}

/// The profiles of the project that the user stands in.
fn profiles(config: &Config) -> Vec<String> {
    let settings = Settings::load(config, root_above(&config.cwd));
    settings.map(|settings| settings.profile_names()).unwrap_or_default()
}

/// The parameters of the target named earlier on the line, each ready for its value.
async fn parameters(config: &Config, link: &Link) -> Option<Vec<CompletionCandidate>> {
    let is_target = |word: &str| word.ends_with(".yaml") || word.ends_with(".yml");
    let mut words = config.args.iter().filter_map(|word| word.to_str());
    let project = words.find_map(|word| {
        let function = word.contains(':') && !word.starts_with('-') && !word.contains('=');
        (is_target(word) || function).then(|| Project::of_target(config, word).ok()).flatten()
    })?;
    let settings = Settings::load(config, &project.root).ok()?;
    let taken = Box::pin(snapshot::take(config, &project, &settings)).await.ok()?;
    let taken = Box::pin(taken.bring(config, (&project, &settings), link)).await.ok()?;
    let asked = describe(link, taken.source).await.ok()?;
    let offer = |param: &windlass_proto::common::v1::ParamSpec| {
        let help = match (&param.help, &param.default_json) {
            (help, _) if !help.is_empty() => help.clone(),
            (_, Some(default)) => format!("default {default}"),
            _ => param.r#type.clone(),
        };
        let help = render::clean(&help).into_owned();
        CompletionCandidate::new(format!("{}=", param.name)).help(Some(help.into()))
    };
    Some(asked.params.iter().map(offer).collect())
}

async fn runs(link: &Link, current: &str) -> Vec<CompletionCandidate> {
    let request = v1::ListRunsRequest { page_size: MAX_RUNS, ..Default::default() };
    let runs = answer(link.runs().list_runs(request)).await.map(|page| page.runs);
    let mut offered: Vec<_> = if current.starts_with('@') {
        ["@last", "@last-ok", "@-2"].map(CompletionCandidate::new).into()
    } else {
        Vec::new()
    };
    // Ids are offered to who has begun to type one.
    let by_id = current.len() >= 4 && current.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    for run in runs.unwrap_or_default() {
        let help = format!("{} {}", run.pipeline, render::run_state(&run).word());
        let help = Some(render::clean(&help).into_owned().into());
        if by_id {
            offered.push(CompletionCandidate::new(&run.run_id).help(help.clone()));
        }
        offered.push(CompletionCandidate::new(&run.name).help(help));
    }
    offered
}

/// What the run named earlier on the line has, for `artifacts get RUN …` and `outputs get RUN …`.
async fn of_named_run(
    config: &Config,
    link: &Link,
    names: impl Fn(&v1::Step) -> Vec<String>,
) -> Vec<CompletionCandidate> {
    let named = config.args.iter().skip_while(|word| *word != OsStr::new("get")).nth(1);
    let named = named.and_then(|word| word.to_str()).and_then(|word| word.parse().ok());
    let Some(named): Option<reference::Reference> = named else { return Vec::new() };
    let Ok(run) = reference::run(link, &named.run).await else { return Vec::new() };
    let steps = reference::steps(&run, &named).unwrap_or_default();
    let mut names: Vec<_> = steps.into_iter().flat_map(names).collect();
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}
