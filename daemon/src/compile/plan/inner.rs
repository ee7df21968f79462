//! Pipelines within a pipeline.
use std::rc::Rc;

use windlass_core::nearest;
use windlass_proto::{
    MAX_SPEC_BYTES,
    api::v1::PipelineError,
    common::v1::{PipelineSpec, step_spec::Action},
};

use super::{
    expressions::{self, meant},
    level::{Building, Level, Nest},
};
use crate::{
    compile::{
        file,
        report::{Origin, Part, Report},
        too_large,
        validate::safe_path,
        yaml::{self, Tree},
    },
    expr::{Reference, Root},
};

/// Most pipelines inside each other, the outermost counted.
const MAX_DEPTH: usize = 8;

type Words = (String, String);

/// A pipeline file that another one names.
pub(super) struct InnerFile {
    pub(super) path: String,
    pub(super) tree: Tree,
    /// `None` where it is too wrong to be read.
    spec: Option<PipelineSpec>,
    errors: Vec<PipelineError>,
}

/// Reads the inner pipelines of a level, with all that is in them.
pub(super) fn build(
    building: &Building<'_>,
    spec: &PipelineSpec,
    nest: &Nest,
    report: &mut Report<'_>,
) -> Vec<Option<Level>> {
    let steps = spec.steps.iter().enumerate();
    steps
        .map(|(i, step)| match &step.action {
            Some(Action::Pipeline(inner)) => {
                let path = inner.path.strip_prefix("./").unwrap_or(&inner.path);
                build_one(building, spec, (i, path), nest, report)
            }
            Some(_) | None => None,
        })
        .collect()
}

fn build_one(
    building: &Building<'_>,
    spec: &PipelineSpec,
    (i, path): (usize, &str),
    nest: &Nest,
    report: &mut Report<'_>,
) -> Option<Level> {
    let parts = [Part::Step(i), Part::Key("pipeline")];
    // A path that leads out of the project was refused already.
    safe_path(path).ok()?;
    if nest.files.iter().any(|around| around == path) {
        let start = nest.files.iter().position(|around| around == path).unwrap_or_default();
        let mut files: Vec<&str> = nest.files[start..].iter().map(String::as_str).collect();
        files.push(path);
        let message = format!("the pipelines run each other in a cycle: {}", files.join(" → "));
        let help = "an arrow reads \"runs\": take one of them out".to_owned();
        report.value(spec, &parts, (message, help));
        return None;
    }
    if nest.files.len() >= MAX_DEPTH {
        let message = format!("more than {MAX_DEPTH} pipelines are inside each other");
        report.value(spec, &parts, (message, nest.files.join(" → ")));
        return None;
    }
    let file = match open(building, path, report.file().unwrap_or_default()) {
        Ok(file) => file,
        Err(words) => {
            report.value(spec, &parts, words);
            return None;
        }
    };
    for error in &file.errors {
        report.push(error.clone());
    }
    let inner_spec = file.spec.clone()?;
    if inner_spec.environment.is_some() && inner_spec.environment != spec.environment {
        let message = format!("`{path}` wants another environment than the pipeline that runs it");
        let help = "give both the same `env`".to_owned();
        report.value(spec, &parts, (message, help));
    }
    let mut files = nest.files.clone();
    files.push(path.to_owned());
    let prefix = format!("{}{}/", nest.prefix, spec.steps[i].name);
    let mut own = Report::new(Origin::File { path: &file.path, tree: &file.tree });
    for tainted in tainted(&file) {
        own.taint(&tainted);
    }
    let inner = Level::build_in(
        building,
        inner_spec,
        Some(Rc::clone(&file)),
        &Nest { prefix, files },
        &mut own,
    );
    for error in own.into_errors() {
        report.push(error);
    }
    inner
}

/// The steps of a file that has mistakes: of further ones among them nobody should be told.
fn tainted(file: &InnerFile) -> Vec<String> {
    if file.errors.is_empty() {
        return vec![];
    }
    let steps = file.tree.entry("steps").map_or(&[][..], |steps| steps.value.entries());
    steps.iter().map(|step| step.key.clone()).collect()
}

