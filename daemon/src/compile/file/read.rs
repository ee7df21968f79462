use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use windlass_core::{Json, Kind};
use windlass_proto::common::v1::{
    CommandAction, EnvironmentSpec, MetricPick, OutputSpec, ParamSpec, PipelineSpec, PythonAction,
    ResourceSpec, RetrySpec, ShellAction, StepNames, StepSpec, StubAction,
    environment_spec::Kind as Env, retry_spec::On, step_spec::Action,
};

use super::{
    explain,
    forms::{MetricsFile, OutFile, ParamFile, PickFile, RunFile},
    types::{
        CodecFile, EnvironmentFile, KindFile, ParamFields, PickFields, PipelineFile, RetryFile,
        RetryOnFile, StepFile,
    },
    units::Span,
};
use crate::compile::{
    report::{MAX_ERRORS, Report},
    yaml::{Fault, Node, Place, Reader, Skips, Tree},
};

/// Growth of the wait between tries where the file does not say it.
const DEFAULT_FACTOR: f64 = 2.0;

/// Reads the file's tree as far as it can be read; what cannot goes into `report` and is left out.
pub(in crate::compile) fn read(
    tree: &Tree,
    stem: &str,
    report: &mut Report<'_>,
) -> Option<PipelineSpec> {
    let mut skips = Skips::new();
    report_doubles(tree, &mut skips, report);
    let file = loop {
        let fault = match PipelineFile::deserialize(Reader { tree, skips: &skips }) {
            Ok(file) => break file,
            Err(fault) => fault,
        };
        report_fault(&fault, report);
        let more = fault.within().is_some_and(|place| skips.insert(place));
        if !more || report.is_full() {
            return None;
        }
    };
    if !skips.is_empty() {
        for step in tree.entry("steps").map_or(&[][..], |steps| steps.value.entries()) {
            if has_any(&skips, step.place, &step.value) {
                report.taint(&step.key);
            }
        }
    }
    if file.version != 1 {
        let place = tree.entry("version").map(|entry| entry.value.place).unwrap_or_default();
        let message = format!("version {} of the file is not known", file.version);
        report.at(place, message, "this Windlass reads `version: 1`");
    }
    Some(spec(file, stem, report, tree))
}

/// True where something at that place or below it was left out.
fn has_any(skips: &Skips, place: Place, tree: &Tree) -> bool {
    let below = match &tree.node {
        Node::List(items) => items.iter().any(|item| has_any(skips, item.place, item)),
        Node::Map(entries) => entries.iter().any(|e| has_any(skips, e.place, &e.value)),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Str(_) => false,
    };
    below || skips.contains(&place)
}

fn report_fault(fault: &Fault, report: &mut Report<'_>) {
    let (message, help) = explain(fault);
    // Empty where it only follows from what was left out before.
    if !message.is_empty() {
        report.at(fault.place(), message, help);
    }
}

/// Reports keys that stand twice in one mapping, and leaves out the later ones.
fn report_doubles(tree: &Tree, skips: &mut Skips, report: &mut Report<'_>) {
    if let Node::List(items) = &tree.node {
        for item in items {
            report_doubles(item, skips, report);
        }
    }
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    for entry in tree.entries() {
        if let Some(place) = first.get(entry.key.as_str()) {
            let message = format!("duplicate key `{}`", entry.key);
            report.at(entry.place, message, format!("it stands on line {} already", place.line));
            if skips.len() < MAX_ERRORS {
                skips.insert(entry.place);
            }
        } else {
            first.insert(&entry.key, entry.place);
        }
        report_doubles(&entry.value, skips, report);
    }
}

