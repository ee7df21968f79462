use windlass_core::{StepPath, nearest};
use windlass_proto::{
    MAX_SPEC_BYTES,
    api::v1::{PipelineError, RunSource, run_source},
    common::v1::{
        CommandAction, NotebookAction, OutputSpec, PipelineSpec, PythonAction, StepSpec,
        step_spec::Action,
    },
};

use super::{
    SnapshotFiles,
    file::{self, stem},
    python::Target,
    report::{Origin, Report, plain},
    too_large,
    validate::safe_path,
    yaml,
};

/// Reads what a run is of into a spec, and goes on with it and what is wrong so far.
pub(super) fn with_spec<T>(
    source: &RunSource,
    files: &dyn SnapshotFiles,
    go_on: impl FnOnce(PipelineSpec, Report<'_>) -> Result<T, Vec<PipelineError>>,
) -> Result<T, Vec<PipelineError>> {
    match &source.target {
        None => Err(vec![error("", "the request does not say what to run", "")]),
        Some(run_source::Target::PipelineFile(path)) if path.ends_with(".ipynb") => {
            go_on(of_notebook(path), Report::new(Origin::Target(path)))
        }
        Some(run_source::Target::PipelineFile(path)) => from_file(path, files, go_on),
        Some(run_source::Target::Function(path)) if path.ends_with(".ipynb") => {
            go_on(of_notebook(path), Report::new(Origin::Target(path)))
        }
        Some(run_source::Target::Function(target)) => {
            let parsed = Target::parse(target)
                .map_err(|(message, help)| vec![error(target, &message, &help)])?;
            go_on(of_function(target, &parsed), Report::new(Origin::Target(target)))
        }
        Some(run_source::Target::Command(command)) => {
            let shown = command.argv.first().map_or("", String::as_str);
            go_on(of_command(command), Report::new(Origin::Target(shown)))
        }
        Some(run_source::Target::Spec(spec)) => go_on(spec.clone(), Report::new(Origin::Spec)),
    }
}

fn from_file<T>(
    path: &str,
    files: &dyn SnapshotFiles,
    go_on: impl FnOnce(PipelineSpec, Report<'_>) -> Result<T, Vec<PipelineError>>,
) -> Result<T, Vec<PipelineError>> {
    safe_path(path).map_err(|(message, help)| vec![error(path, &message, &help)])?;
    if let Some((message, help)) = too_large(path, MAX_SPEC_BYTES, files) {
        return Err(vec![error(path, &message, &help)]);
    }
    let Some(bytes) = files.read(path) else {
        let is_yaml = |path: &&str| path.ends_with(".yaml") || path.ends_with(".yml");
        let near = nearest(path, files.paths().filter(is_yaml));
        let help = near.map_or(String::new(), |near| format!("did you mean `{near}`?"));
        return Err(vec![error(path, &format!("no pipeline file `{path}` in the project"), &help)]);
    };
    let tree = match yaml::parse(&bytes) {
        Ok(tree) => tree,
        Err(wrong) => {
            let (line, column) = (wrong.place.line, wrong.place.column);
            return Err(vec![PipelineError {
                line,
                column,
                ..error(path, &wrong.message, &wrong.help)
            }]);
        }
    };
    let mut report = Report::new(Origin::File { path, tree: &tree });
    match file::read(&tree, stem(path), &mut report) {
        Some(spec) => go_on(spec, report),
        None => Err(report.into_errors()),
    }
}

fn error(path: &str, message: &str, help: &str) -> PipelineError {
    let (message, help) = (message.to_owned(), help.to_owned());
    plain(PipelineError { path: path.to_owned(), message, help, ..PipelineError::default() })
}

fn of_function(target: &str, parsed: &Target) -> PipelineSpec {
    let name = parsed.function.rsplit('.').next().unwrap_or_default();
    let python = PythonAction { target: target.to_owned() };
    let result = OutputSpec { name: "result".to_owned(), ..OutputSpec::default() };
    let step = StepSpec {
        name: step_name(name),
        action: Some(Action::Python(python)),
        outputs: vec![result],
        ..StepSpec::default()
    };
    PipelineSpec { name: name.to_owned(), steps: vec![step], ..PipelineSpec::default() }
}

/// A notebook that runs alone is a pipeline of one step, named after its file.
fn of_notebook(path: &str) -> PipelineSpec {
    let name = stem(path).to_owned();
    let action = Some(Action::Notebook(NotebookAction { path: path.to_owned() }));
    let step = StepSpec { name: step_name(&name), action, ..StepSpec::default() };
    PipelineSpec { name, steps: vec![step], ..PipelineSpec::default() }
}

fn of_command(command: &CommandAction) -> PipelineSpec {
    let program = command.argv.first().map_or("", String::as_str);
    let name = step_name(program.rsplit('/').next().unwrap_or(program));
    let action = Some(Action::Command(command.clone()));
    let step = StepSpec { name: name.clone(), action, ..StepSpec::default() };
    PipelineSpec { name, steps: vec![step], ..PipelineSpec::default() }
}

/// The nearest name that a step may have.
fn step_name(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = text.chars().map(clean).take(63).collect();
    if !StepPath::is_name(&name) {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{stem, step_name};

    #[test]
    fn steps_are_named_after_what_they_run() {
        for (text, name) in [
            ("train", "train"),
            ("python3.11", "python3_11"),
            ("7z", "_7z"),
            ("", "_"),
            ("größe", "gr__e"),
        ] {
            assert_eq!(step_name(text), name);
        }
        assert_eq!(step_name(&"x".repeat(99)).len(), 63);
        assert_eq!((stem("a/b.c.yaml"), stem("plain")), ("b.c", "plain"));
    }
}
