//! What a spec names must be among the project's files, or its run would fail for want of it.

use windlass_blobs::snapshot::is_pattern;
use windlass_core::nearest;
use windlass_proto::common::v1::{PipelineSpec, environment_spec::Kind, step_spec::Action};

use super::safe_path;
use crate::compile::{
    SnapshotFiles,
    report::{Part, Report},
};

/// Checks the patterns under `files`, the files of the environment, and the scripts of the steps.
pub(in crate::compile) fn check(
    spec: &PipelineSpec,
    files: &dyn SnapshotFiles,
    report: &mut Report<'_>,
) {
    for (i, glob) in spec.files.iter().enumerate() {
        if safe_path(glob).is_ok() && !is_pattern(glob) {
            let message = format!("`{}` is no pattern for files", glob.escape_debug());
            let help = "patterns are written as in .gitignore".to_owned();
            report.value(spec, &[Part::Key("files"), Part::Item(i)], (message, help));
        }
    }
    let kind = spec.environment.as_ref().and_then(|env| env.kind.as_ref());
    let wanted = match kind {
        Some(Kind::Requirements(path)) => Some(("requirements", path, plain(path))),
        Some(Kind::Uv(dir)) => Some(("uv", dir, plain(&format!("{dir}/pyproject.toml")))),
        Some(Kind::Python(_)) | None => None,
    };
    if let Some((key, path, file)) = wanted
        && safe_path(path).is_ok()
        && !files.has(&file)
    {
        report.value(spec, &[Part::Key("env"), Part::Key(key)], absent(&file, files));
    }
    for (i, step) in spec.steps.iter().enumerate() {
        let Some(Action::Script(script)) = &step.action else { continue };
        let Some(path) = script.argv.first() else { continue };
        let file = plain(path);
        if safe_path(path).is_err() || file.is_empty() || files.has(&file) {
            continue;
        }
        // A step before this one may write it.
        let is_first = step.needs.as_ref().map_or(i == 0, |needs| needs.names.is_empty());
        if is_first {
            report.value(spec, &[Part::Step(i), Part::Key("script")], absent(&file, files));
        }
    }
}

/// The path as snapshots have it.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

fn absent(file: &str, files: &dyn SnapshotFiles) -> (String, String) {
    let near = nearest(file, files.paths());
    let help = near.map_or(String::new(), |near| format!("did you mean `{near}`?"));
    (format!("no file `{}` in the project", file.escape_debug()), help)
}
