//! Finds the secrets that a pipeline asks of its caller. Their values go into requests and nowhere
//! else.

mod dotenv;
mod places;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use prost::bytes::Bytes;
use windlass_proto::{
    api::v1::{
        DescribePipelineRequest, DescribePipelineResponse, ParamValues, RunSource,
        run_source::Target,
    },
    common::v1::{PipelineSpec, step_spec::Action},
};

use crate::{
    config::Config,
    connect::{Link, answer},
    error::{CliError, Problem},
    project::Project,
    reference,
    submission::PARAM_VARIABLE,
};

/// Type of a parameter whose value is a secret.
pub(crate) const SECRET: &str = "secret";

/// What was found.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) values: HashMap<String, Bytes>,
    /// Environment variables that hold them.
    pub(crate) variables: BTreeSet<String>,
}

/// What a pipeline asks of its caller, where its file may ask for secrets.
pub(crate) async fn asked(
    link: &Link,
    project: &Project,
    source: &RunSource,
) -> Result<Option<DescribePipelineResponse>, CliError> {
    let Target::PipelineFile(path) = &project.target else { return Ok(None) };
    // A file that cannot be read any more is the daemon's to complain about: it has the snapshot.
    let text = fs::read_to_string(project.root.join(path)).unwrap_or_default();
    if !may_ask(&text) {
        return Ok(None);
    }
    describe(link, source.clone()).await.map(Some)
}

/// What the pipeline of an old run asks, where it may ask for secrets.
pub(crate) async fn asked_again(
    link: &Link,
    old: &str,
) -> Result<Option<DescribePipelineResponse>, CliError> {
    let run = reference::run_alone(link, old).await?;
    let Some(spec) = run.spec.filter(spec_may_ask) else { return Ok(None) };
    let target = Some(Target::Spec(spec));
    let source = RunSource { target, snapshot: run.snapshot, left_out: String::new() };
    describe(link, source).await.map(Some)
}

/// Asks the daemon what a pipeline asks of its caller.
pub(crate) async fn describe(
    link: &Link,
    source: RunSource,
) -> Result<DescribePipelineResponse, CliError> {
    let request = DescribePipelineRequest { source: Some(source), module: String::new() };
    answer(link.runs().describe_pipeline(request)).await
}

/// True where the text of a pipeline file may declare a secret or name another pipeline. True too
/// often costs a call, false too often a secret.
fn may_ask(text: &str) -> bool {
    let key = |rest: &str| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':');
    text.contains(SECRET) || text.split("pipeline").skip(1).any(key)
}

fn spec_may_ask(spec: &PipelineSpec) -> bool {
    !spec.secrets.is_empty()
        || spec.params.iter().any(|param| param.r#type == SECRET)
        || spec.steps.iter().any(|step| matches!(step.action, Some(Action::Pipeline(_))))
}

/// Finds every secret that is asked for. Values of secret parameters are taken out of `params`.
pub(crate) async fn find(
    config: &Config,
    root: &Path,
    asked: &DescribePipelineResponse,
    params: &mut ParamValues,
) -> Result<Secrets, CliError> {
    let mut found = Secrets::default();
    let mut missing = Vec::new();
    for secret in &asked.secrets {
        match Box::pin(places::look(config, root, secret)).await {
            Ok(value) => drop(found.values.insert(secret.name.clone(), value)),
            Err(problem) => missing.push(problem),
        }
        found.variables.extend(places::variable(secret).map(ToOwned::to_owned));
    }
    let given = take_parameters(asked, params, &mut missing);
    found.variables.extend(given.keys().map(|name| format!("{PARAM_VARIABLE}{name}")));
    found.values.extend(given);
    if missing.is_empty() { Ok(found) } else { Err(CliError::Refused(missing)) }
}

/// Takes the values of secret parameters out of those that a record will hold.
pub(crate) fn take_parameters(
    asked: &DescribePipelineResponse,
    params: &mut ParamValues,
    wrong: &mut Vec<Problem>,
) -> HashMap<String, Bytes> {
    let mut found = HashMap::new();
    for spec in asked.params.iter().filter(|spec| spec.r#type == SECRET) {
        let of = |given: &[windlass_proto::api::v1::NamedText]| {
            given.iter().rev().find(|given| given.name == spec.name).map(|given| text(&given.text))
        };
        let (cli, env) = (of(&params.cli), of(&params.env));
        if params.strict && cli.is_some() && env.is_some() && cli != env {
            wrong.push(Problem {
                message: format!("-p and the environment give `{}` differently", spec.name),
                help: format!("unset {PARAM_VARIABLE}{}, or leave out --strict", spec.name),
                ..Problem::default()
            });
        }
        if let Some(value) = cli.or(env) {
            found.insert(spec.name.clone(), Bytes::from(value));
        }
        params.cli.retain(|given| given.name != spec.name);
        params.env.retain(|given| given.name != spec.name);
    }
    found
}

/// A given value as text: the content of a JSON text, else what was written.
fn text(given: &str) -> String {
    serde_json::from_str::<String>(given).unwrap_or_else(|_| given.to_owned())
}

#[cfg(test)]
mod tests {
    use windlass_proto::{
        api::v1::{DescribePipelineResponse, NamedText, ParamValues},
        common::v1::ParamSpec,
    };

    use super::{may_ask, take_parameters};

    #[test]
    fn files_that_may_ask_for_secrets_are_known_by_their_text() {
        for text in [
            "secrets: [KEY]",
            "params: {token: {type: secret}}",
            "steps: {a: {pipeline: b.yaml}}",
            "{\"steps\": {\"a\": {\"pipeline\" : \"b.yaml\"}}}",
        ] {
            assert!(may_ask(text), "{text}");
        }
        assert!(!may_ask("# my pipeline\nversion: 1\nsteps: {a: {run: 'true'}}\n"));
    }

    #[test]
    fn secret_parameters_leave_the_others() {
        let named = |name: &str, text: &str| NamedText { name: name.into(), text: text.into() };
        let spec = |name: &str, kind: &str| ParamSpec {
            name: name.into(),
            r#type: kind.into(),
            ..ParamSpec::default()
        };
        let asked = DescribePipelineResponse {
            params: vec![spec("token", "secret"), spec("n", "int"), spec("other", "secret")],
            ..Default::default()
        };
        let mut params = ParamValues {
            cli: vec![named("token", "\"123\""), named("n", "4")],
            env: vec![named("token", "old"), named("other", "pass word")],
            files: vec![],
            strict: true,
        };
        let mut wrong = Vec::new();
        let found = take_parameters(&asked, &mut params, &mut wrong);
        assert_eq!((&found["token"][..], &found["other"][..]), (&b"123"[..], &b"pass word"[..]));
        assert_eq!((params.cli, params.env), (vec![named("n", "4")], vec![]));
        assert_eq!(wrong[0].message, "-p and the environment give `token` differently");
        assert!(!format!("{wrong:?}").contains("123"));
    }
}
