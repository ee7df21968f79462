//! From what the file says to the spec.
mod flow;
mod outputs;
mod param;
mod step;

use windlass_proto::common::v1::{
    ConcurrencySpec, EnvironmentSpec, PipelineSpec, SecretSpec, concurrency_spec::WhenFull,
    environment_spec::Kind as Env, secret_spec::From,
};

use super::{
    forms::SecretFile,
    types::{
        ConcurrencyFile, EnvironmentFile, PipelineFile, SecretFields, SecretFromFile, WhenFullFile,
    },
    units::Span,
};
use crate::compile::{report::Report, yaml::Tree};

/// Makes the spec; `stem` names a pipeline that has no name.
pub(super) fn spec(
    file: PipelineFile,
    stem: &str,
    report: &mut Report<'_>,
    tree: &Tree,
) -> PipelineSpec {
    let params = file.params.unwrap_or_default().0;
    let secrets = file.secrets.into_iter().flatten().enumerate();
    let secrets = secrets.map(|(i, secret)| secret_spec(i, secret, report, tree)).collect();
    let steps = file.steps.0.into_iter();
    PipelineSpec {
        name: file.name.unwrap_or_else(|| stem.to_owned()),
        params: params.into_iter().map(|(name, param)| param::spec(name, param)).collect(),
        environment: file.env.and_then(|env| environment(env, report, tree)),
        files: file.files.unwrap_or_default(),
        graph_order: file.order.is_some(),
        steps: steps.map(|(name, step)| step::spec(name, step, report, tree)).collect(),
        concurrency: file.concurrency.map(concurrency),
        secrets,
        timeout: file.timeout.map(duration),
    }
}

fn concurrency(file: ConcurrencyFile) -> ConcurrencySpec {
    let when_full = match file.when_full {
        None | Some(WhenFullFile::Queue) => WhenFull::Queue,
        Some(WhenFullFile::Refuse) => WhenFull::Refuse,
        Some(WhenFullFile::CancelOldest) => WhenFull::CancelOldest,
    };
    ConcurrencySpec {
        key: file.key.unwrap_or_default(),
        limit: file.limit.unwrap_or(1),
        when_full: when_full.into(),
    }
}

fn secret_spec(i: usize, file: SecretFile, report: &mut Report<'_>, tree: &Tree) -> SecretSpec {
    let SecretFields { name, from } = match file {
        SecretFile::Name(name) => SecretFields { name, from: None },
        SecretFile::Fields(fields) => fields,
    };
    let Some(SecretFromFile { env, dotenv, file, command }) = from else {
        return SecretSpec { name, from: None };
    };
    let kinds = [
        env.map(From::Env),
        dotenv.map(From::Dotenv),
        file.map(From::File),
        command.map(From::Command),
    ];
    let mut kinds: Vec<From> = kinds.into_iter().flatten().collect();
    if kinds.len() != 1 {
        let item = tree.entry("secrets").and_then(|secrets| secrets.value.item(i));
        let place = item.and_then(|item| item.entry("from")).map(|from| from.place);
        let message = format!("`from` says where secret `{name}` is found by one key");
        let help = "keep one of `env`, `dotenv`, `file` and `command`";
        report.at(place.unwrap_or_default(), message, help);
    }
    SecretSpec { name, from: kinds.pop() }
}

fn environment(
    env: EnvironmentFile,
    report: &mut Report<'_>,
    tree: &Tree,
) -> Option<EnvironmentSpec> {
    let EnvironmentFile { requirements, uv, python } = env;
    let mut kinds = [requirements.map(Env::Requirements), uv.map(Env::Uv), python.map(Env::Python)]
        .into_iter()
        .flatten();
    let kind = kinds.next()?;
    if kinds.next().is_some() {
        let place = tree.entry("env").map(|entry| entry.place).unwrap_or_default();
        report.at(
            place,
            "`env` says more than one of `requirements`, `uv` and `python`",
            "keep one",
        );
    }
    Some(EnvironmentSpec { kind: Some(kind) })
}

/// A time as the API has it.
fn duration(span: Span) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.0.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.0.subsec_nanos()).unwrap_or_default(),
    }
}
