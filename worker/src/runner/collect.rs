use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use serde::Deserialize;
use serde_json::{Map, Value};
use windlass_proto::common::v1::{CallOverride, CallRecord};

use super::StepFiles;
use crate::step_file;

/// Most calls of an attempt that are reported.
const MAX_CALLS: usize = 1000;
/// Most bytes read from a file of calls, and of one line in it.
const MAX_CALLS_BYTES: u64 = 64 << 20;
const MAX_LINE_BYTES: u64 = 256 << 10;
/// Most bytes of a failure.
const MAX_FAILURE_BYTES: u64 = 1 << 20;
/// Most bytes of the small outputs with their names; the runner keeps well below.
const MAX_RESULTS_BYTES: u64 = 1 << 20;

/// What a step left behind beside its outputs and metrics.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Calls from the step's function into the project, in the order they began.
    pub calls: Vec<CallRecord>,
    /// Indexes of the overrides that fell on a call.
    pub overrides_set: Vec<usize>,
    pub failure: Option<Failure>,
    /// Small outputs and their JSON; they count only where the step ended well.
    pub results: Vec<(String, String)>,
}

impl Collected {
    /// Names of those `overrides` that fell on no call, `function.argument`.
    pub fn unused(&self, overrides: &[CallOverride]) -> Vec<String> {
        let unused = |(i, _): &(usize, &CallOverride)| !self.overrides_set.contains(i);
        let name = |(_, set): (usize, &CallOverride)| format!("{}.{}", set.function, set.arg);
        overrides.iter().enumerate().filter(unused).map(name).collect()
    }
}

/// The exception that ended a step. `Display` gives one or a few lines for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The exception's type; `StepError` is the runner's own.
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
    /// Outermost first, without those of the runner.
    #[serde(default)]
    pub frames: Vec<Frame>,
    /// Path of the file or name of the module that was not there; else empty.
    #[serde(default)]
    pub missing: String,
}

/// A frame of the traceback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Frame {
    /// Relative to the project where it is inside.
    pub file: String,
    pub line: u64,
    /// Empty for the place of a syntax error.
    pub function: String,
    pub source: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.message.as_str()) {
            ("StepError", message) => f.write_str(message)?,
            (kind, "") => f.write_str(kind)?,
            (kind, message) => write!(f, "{kind}: {message}")?,
        }
        // Where the user's own code was last: libraries have absolute paths.
        let own = self.frames.iter().rev().find(|frame| !frame.file.starts_with(['/', '<']));
        let Some(frame) = own.or(self.frames.last()) else { return Ok(()) };
        write!(f, "\n{}:{}", frame.file, frame.line)?;
        if !frame.function.is_empty() && frame.function != "<module>" {
            write!(f, " in {}", frame.function)?;
        }
        if frame.source.is_empty() { Ok(()) } else { write!(f, ": {}", frame.source) }
    }
}

/// Reads what the step wrote to `files`; what is not there or makes no sense is left out.
pub fn collect(files: &StepFiles) -> Collected {
    let mut found = Collected {
        failure: read_failure(&files.failure),
        results: read_results(&files.results).unwrap_or_default(),
        ..Collected::default()
    };
    let Ok(file) = step_file::open(&files.calls) else { return found };
    let mut lines = BufReader::new(file.take(MAX_CALLS_BYTES));
    let mut line = Vec::new();
    while found.calls.len() < MAX_CALLS {
        line.clear();
        match (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(1..) => read_line(&line, &mut found),
            Ok(0) | Err(_) => break,
        }
    }
    found
}

fn read_line(line: &[u8], found: &mut Collected) {
    let Ok(Value::Object(mut record)) = serde_json::from_slice(line) else { return };
    if let Some(index) = record.get("set").and_then(Value::as_u64) {
        found.overrides_set.extend(usize::try_from(index));
    } else if let Some(call) = read_call(&mut record) {
        found.calls.push(call);
    }
}

fn read_call(record: &mut Map<String, Value>) -> Option<CallRecord> {
    let mut text = |key| match record.remove(key) {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    };
    let (function, module) = (text("function")?, text("module")?);
    let error = text("error").unwrap_or_default();
    let args_json = record.get("args").filter(|args| args.is_object())?.to_string();
    let seconds = record.get("seconds").and_then(Value::as_f64).filter(|s| *s >= 0.0)?;
    Some(CallRecord { function, args_json, seconds, error, module })
}

fn read_failure(path: &Path) -> Option<Failure> {
    serde_json::from_slice(&step_file::read(path, MAX_FAILURE_BYTES).ok()?).ok()
}

/// Texts that each end with NUL: where they lie, name and JSON of each output, then `end`. Those of
/// an attempt that had the directory before say that they lie elsewhere.
fn read_results(path: &Path) -> Option<Vec<(String, String)>> {
    let bytes = step_file::read(path, MAX_RESULTS_BYTES).ok()?;
    let own = bytes.strip_prefix(path.as_os_str().as_bytes())?.strip_prefix(b"\0")?;
    let text = std::str::from_utf8(own).ok()?;
    let fields: Vec<&str> = text.strip_suffix("end\0")?.split_terminator('\0').collect();
    let pairs = fields.chunks_exact(2);
    pairs.remainder().is_empty().then_some(())?;
    Some(pairs.map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect())
}
