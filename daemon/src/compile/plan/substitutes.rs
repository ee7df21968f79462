//! What stands in for steps: given outputs or failures, and other functions.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde_json::Value;
use windlass_core::{Digest, nearest};
use windlass_proto::{
    api::v1::{NamedText, PipelineError, Substitutes as Given},
    common::v1::{Mock, Output, Plan, PlannedStep, step_spec::Action},
};

use crate::compile::{
    BlobWriter,
    file::span,
    report::Report,
    yaml::{self, Node, Place, Tree},
};

/// Most mocks and patches of a run.
const MAX_SUBSTITUTES: usize = 10_000;

/// Longest text of a failure, in bytes.
const MAX_FAILURE: usize = 1_000;

/// Mocks and patches as given.
#[derive(Debug, Default)]
pub(in crate::compile) struct Substitutes {
    mocks: BTreeMap<String, Wanted>,
    mock_all: bool,
    /// Step to `module:function`.
    pub(super) patches: BTreeMap<String, String>,
}

/// A mock, and the file and place that ask for it.
#[derive(Debug)]
enum Wanted {
    New {
        file: String,
        place: Place,
        what: What,
    },
    /// Of the run that this one is made from.
    Kept(Mock),
}

#[derive(Debug, Default)]
struct What {
    outputs: Vec<(String, Value)>,
    fail: Option<String>,
    sleep: Option<Duration>,
}

/// Reads the files; what is wrong with them comes beside what could be read.
pub(in crate::compile) fn read(given: &Given) -> (Substitutes, Vec<PipelineError>) {
    let mut read = Substitutes { mock_all: given.mock_all, ..Substitutes::default() };
    read.patches.extend(given.patches.iter().map(|(a, b)| (a.clone(), b.clone())));
    let mut mistakes = vec![];
    for file in &given.mocks {
        if let Err(mistake) = read_file(&mut read, file) {
            mistakes.push(mistake);
        }
    }
    (read, mistakes)
}

impl Substitutes {
    /// Those of an old run.
    pub(in crate::compile) fn of(plan: &Plan) -> Self {
        let mut kept = Self::default();
        for step in &plan.steps {
            if let Some(mock) = &step.mock {
                kept.mocks.insert(step.path.clone(), Wanted::Kept(mock.clone()));
            }
            if !step.patched.is_empty() {
                kept.patches.insert(step.path.clone(), step.patched.clone());
            }
        }
        kept
    }
}

fn error(file: &str, place: Place, message: String, help: &str) -> PipelineError {
    let (line, column) = (place.line, place.column);
    PipelineError { path: file.to_owned(), line, column, message, help: help.to_owned() }
}

fn read_file(read: &mut Substitutes, file: &NamedText) -> Result<(), PipelineError> {
    let tree = yaml::parse(file.text.as_bytes())
        .map_err(|wrong| error(&file.name, wrong.place, wrong.message, &wrong.help))?;
    let form = "write `step: {outputs: {name: value}}`, `step: {fail: message}` or \
                `step: {sleep: 2s}`";
    if !matches!(tree.node, Node::Map(_) | Node::Null) {
        let message = "a file of mocks is a mapping of steps".to_owned();
        return Err(error(&file.name, tree.place, message, form));
    }
    for entry in tree.entries() {
        if read.mocks.len() >= MAX_SUBSTITUTES {
            let message = format!("more than {MAX_SUBSTITUTES} mocks");
            return Err(error(&file.name, entry.place, message, ""));
        }
        let what = read_mock(&file.name, &entry.value, form)?;
        let wanted = Wanted::New { file: file.name.clone(), place: entry.place, what };
        read.mocks.insert(entry.key.clone(), wanted);
    }
    Ok(())
}

fn read_mock(file: &str, tree: &Tree, form: &str) -> Result<What, PipelineError> {
    let Node::Map(entries) = &tree.node else {
        let message = format!("a mock is a mapping, got {}", tree.to_json());
        return Err(error(file, tree.place, message, form));
    };
    let mut what = What::default();
    for entry in entries {
        let wrong = |wanted: &str| {
            let message = format!("`{}` is {wanted}, got {}", entry.key, entry.value.to_json());
            Err(error(file, entry.value.place, message, form))
        };
        match (entry.key.as_str(), entry.value.to_json()) {
            ("outputs", Value::Object(outputs)) => what.outputs = outputs.into_iter().collect(),
            ("outputs", Value::Null) => {}
            ("outputs", _) => return wrong("a mapping of names to values"),
            ("fail", Value::String(text)) if !text.is_empty() && text.len() <= MAX_FAILURE => {
                what.fail = Some(text);
            }
            ("fail", _) => return wrong("a message of 1 to 1,000 bytes"),
            ("sleep", Value::String(text)) => match span(&text) {
                Some(time) => what.sleep = Some(time),
                None => return wrong("a time like 500ms or 2s"),
            },
            ("sleep", _) => return wrong("a time like 500ms or 2s"),
            (key, _) => {
                let help = match nearest(key, ["outputs", "fail", "sleep"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => form.to_owned(),
                };
                return Err(error(file, entry.place, format!("unknown key `{key}`"), &help));
            }
        }
    }
    if what.fail.is_some() && !what.outputs.is_empty() {
        let message = "a mock has outputs or fails, not both".to_owned();
        return Err(error(file, tree.place, message, "keep one"));
    }
    Ok(what)
}

/// Puts mocks into the steps of a plan.
pub(super) struct Standing<'a> {
    of: &'a Substitutes,
    blobs: Option<&'a dyn BlobWriter>,
    /// Blobs that were written, by their text.
    written: HashMap<String, Output>,
    mistakes: Vec<PipelineError>,
}

