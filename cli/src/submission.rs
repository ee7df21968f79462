//! Makes runs: what `run`, `submit`, `exec` and `rerun` have in common before a run exists.

mod parameters;
mod substitution;
mod sweep;

use std::{collections::HashMap, os::unix::ffi::OsStrExt};

use prost::bytes::Bytes;
use uuid::Uuid;
use windlass_proto::api::v1;

use parameters::check_given;
pub(crate) use parameters::{PARAM_VARIABLE, Parameters, pair};
pub(crate) use substitution::Substitution;
pub(crate) use sweep::{Combination, GROUP, Sweep};

use crate::{
    config::Config,
    connect::{Link, insist},
    error::CliError,
    interpreter::{self, Wanted},
    project::Project,
    secrets::{self, Secrets},
    settings::Settings,
    snapshot,
};

/// How a new run is described.
#[derive(clap::Args, Default)]
pub(crate) struct Description {
    /// Name the run; otherwise it gets a readable name
    #[arg(long)]
    name: Option<String>,
    /// Attach a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Attach a note
    #[arg(long)]
    note: Option<String>,
    /// Serve the run before those of a lower number, where something has to wait
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
}

/// Options of every new run.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    #[command(flatten)]
    pub(crate) substitution: Substitution,
    #[command(flatten)]
    pub(crate) description: Description,
    /// Run with this profile instead of as local processes
    #[arg(long = "on", value_name = "PROFILE")]
    profile: Option<String>,
}

/// A run that exists, and the way to its daemon.
pub(crate) struct Started {
    pub(crate) link: Link,
    pub(crate) run: v1::Run,
}

/// Takes the snapshot, brings it to the daemon and creates the run.
pub(crate) async fn start(
    config: &Config,
    project: &Project,
    options: &Options,
) -> Result<Started, CliError> {
    let (link, request) = Box::pin(prepare(config, project, options)).await?;
    let run = create(&link, request).await?;
    Ok(Started { run, link })
}

/// Does everything that comes before the run is created.
pub(crate) async fn prepare(
    config: &Config,
    project: &Project,
    options: &Options,
) -> Result<(Link, v1::CreateRunRequest), CliError> {
    let settings = Settings::load(config, &project.root)?;
    if let Some(profile) = &options.profile {
        settings.check_profile(profile)?;
    }
    let mut params = options.parameters.read(config)?;
    let substitutes = options.substitution.read(config)?;
    let mut project = project.clone();
    if substitutes.is_some() {
        // Steps that are mocked need no interpreter; those that are not will tell.
        project.python = Wanted::None;
    }
    let given = params.files.iter().chain(substitutes.iter().flat_map(|s| &s.mocks));
    check_given(given)?;
    let labels = options.description.labels()?;
    let (taken, link) = upload(config, &project, &settings).await?;
    let secrets = match secrets::asked(&link, &project, &taken.source).await? {
        Some(asked) => secrets::find(config, &project.root, &asked, &mut params).await?,
        None => Secrets::default(),
    };
    let request = v1::CreateRunRequest {
        request_id: Uuid::now_v7().to_string(),
        source: Some(taken.source),
        params: Some(params),
        labels,
        name: options.description.name.clone().unwrap_or_default(),
        note: options.description.note.clone().unwrap_or_default(),
        git: taken.git,
        environment: environment(config, &secrets),
        user: config.user(),
        host: config.host(),
        substitutes,
        priority: options.description.priority,
        secrets: secrets.values,
    };
    Ok((link, request))
}

/// Creates a run.
pub(crate) async fn create(
    link: &Link,
    request: v1::CreateRunRequest,
) -> Result<v1::Run, CliError> {
    let create = || {
        let (mut runs, request) = (link.runs(), request.clone());
        async move { runs.create_run(request).await }
    };
    created_run(insist(link, create).await?.run)
}

/// Creates a run of an old run's snapshot.
pub(crate) async fn again(
    config: &Config,
    old: &str,
    parameters: &Parameters,
    description: &Description,
) -> Result<Started, CliError> {
    let mut params = parameters.read(config)?;
    check_given(&params.files)?;
    let labels = description.labels()?;
    let link = Link::open(config).await?;
    let secrets = match secrets::asked_again(&link, old).await? {
        Some(asked) => {
            let root = crate::project::root_above(&config.cwd);
            secrets::find(config, root, &asked, &mut params).await?
        }
        None => Secrets::default(),
    };
    params.env.clear();
    let request = v1::RerunRunRequest {
        request_id: Uuid::now_v7().to_string(),
        run: old.to_owned(),
        params: Some(params),
        environment: environment(config, &secrets),
        name: description.name.clone().unwrap_or_default(),
        note: description.note.clone().unwrap_or_default(),
        labels,
        user: config.user(),
        host: config.host(),
        priority: description.priority,
        secrets: secrets.values,
    };
    let rerun = || {
        let (mut runs, request) = (link.runs(), request.clone());
        async move { runs.rerun_run(request).await }
    };
    let created = insist(&link, rerun).await?;
    Ok(Started { run: created_run(created.run)?, link })
}

fn created_run(run: Option<v1::Run>) -> Result<v1::Run, CliError> {
    run.ok_or_else(|| CliError::Unreachable("the daemon answered without a run".into()))
}

/// Takes the snapshot of a project while the daemon is found, then brings it there.
pub(crate) async fn upload(
    config: &Config,
    project: &Project,
    settings: &Settings,
) -> Result<(snapshot::Taken, Link), CliError> {
    interpreter::check(config, project)?;
    let take = Box::pin(snapshot::take(config, project, settings));
    let (taken, link) = tokio::join!(take, Link::open(config));
    let (taken, link) = (taken?, link?);
    let taken = Box::pin(taken.bring(config, (project, settings), &link)).await?;
    Ok((taken, link))
}

impl Description {
    fn labels(&self) -> Result<HashMap<String, String>, CliError> {
        let label = |text: &String| pair(text, "--label").map(|label| (label.name, label.text));
        self.labels.iter().map(label).collect()
    }
}

/// The caller's environment variables, without those that hold declared secrets: steps get these
/// by naming them. A name that is no text cannot be passed on.
fn environment(config: &Config, secrets: &Secrets) -> HashMap<String, Bytes> {
    let text = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
        let name = name.to_str().filter(|name| !secrets.variables.contains(*name))?;
        Some((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
    };
    config.env.iter().filter_map(text).collect()
}
