//! What must hold of every spec, whether it came from a file or from an SDK.
mod actions;
mod files;
mod flow;
mod params;
mod secrets;

use std::collections::{BTreeSet, HashMap};

use windlass_core::{StepIndex, StepPath, nearest};
use windlass_proto::common::v1::{OutputSpec, PipelineSpec, StepSpec, environment_spec::Kind};

use super::{
    MAX_STEPS,
    report::{Part, Report},
};

pub(super) use files::check as check_files;
pub(super) use flow::{MAX_INSTANCES, brought, is_reducer};
pub(super) use params::{declared, fits_pattern, is_identifier};

/// Most parameters of a pipeline, and most outputs, metrics, arguments or variables of a step.
const MAX_LISTED: usize = 1_000;

/// Longest name of a pipeline, in bytes.
const MAX_NAME: usize = 200;

/// Checks a spec and returns the steps that each step names under `needs`.
pub(super) fn validate(
    spec: &PipelineSpec,
    report: &mut Report<'_>,
) -> Vec<Option<Vec<StepIndex>>> {
    let bad_name = spec.name.is_empty()
        || spec.name.len() > MAX_NAME
        || spec.name.contains(|c: char| c.is_control());
    if bad_name {
        let message =
            format!("the name of a pipeline has 1 to {MAX_NAME} bytes and no control characters");
        report.value(spec, &[Part::Key("name")], (message, String::new()));
    }
    params::check(spec, report);
    secrets::check(spec, report);
    for (i, glob) in spec.files.iter().enumerate() {
        if let Err(words) = safe_path(glob) {
            report.value(spec, &[Part::Key("files"), Part::Item(i)], words);
        }
    }
    check_environment(spec, report);
    if spec.steps.is_empty() && report.has_tainted() {
        return vec![];
    }
    if spec.steps.is_empty() || spec.steps.len() > MAX_STEPS {
        let message =
            format!("a pipeline has 1 to {MAX_STEPS} steps, this one {}", spec.steps.len());
        report.key(spec, &[Part::Key("steps")], (message, String::new()));
        return vec![];
    }
    let mut by_name: HashMap<&str, StepIndex> = HashMap::with_capacity(spec.steps.len());
    for (i, step) in (0u32..).zip(&spec.steps) {
        if *by_name.entry(&step.name).or_insert(StepIndex(i)) != StepIndex(i) {
            let message = format!("two steps are named `{}`", step.name);
            report.key(spec, &[Part::Step(place(i))], (message, "rename one of them".to_owned()));
        }
    }
    (0..spec.steps.len())
        .map(|i| {
            if !report.is_tainted(&spec.steps[i].name) {
                check_step(spec, i, report);
            }
            needs(spec, i, &by_name, report)
        })
        .collect()
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn check_environment(spec: &PipelineSpec, report: &mut Report<'_>) {
    let Some(kind) = spec.environment.as_ref().and_then(|env| env.kind.as_ref()) else { return };
    let (key, checked) = match kind {
        Kind::Requirements(path) => ("requirements", safe_path(path)),
        Kind::Uv(path) => ("uv", safe_path(path)),
        // Any interpreter of the machine.
        Kind::Python(path) if path.is_empty() || path.contains('\0') => (
            "python",
            Err(("the path of the interpreter is empty or has a NUL in it".into(), String::new())),
        ),
        Kind::Python(_) => ("python", Ok(())),
    };
    if let Err(words) = checked {
        report.value(spec, &[Part::Key("env"), Part::Key(key)], words);
    }
}

fn needs(
    spec: &PipelineSpec,
    i: usize,
    by_name: &HashMap<&str, StepIndex>,
    report: &mut Report<'_>,
) -> Option<Vec<StepIndex>> {
    let step = &spec.steps[i];
    let names = &step.needs.as_ref()?.names;
    let mut found = Vec::with_capacity(names.len());
    for (item, name) in names.iter().enumerate() {
        let parts = [Part::Step(i), Part::Key("needs"), Part::Item(item)];
        match by_name.get(name.as_str()) {
            Some(index) if *name != step.name => found.push(*index),
            Some(_) => {
                let message = format!("step `{name}` needs itself: a cycle");
                report.value(spec, &parts, (message, "remove it from `needs`".to_owned()));
            }
            // The search for near names is dear; beyond the limit nobody reads it.
            None if report.is_full() || report.is_tainted(name) => {}
            None => {
                let message = format!("step `{}` needs `{name}`, which is no step", step.name);
                let near = nearest(name, by_name.keys().copied());
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if name.contains('/') => {
                        "steps within a pipeline cannot be named: name the step that runs it"
                            .to_owned()
                    }
                    None => String::new(),
                };
                report.value(spec, &parts, (message, help));
            }
        }
    }
    Some(found)
}

