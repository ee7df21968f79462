mod arguments;
mod calls;
mod code;
mod files;
mod flow;
mod nested;
mod reference;
mod sources;
mod speed;
mod standing;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use windlass_core::Source;
use windlass_proto::{
    api::v1::{NamedText, ParamValues, PipelineError, RunSource, Substitutes, run_source::Target},
    common::v1::{BoundArg, Plan, bound_arg::Value},
};

use super::{Offer, SnapshotFiles, check};

/// The files of a project, in memory.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of(list: &[(&str, &str)]) -> Self {
        Self(list.iter().map(|(path, text)| ((*path).into(), text.as_bytes().to_vec())).collect())
    }
}

impl SnapshotFiles for Files {
    fn read(&self, path: &str) -> Option<Cow<'_, [u8]>> {
        self.0.get(path).map(Cow::from)
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.0.get(path).map(|bytes| bytes.len() as u64)
    }

    fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn paths(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }
}

fn source(target: Target) -> RunSource {
    RunSource { target: Some(target), ..RunSource::default() }
}

fn file(path: &str) -> RunSource {
    source(Target::PipelineFile(path.to_owned()))
}

fn function(target: &str) -> RunSource {
    source(Target::Function(target.to_owned()))
}

fn named(list: &[(&str, &str)]) -> Vec<NamedText> {
    let named =
        |(name, text): &(&str, &str)| NamedText { name: (*name).into(), text: (*text).into() };
    list.iter().map(named).collect()
}

fn cli(list: &[(&str, &str)]) -> ParamValues {
    ParamValues { cli: named(list), ..ParamValues::default() }
}

/// A pipeline file and a Python module beside it.
fn project(yaml: &str, python: &str) -> Files {
    Files::of(&[("p.yaml", yaml), ("f.py", python)])
}

/// The mistakes of a pipeline file.
fn mistakes(yaml: &str) -> Vec<PipelineError> {
    check(&file("p.yaml"), &project(yaml, "def use(n, rate=0.5): ...\n"))
}

fn words(errors: &[PipelineError]) -> String {
    let line = |e: &PipelineError| {
        format!("{}:{}:{} {} ({})", e.path, e.line, e.column, e.message, e.help)
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Argument names with JSON (or `step.output`) and source.
fn shown(args: &[BoundArg]) -> Vec<(String, String, Source)> {
    let value = |arg: &BoundArg| match arg.value.as_ref().unwrap() {
        Value::Json(json) => json.clone(),
        Value::Output(output) => format!("{}.{}", output.step, output.name),
        other => format!("{other:?}"),
    };
    args.iter().map(|a| (a.name.clone(), value(a), Source::from_code(a.source).unwrap())).collect()
}

/// Compiles with values alone.
fn compile(
    source: &RunSource,
    values: &ParamValues,
    files: &Files,
) -> Result<Plan, Vec<PipelineError>> {
    let substitutes = Substitutes::default();
    let secrets = HashMap::new();
    let offer = Offer { values, substitutes: &substitutes, secrets: Some(&secrets), blobs: None };
    super::compile(source, &offer, files).map(|compiled| compiled.plan)
}

fn rebind(old: &Plan, values: &ParamValues, files: &Files) -> Result<Plan, Vec<PipelineError>> {
    let (substitutes, secrets) = (Substitutes::default(), HashMap::new());
    let offer = Offer { values, substitutes: &substitutes, secrets: Some(&secrets), blobs: None };
    super::rebind(old, &offer, files).map(|compiled| compiled.plan)
}

fn plan(source: &RunSource, values: &ParamValues, files: &Files) -> Plan {
    compile(source, values, files).unwrap_or_else(|errors| panic!("{}", words(&errors)))
}

fn refused(source: &RunSource, values: &ParamValues, files: &Files) -> Vec<PipelineError> {
    compile(source, values, files).expect_err("it should be refused")
}
