use serde_json::Value;
use windlass_core::nearest;
use windlass_proto::common::v1::{PipelineSpec, step_spec::Action};

use crate::compile::{
    MAX_FILE_BYTES, SnapshotFiles,
    report::{Part, Report},
    too_large,
    validate::safe_path,
};

/// Checks that the notebooks of a pipeline are there and are notebooks.
pub(super) fn check(spec: &PipelineSpec, files: &dyn SnapshotFiles, report: &mut Report<'_>) {
    for (i, step) in spec.steps.iter().enumerate() {
        let Some(Action::Notebook(notebook)) = &step.action else { continue };
        // What is no path into the project was refused already.
        if safe_path(&notebook.path).is_ok()
            && let Err(words) = check_one(&notebook.path, files)
        {
            report.value(spec, &[Part::Step(i), Part::Key("notebook")], words);
        }
    }
}

fn check_one(path: &str, files: &dyn SnapshotFiles) -> Result<(), (String, String)> {
    let path = path.strip_prefix("./").unwrap_or(path);
    if let Some(words) = too_large(path, MAX_FILE_BYTES, files) {
        return Err(words);
    }
    let Some(bytes) = files.read(path) else {
        let near = nearest(path, files.paths().filter(|path| path.ends_with(".ipynb")));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a file relative to the project's root".to_owned(),
        };
        return Err((format!("no notebook `{path}` in the project"), help));
    };
    let save = "save it again in Jupyter".to_owned();
    let notebook: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the notebook `{path}` is not JSON: {error}");
        (message, save.clone())
    })?;
    if notebook.get("cells").is_some_and(Value::is_array) {
        return Ok(());
    }
    let old = notebook.get("worksheets").is_some();
    let message = format!("the notebook `{path}` has no cells");
    Err((message, if old { format!("it is of an old format: {save}") } else { save }))
}