impl<'a> Standing<'a> {
    pub(super) fn new(of: &'a Substitutes, blobs: Option<&'a dyn BlobWriter>) -> Self {
        Self { of, blobs, written: HashMap::new(), mistakes: vec![] }
    }

    /// Gives the step its mock, where it has one.
    pub(super) fn mock(&mut self, step: &mut PlannedStep) {
        let spec = step.spec.clone().unwrap_or_default();
        let is_pipeline = matches!(spec.action, Some(Action::Pipeline(_)));
        let nothing = What::default();
        let what = match self.of.mocks.get(&step.path) {
            Some(Wanted::Kept(mock)) => {
                step.mock = Some(mock.clone());
                return;
            }
            Some(Wanted::New { what, .. }) => what,
            // A pipeline's own steps are mocked in its place.
            None if self.of.mock_all && !is_pipeline => &nothing,
            None => return,
        };
        let mut mock = Mock { fail: what.fail.clone(), ..Mock::default() };
        mock.sleep = what.sleep.and_then(|time| prost_types::Duration::try_from(time).ok());
        let declared: Vec<&str> = spec.outputs.iter().map(|o| o.name.as_str()).collect();
        let open = super::expressions::is_open(&spec);
        for (name, _) in &what.outputs {
            if !open && !declared.contains(&name.as_str()) {
                self.unknown_output(&step.path, name, &declared);
            }
        }
        if what.fail.is_none() {
            let given = |name: &str| what.outputs.iter().find(|(given, _)| given == name);
            let missing = declared.iter().filter(|name| given(name).is_none());
            let nulls = missing.map(|name| ((*name).to_owned(), Value::Null));
            let all: Vec<(String, Value)> = what.outputs.iter().cloned().chain(nulls).collect();
            mock.outputs =
                all.iter().filter_map(|(name, value)| self.output(name, value)).collect();
        }
        step.mock = Some(mock);
    }

    fn output(&mut self, name: &str, value: &Value) -> Option<Output> {
        let text = value.to_string();
        if let Some(known) = self.written.get(&text) {
            return Some(Output { name: name.to_owned(), ..known.clone() });
        }
        let digest = match self.blobs {
            Some(blobs) => blobs.write(text.as_bytes()),
            None => Ok(Digest(*blake3::hash(text.as_bytes()).as_bytes()).to_string()),
        };
        match digest {
            Ok(digest) => {
                let output = Output {
                    name: name.to_owned(),
                    digest,
                    size_bytes: i64::try_from(text.len()).unwrap_or(i64::MAX),
                    codec: "json".to_owned(),
                };
                self.written.insert(text, output.clone());
                Some(output)
            }
            Err(failed) => {
                let message = format!("the mocked output `{name}` cannot be kept: {failed}");
                self.mistakes.push(PipelineError { message, ..PipelineError::default() });
                None
            }
        }
    }

    fn unknown_output(&mut self, path: &str, name: &str, declared: &[&str]) {
        let Some(Wanted::New { file, place, .. }) = self.of.mocks.get(path) else { return };
        let message = format!("step `{path}` has no output `{}`", name.escape_debug());
        let help = super::expressions::meant(name, declared.iter().copied());
        self.mistakes.push(error(file, *place, message, &help));
    }

    /// Reports what was wrong, and mocks and patches of steps that are not there.
    pub(super) fn finish(self, steps: &[PlannedStep], report: &mut Report<'_>) {
        for mistake in self.mistakes {
            report.push(mistake);
        }
        let paths: BTreeSet<&str> = steps.iter().map(|step| step.path.as_str()).collect();
        let meant = |name: &str| match nearest(name, paths.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there is {}",
                paths.iter().copied().take(20).collect::<Vec<_>>().join(", ")
            ),
        };
        for (name, wanted) in &self.of.mocks {
            if let (false, Wanted::New { file, place, .. }) =
                (paths.contains(name.as_str()), wanted)
            {
                let message = format!("no step `{}` to mock", name.escape_debug());
                report.push(error(file, *place, message, &meant(name)));
            }
        }
        for name in self.of.patches.keys().filter(|name| !paths.contains(name.as_str())) {
            let message = format!("no step `{}` to patch", name.escape_debug());
            report.outside("--patch", message, meant(name));
        }
    }
}