fn spec(file: PipelineFile, stem: &str, report: &mut Report<'_>, tree: &Tree) -> PipelineSpec {
    let params = file.params.unwrap_or_default().0;
    PipelineSpec {
        name: file.name.unwrap_or_else(|| stem.to_owned()),
        params: params.into_iter().map(|(name, param)| param_spec(name, param)).collect(),
        environment: file.env.and_then(|env| environment(env, report, tree)),
        files: file.files.unwrap_or_default(),
        graph_order: file.order.is_some(),
        steps: file
            .steps
            .0
            .into_iter()
            .map(|(name, step)| step_spec(name, step, report, tree))
            .collect(),
        ..PipelineSpec::default()
    }
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

fn param_spec(name: String, param: ParamFile) -> ParamSpec {
    let json = |value: Value| Json::from(value);
    match param {
        ParamFile::Default(value) => {
            let default = json(value);
            let kind = Kind::of(&default).word().to_owned();
            ParamSpec {
                name,
                r#type: kind,
                default_json: Some(default.text().into()),
                ..ParamSpec::default()
            }
        }
        ParamFile::Fields(ParamFields { kind, default, min, max, choices, help }) => {
            let default = default.map(json);
            let implied = || default.as_ref().map_or(Kind::Any, Kind::of);
            let kind = kind.map_or_else(implied, |kind| match kind {
                KindFile::Int => Kind::Int,
                KindFile::Float => Kind::Float,
                KindFile::Str => Kind::Str,
                KindFile::Bool => Kind::Bool,
                KindFile::List => Kind::List,
                KindFile::Map => Kind::Map,
            });
            ParamSpec {
                name,
                r#type: kind.word().to_owned(),
                default_json: default.map(|default| default.text().to_owned()),
                min,
                max,
                choices_json: choices.into_iter().flatten().map(|c| c.to_string()).collect(),
                help: help.unwrap_or_default(),
                pattern: String::new(),
            }
        }
    }
}

fn step_spec(name: String, step: StepFile, report: &mut Report<'_>, tree: &Tree) -> StepSpec {
    let entry = || tree.entry("steps").and_then(|steps| steps.value.entry(&name));
    let place =
        |key: &str| entry().and_then(|e| e.value.entry(key)).map(|e| e.place).unwrap_or_default();
    let StepFile { python, run, script, stub, .. } = step;
    if stub == Some(false) {
        report.at(place("stub"), "`stub` is either true or not there", "remove it");
    }
    let is_python = python.is_some();
    let argv = script.map(|text| {
        shlex::split(&text).unwrap_or_else(|| {
            report.at(place("script"), "a quote of the command is not closed", "");
            vec![text]
        })
    });
    let actions = [
        python.map(|target| ("python", Action::Python(PythonAction { target }))),
        run.map(|run| match run {
            RunFile::Text(script) => ("run", Action::Run(ShellAction { script })),
            RunFile::Words(argv) => ("run", Action::Command(CommandAction { argv })),
        }),
        argv.map(|argv| ("script", Action::Script(CommandAction { argv }))),
        stub.map(|_| ("stub", Action::Stub(StubAction {}))),
    ];
    let mut actions: Vec<_> = actions.into_iter().flatten().collect();
    if actions.len() > 1 {
        let names: Vec<_> = actions.iter().map(|(key, _)| format!("`{key}`")).collect();
        let message = format!("step `{name}` has more than one action: {}", names.join(" and "));
        let at = entry().map(|entry| entry.place).unwrap_or_default();
        report.at(at, message, "keep one, or make two steps");
    }
    let action = if actions.is_empty() { None } else { Some(actions.remove(0).1) };
    let outputs = match step.out {
        None if is_python => {
            vec![OutputSpec { name: "result".to_owned(), ..OutputSpec::default() }]
        }
        None => vec![],
        Some(out) => outputs(out, is_python),
    };
    let metrics_given = step.metrics.is_some();
    let with = step.with.unwrap_or_default().0.into_iter();
    let env = step.env.unwrap_or_default().0.into_iter();
    StepSpec {
        name,
        action,
        needs: step.needs.map(|names| StepNames { names }),
        with_json: with.map(|(name, value)| (name, value.to_string())).collect(),
        outputs,
        metrics: step.metrics.map(metrics).unwrap_or_default(),
        metrics_given,
        retry: step.retry.map(retry),
        timeout: step.timeout.map(duration),
        env: env.map(|(name, value)| (name, value.0)).collect(),
        resources: step.resources.map(|resources| ResourceSpec {
            cpu_millis: resources.cpu.map_or(0, |cpu| cpu.0),
            memory_bytes: resources.memory.map_or(0, |memory| memory.0),
            ..ResourceSpec::default()
        }),
        idempotent: step.idempotent.unwrap_or_default(),
        ..StepSpec::default()
    }
}

fn outputs(out: OutFile, is_python: bool) -> Vec<OutputSpec> {
    let output = |name, pick, codec| OutputSpec { name, pick, codec, expr: String::new() };
    match out {
        OutFile::Whole(name) => vec![output(name, String::new(), String::new())],
        OutFile::Items(names) => {
            let pick = |i| if is_python { format!("[{i}]") } else { String::new() };
            let names = names.into_iter().enumerate();
            names.map(|(i, name)| output(name, pick(i), String::new())).collect()
        }
        OutFile::Parts(parts) => {
            let part = |(name, pick)| match pick {
                PickFile::Path(path) => output(name, path, String::new()),
                PickFile::Fields(PickFields { pick, codec }) => {
                    let codec = match codec {
                        None => "",
                        Some(CodecFile::Json) => "json",
                        Some(CodecFile::Pickle) => "pickle",
                    };
                    output(name, pick.unwrap_or_default(), codec.to_owned())
                }
            };
            parts.0.into_iter().map(part).collect()
        }
    }
}

fn metrics(metrics: MetricsFile) -> Vec<MetricPick> {
    match metrics {
        MetricsFile::Names(names) => {
            let pick = |name: String| MetricPick { pick: format!(".{name}"), name };
            names.into_iter().map(pick).collect()
        }
        MetricsFile::Paths(paths) => {
            paths.0.into_iter().map(|(name, pick)| MetricPick { name, pick }).collect()
        }
    }
}

fn retry(retry: RetryFile) -> RetrySpec {
    let on = |on: RetryOnFile| match on {
        RetryOnFile::Exit => On::Exit,
        RetryOnFile::Timeout => On::Timeout,
        RetryOnFile::Oom => On::Oom,
        RetryOnFile::Lost => On::Lost,
    };
    RetrySpec {
        times: retry.times,
        backoff: retry.backoff.map(duration),
        factor: retry.factor.unwrap_or(DEFAULT_FACTOR),
        max: retry.max.map(duration),
        on: retry.on.into_iter().flatten().map(|end| on(end).into()).collect(),
    }
}

fn duration(span: Span) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.0.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.0.subsec_nanos()).unwrap_or_default(),
    }
}
