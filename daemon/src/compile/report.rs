use std::collections::{HashMap, HashSet};

use windlass_proto::{api::v1::PipelineError, common::v1::PipelineSpec};

use super::yaml::{Place, Tree};

/// Most mistakes that are told at once.
pub(super) const MAX_ERRORS: usize = 20;

/// One step from a spec to a part of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Key(&'a str),
    Item(usize),
    /// A step: by its place in a spec, by its name in a file.
    Step(usize),
    /// A parameter, as steps.
    Param(usize),
}

/// What the pipeline was read from, so that mistakes can name their place.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A pipeline file of the project.
    File { path: &'a str, tree: &'a Tree },
    /// A spec that was sent; places are field paths.
    Spec,
    /// A function or command named by the user; there is but one place.
    Target(&'a str),
}

/// Collects mistakes, each with its place.
pub(super) struct Report<'a> {
    origin: Origin<'a>,
    errors: Vec<PipelineError>,
    /// Steps that could not be read in full, so that further checks of them would mislead.
    tainted: HashSet<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(origin: Origin<'a>) -> Self {
        Self { origin, errors: vec![], tainted: HashSet::new() }
    }

    /// Path of the pipeline file, where it is one.
    pub(super) fn file(&self) -> Option<&str> {
        match self.origin {
            Origin::File { path, .. } => Some(path),
            Origin::Spec | Origin::Target(_) => None,
        }
    }

    /// True for a function, command or notebook that a user named.
    pub(super) fn is_of_target(&self) -> bool {
        matches!(self.origin, Origin::Target(_))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Marks a step as not read in full.
    pub(super) fn taint(&mut self, step: &str) {
        self.tainted.insert(step.to_owned());
    }

    /// True for a step that was not read in full.
    pub(super) fn is_tainted(&self, step: &str) -> bool {
        !self.tainted.is_empty() && self.tainted.contains(step)
    }

    /// True where any step was not read in full.
    pub(super) fn has_tainted(&self) -> bool {
        !self.tainted.is_empty()
    }

    /// Adds a mistake at a known place of the pipeline's file.
    pub(super) fn at(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        let path = match self.origin {
            Origin::File { path, .. } => path.to_owned(),
            Origin::Spec => String::new(),
            Origin::Target(target) => target.to_owned(),
        };
        let (line, column) = (place.line, place.column);
        self.push(PipelineError { path, line, column, message: message.into(), help: help.into() });
    }

    /// Adds a mistake of any file.
    pub(super) fn push(&mut self, error: PipelineError) {
        let error = plain(error);
        if !self.is_full() && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Adds a mistake that is in no file of the project: `path` is what a person calls its source.
    pub(super) fn outside(&mut self, path: &str, message: String, help: String) {
        let path = path.to_owned();
        self.push(PipelineError { path, message, help, ..PipelineError::default() });
    }

    /// Adds a mistake in the value of a part of the pipeline.
    pub(super) fn value(
        &mut self,
        spec: &PipelineSpec,
        parts: &[Part<'_>],
        words: (String, String),
    ) {
        self.part(spec, parts, false, words);
    }

    /// Adds a mistake in the name or key of a part of the pipeline.
    pub(super) fn key(&mut self, spec: &PipelineSpec, parts: &[Part<'_>], words: (String, String)) {
        self.part(spec, parts, true, words);
    }

    fn part(
        &mut self,
        spec: &PipelineSpec,
        parts: &[Part<'_>],
        key: bool,
        words: (String, String),
    ) {
        let (message, help) = words;
        match self.origin {
            Origin::File { tree, .. } => self.at(locate(tree, spec, parts, key), message, help),
            Origin::Target(_) => self.at(Place::default(), message, help),
            Origin::Spec => {
                self.push(PipelineError {
                    path: field_path(parts),
                    message,
                    help,
                    ..PipelineError::default()
                });
            }
        }
    }

    /// Every mistake, by file and place.
    pub(super) fn into_errors(mut self) -> Vec<PipelineError> {
        let mut files: HashMap<String, usize> = HashMap::new();
        for error in &self.errors {
            let next = files.len();
            files.entry(error.path.clone()).or_insert(next);
        }
        self.errors.sort_by_key(|error| (files[&error.path], error.line, error.column));
        self.errors
    }
}

/// Longest text of an error, in characters.
const MAX_TEXT: usize = 1_000;

/// The same error, short and without control characters, which a terminal might obey.
pub(super) fn plain(error: PipelineError) -> PipelineError {
    let clean = |text: String| {
        if text.len() <= MAX_TEXT && !text.contains(char::is_control) {
            return text;
        }
        let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { vec![c] };
        text.chars().take(MAX_TEXT).flat_map(escape).take(MAX_TEXT).collect()
    };
    PipelineError {
        path: clean(error.path),
        message: clean(error.message),
        help: clean(error.help),
        ..error
    }
}

/// The place of a part, or of the innermost part around it that the file has.
fn locate(tree: &Tree, spec: &PipelineSpec, parts: &[Part<'_>], key: bool) -> Place {
    let mut hops = vec![];
    for part in parts {
        match part {
            Part::Key(_) | Part::Item(_) => hops.push(*part),
            Part::Step(i) => {
                let name = spec.steps.get(*i).map_or("", |step| &step.name);
                hops.extend([Part::Key("steps"), Part::Key(name)]);
            }
            Part::Param(i) => {
                let name = spec.params.get(*i).map_or("", |param| &param.name);
                hops.extend([Part::Key("params"), Part::Key(name)]);
            }
        }
    }
    let (mut tree, mut place) = (tree, tree.place);
    for (i, hop) in hops.iter().enumerate() {
        let entry = if let Part::Key(name) = hop { tree.entry(name) } else { None };
        let item = if let Part::Item(item) = hop { tree.item(*item) } else { None };
        if let Some(entry) = entry {
            let of_key = (key && i + 1 == hops.len()) || entry.value.place == Place::default();
            place = if of_key { entry.place } else { entry.value.place };
            tree = &entry.value;
        } else if let Some(item) = item {
            (place, tree) = (item.place, item);
        } else {
            break;
        }
    }
    place
}

fn field_path(parts: &[Part<'_>]) -> String {
    let mut path = String::new();
    for part in parts {
        match part {
            Part::Key(key) if path.is_empty() => path.push_str(key),
            Part::Key(key) => path.push_str(&format!(".{key}")),
            Part::Item(i) => path.push_str(&format!("[{i}]")),
            Part::Step(i) => path.push_str(&format!("steps[{i}]")),
            Part::Param(i) => path.push_str(&format!("params[{i}]")),
        }
    }
    path
}