fn open(building: &Building<'_>, path: &str, from: &str) -> Result<Rc<InnerFile>, Words> {
    if let Some(known) = building.files.borrow().get(path) {
        return Ok(Rc::clone(known));
    }
    let files = building.from.files;
    if let Some(words) = too_large(path, MAX_SPEC_BYTES, files) {
        return Err(words);
    }
    let Some(bytes) = files.read(path) else {
        let is_yaml = |path: &&str| path.ends_with(".yaml") || path.ends_with(".yml");
        let beside = from.rsplit_once('/').map(|(directory, _)| format!("{directory}/{path}"));
        let beside = beside.filter(|path| files.read(path).is_some());
        let near = beside.as_deref().or_else(|| nearest(path, files.paths().filter(is_yaml)));
        let help = match near {
            Some(near) => format!("did you mean `{near}`? paths begin at the project's root"),
            None => "name a file relative to the project's root".to_owned(),
        };
        return Err((format!("no pipeline file `{path}` in the project"), help));
    };
    let path = path.to_owned();
    let file = match yaml::parse(&bytes) {
        Ok(tree) => {
            let mut report = Report::new(Origin::File { path: &path, tree: &tree });
            let spec = file::read(&tree, file::stem(&path), &mut report);
            let errors = report.into_errors();
            InnerFile { path: path.clone(), tree, spec, errors }
        }
        Err(wrong) => {
            let (line, column) = (wrong.place.line, wrong.place.column);
            let (message, help) = (wrong.message, wrong.help);
            let error = PipelineError { path: path.clone(), line, column, message, help };
            let tree = Tree { place: wrong.place, node: yaml::Node::Null };
            InnerFile { path: path.clone(), tree, spec: None, errors: vec![error] }
        }
    };
    let file = Rc::new(file);
    building.files.borrow_mut().insert(path, Rc::clone(&file));
    Ok(file)
}

/// Checks what the pipeline steps of a level pick out of their inner pipelines.
pub(super) fn check_out(building: &Building<'_>, level: &Level, report: &mut Report<'_>) {
    for (i, inner) in level.inner.iter().enumerate() {
        let Some(inner) = inner else { continue };
        for output in level.spec.steps[i].outputs.iter().filter(|output| !output.expr.is_empty()) {
            let parts = [Part::Step(i), Part::Key("out"), Part::Key(&output.name)];
            let expression = match building.expression(&output.expr) {
                Ok(expression) => expression,
                Err(bad) => {
                    report.value(
                        &level.spec,
                        &parts,
                        (format!("`{}`, {bad}", output.expr), bad.help),
                    );
                    continue;
                }
            };
            for reference in expression.references() {
                if let Err((message, help)) = check_one(inner, &reference, report) {
                    let text = expression.text();
                    let message = format!("`{text}`, column {}: {message}", reference.column);
                    report.value(&level.spec, &parts, (message, help));
                }
            }
        }
    }
}

/// Checks a name that an inner pipeline's output is made of.
fn check_one(inner: &Level, reference: &Reference, report: &Report<'_>) -> Result<(), Words> {
    match &reference.root {
        Root::Unknown(name) => Err(expressions::unknown_root(&inner.spec, name)),
        Root::Params => expressions::param(&inner.spec, reference),
        Root::Steps => match reference.path.first() {
            Some(name) => {
                expressions::step_of(inner, name, &reference.path[1..], report).map(|_| ())
            }
            None => Ok(()),
        },
        Root::Outputs => {
            let Some(name) = reference.path.first() else { return Ok(()) };
            let known = || inner.spec.steps.iter().flat_map(|step| &step.outputs);
            let is_known = known().any(|output| output.name == *name);
            if is_known || inner.spec.steps.iter().any(expressions::is_open) {
                return Ok(());
            }
            let message =
                format!("no step of the pipeline gives an output `{}`", name.escape_debug());
            Err((message, meant(name, known().map(|output| output.name.as_str()))))
        }
        Root::Metrics => Ok(()),
    }
}