fn check_step(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    if !StepPath::is_name(&step.name) {
        let message = format!("`{}` is no name for a step", step.name.escape_debug());
        let help = "a letter or `_`, then letters, digits, `_` and `-`, at most 64".to_owned();
        report.key(spec, &[Part::Step(i)], (message, help));
    }
    actions::check(spec, i, report);
    check_outputs(spec, i, report);
    flow::check(spec, i, report);
    if step.timeout.as_ref().is_some_and(bad_time) {
        let words = ("a timeout is longer than nothing".to_owned(), String::new());
        report.value(spec, &[Part::Step(i), Part::Key("timeout")], words);
    }
    for name in step.env.keys() {
        let good = !name.is_empty() && !name.contains(['=', '\0']);
        let parts = [Part::Step(i), Part::Key("env"), Part::Key(name)];
        if !good || name.starts_with("WINDLASS_") {
            let message =
                format!("`{}` cannot be set as an environment variable", name.escape_debug());
            let help = if good { "names with WINDLASS_ are Windlass's own" } else { "" };
            report.key(spec, &parts, (message, help.to_owned()));
        }
    }
    for (name, value) in &step.env {
        if value.contains('\0') {
            let words = ("an environment variable cannot hold a NUL".to_owned(), String::new());
            report.value(spec, &[Part::Step(i), Part::Key("env"), Part::Key(name)], words);
        }
    }
}

fn check_outputs(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    let mut seen = BTreeSet::new();
    let out = [Part::Step(i), Part::Key("out")];
    for OutputSpec { name, pick, codec, .. } in &step.outputs {
        if !StepPath::is_name(name) {
            let message = format!("`{}` is no name for an output", name.escape_debug());
            let help = "a letter or `_`, then letters, digits, `_` and `-`, at most 64";
            report.value(spec, &out, (message, help.to_owned()));
        }
        if !seen.insert(name) {
            report.value(spec, &out, (format!("two outputs are named `{name}`"), String::new()));
        }
        if !is_pick(pick) {
            report.value(spec, &out, bad_pick(pick));
        }
        if !["", "json", "pickle"].contains(&codec.as_str()) {
            let message = format!("codec `{}` is not supported yet", codec.escape_debug());
            report.value(spec, &out, (message, "it is one of `json`, `pickle`".to_owned()));
        }
        if !pick.is_empty() && !is_python(step) {
            let message = "only a Python step's value can be picked from".to_owned();
            let help = "name the output alone and write it to $WINDLASS_OUT or $WINDLASS_OUTPUTS";
            report.value(spec, &out, (message, help.to_owned()));
        }
    }
    if step.metrics_given && !is_python(step) {
        let message = "`metrics` picks from what a Python function returns".to_owned();
        let help = "a command appends its metrics to $WINDLASS_METRICS";
        report.key(spec, &[Part::Step(i), Part::Key("metrics")], (message, help.to_owned()));
    }
    for metric in
        step.metrics.iter().filter(|metric| !is_pick(&metric.pick) || metric.pick.is_empty())
    {
        let parts = [Part::Step(i), Part::Key("metrics"), Part::Key(&metric.name)];
        report.value(spec, &parts, bad_pick(&metric.pick));
    }
    let listed = [step.outputs.len(), step.metrics.len(), step.with_json.len(), step.env.len()];
    if listed.into_iter().any(|len| len > MAX_LISTED) {
        let message = format!("more than {MAX_LISTED} outputs, metrics, arguments or variables");
        report.key(spec, &[Part::Step(i)], (message, String::new()));
    }
}

fn is_python(step: &StepSpec) -> bool {
    use windlass_proto::common::v1::step_spec::Action;
    matches!(step.action, Some(Action::Python(_)))
}

fn bad_pick(pick: &str) -> (String, String) {
    let message = format!("`{}` is no path into a value", pick.escape_debug());
    (message, "write it as `.key`, `.key.inner` or `[0]`".to_owned())
}

/// True for nothing, and for any row of `.key` and `[3]`.
fn is_pick(pick: &str) -> bool {
    let mut rest = pick;
    while !rest.is_empty() {
        rest = if let Some(key) = rest.strip_prefix('.') {
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                return false;
            }
            &key[end..]
        } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']'))
        {
            let number =
                !index.is_empty() && index.len() <= 9 && index.bytes().all(|b| b.is_ascii_digit());
            if !number {
                return false;
            }
            after
        } else {
            return false;
        };
    }
    true
}

/// True for a time that is no time.
fn bad_time(time: &prost_types::Duration) -> bool {
    time.seconds < 0 || time.nanos < 0 || (time.seconds == 0 && time.nanos == 0)
}

/// Checks that a path stays within the project.
pub(super) fn safe_path(path: &str) -> Result<(), (String, String)> {
    let refuse = |what: &str| {
        let message = format!("the path `{}` {what}", path.escape_debug());
        Err((message, "name a file of the project, relative to its root".to_owned()))
    };
    if path.is_empty() {
        return refuse("is empty");
    }
    if path.contains('\0') {
        return refuse("has a NUL in it");
    }
    if path.starts_with(['/', '\\', '~']) || path.chars().nth(1) == Some(':') {
        return refuse("is absolute");
    }
    if path.split(['/', '\\']).any(|part| part == "..") {
        return refuse("has `..` in it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{is_pick, safe_path};

    #[test]
    fn picks() {
        for good in ["", ".a", ".a.b", "[0]", ".a[3].b", ".é"] {
            assert!(is_pick(good), "{good}");
        }
        for bad in ["a", ".", ".a.", "[", "[]", "[x]", "[-1]", "a.b", "..a"] {
            assert!(!is_pick(bad), "{bad}");
        }
    }

    #[test]
    fn paths_stay_within_the_project() {
        for good in ["a", "a/b.py", "data/*.csv", ".hidden", "a..b", "..."] {
            assert!(safe_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "../a", "a/../b", "a/..", "a\\..\\b", "C:\\a", "~/a", "a\0b"] {
            assert!(safe_path(bad).is_err(), "{bad}");
        }
    }
}
