//! Makes runs: what `run`, `submit`, `exec` and `rerun` have in common before a run exists.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use prost::bytes::Bytes;
use uuid::Uuid;
use windlass_proto::api::v1::{self, NamedText, ParamValues};

use crate::{
    config::Config,
    connect::{Link, insist},
    error::CliError,
    project::Project,
    settings::Settings,
    snapshot,
};

/// Prefix of the variables that set parameters.
const PARAM_VARIABLE: &str = "WINDLASS_PARAM_";

/// Where parameters come from.
#[derive(clap::Args, Default)]
pub(crate) struct Parameters {
    /// Set a parameter, an argument, or (`FUNCTION.ARGUMENT=…`) an argument of a call inside; JSON, else text
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    values: Vec<String>,
    /// Take parameters from a YAML or JSON file; the last one wins
    #[arg(long = "params", value_name = "FILE")]
    files: Vec<PathBuf>,
}

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
}

/// Options of every new run.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) parameters: Parameters,
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
    let settings = Settings::load(config, &project.root)?;
    if let Some(profile) = &options.profile {
        settings.check_profile(profile)?;
    }
    let params = options.parameters.read(config)?;
    let labels = options.description.labels()?;
    let (taken, link) = upload(config, project, &settings).await?;
    let request = v1::CreateRunRequest {
        request_id: Uuid::now_v7().to_string(),
        source: Some(taken.source),
        params: Some(params),
        labels,
        name: options.description.name.clone().unwrap_or_default(),
        note: options.description.note.clone().unwrap_or_default(),
        git: taken.git,
        environment: environment(config),
        user: config.user(),
        host: config.host(),
        ..Default::default()
    };
    let create = || {
        let (mut runs, request) = (link.runs(), request.clone());
        async move { runs.create_run(request).await }
    };
    let created = insist(&link, create).await?;
    Ok(Started { run: created_run(created.run)?, link })
}

/// Creates a run of an old run's snapshot.
pub(crate) async fn again(
    config: &Config,
    old: &str,
    parameters: &Parameters,
    description: &Description,
) -> Result<Started, CliError> {
    let mut params = parameters.read(config)?;
    params.env.clear();
    let labels = description.labels()?;
    let link = Link::open(config).await?;
    let request = v1::RerunRunRequest {
        request_id: Uuid::now_v7().to_string(),
        run: old.to_owned(),
        params: Some(params),
        environment: environment(config),
        name: description.name.clone().unwrap_or_default(),
        note: description.note.clone().unwrap_or_default(),
        labels,
        user: config.user(),
        host: config.host(),
        ..Default::default()
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
    let take = Box::pin(snapshot::take(config, project, settings));
    let (taken, link) = tokio::join!(take, Link::open(config));
    let (taken, link) = (taken?, link?);
    taken.upload(config, &link).await?;
    Ok((taken, link))
}

impl Parameters {
    /// Everything that sets parameters: options, environment, files.
    pub(crate) fn read(&self, config: &Config) -> Result<ParamValues, CliError> {
        let cli = self.values.iter().map(|text| pair(text, "-p")).collect::<Result<_, _>>()?;
        let text = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
            let name = name.to_str()?.strip_prefix(PARAM_VARIABLE)?.to_owned();
            Some(NamedText { name, text: value.to_str()?.to_owned() })
        };
        let env = config.env.iter().filter_map(text).collect();
        let files = self.files.iter().map(|file| read_file(&config.cwd, file));
        Ok(ParamValues { cli, env, files: files.collect::<Result<_, _>>()?, strict: false })
    }
}

impl Description {
    fn labels(&self) -> Result<HashMap<String, String>, CliError> {
        let label = |text: &String| pair(text, "--label").map(|label| (label.name, label.text));
        self.labels.iter().map(label).collect()
    }
}

/// Reads `NAME=VALUE`.
pub(crate) fn pair(text: &str, option: &str) -> Result<NamedText, CliError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(NamedText { name: name.trim().to_owned(), text: value.to_owned() })
        }
        _ => Err(CliError::refused(format!("{option} {text}: write {option} NAME=VALUE"))),
    }
}

fn read_file(cwd: &Path, path: &Path) -> Result<NamedText, CliError> {
    let name = path.display().to_string();
    match fs::read_to_string(cwd.join(path)) {
        Ok(text) => Ok(NamedText { name, text }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(CliError::refused(format!("no file {name}")))
        }
        Err(error) => Err(CliError::refused(format!("cannot read {name}: {error}"))),
    }
}

/// The caller's environment variables; a name that is no text cannot be passed on.
fn environment(config: &Config) -> HashMap<String, Bytes> {
    let text = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
        Some((name.to_str()?.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
    };
    config.env.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        let found = pair("a.b=c=d", "-p").unwrap();
        assert_eq!((found.name.as_str(), found.text.as_str()), ("a.b", "c=d"));
        assert_eq!(pair("a=", "-p").unwrap().text, "");
        assert!(pair("a", "-p").is_err() && pair("=1", "-p").is_err());
    }
}
