use std::{collections::BTreeMap, fs, io, sync::Arc};

use prost::Message;
use windlass_core::{Digest, StepPath};
use windlass_proto::{
    common::v1::{Artifact, CallRecord, Output, artifact::Kind},
    limits::{MAX_ARTIFACTS, MAX_OUTPUTS, is_codec},
    worker::v1::Task,
};

use super::{
    AttemptDir, BlobAccess, Context, StartFailure, contract, hint, out_lines, python::PythonResult,
};
use crate::mask::Masks;
use crate::step_file;
use crate::workspace::{ArtifactFact, Captured, Entry, Listing, Prepared as Place, Skipped};

/// Bytes of artifacts that a report names; the change set has all of them.
const MAX_ARTIFACT_BYTES: usize = 2 << 20;

/// What a list adds to each of its entries, in bytes.
const ENTRY_BYTES: usize = 4;

/// Largest JSON output that is looked into; it must be JSON.
const MAX_CHECKED_JSON: u64 = 16 << 20;

/// Largest list of files left out of the snapshot.
const MAX_LEFT_OUT: u64 = 64 << 20;

/// Most lines about files that could not be kept.
const MAX_SKIPPED_LINES: usize = 10;

/// What an attempt left behind, kept as blobs.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) outputs: Vec<Output>,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) changes: String,
    pub(super) calls: Vec<CallRecord>,
    /// What cannot be kept or is missing, of a step that ended well.
    pub(super) spoilt: Option<StartFailure>,
    /// For people, about a step that failed.
    pub(super) hints: Vec<String>,
    /// For the system log.
    pub(super) remarks: Vec<String>,
}

/// Collects an attempt whose processes have ended. May be repeated, with the same result.
pub(super) async fn collect(
    context: &Context,
    dir: &AttemptDir,
    task: Arc<Task>,
    (place, succeeded, masks): (Arc<Place>, bool, Option<Arc<Masks>>),
) -> Collected {
    let blobs = Arc::clone(&context.blobs);
    let workspaces = Arc::clone(&context.workspaces);
    let mut python = context.interpreters.python_result(dir, &task);
    if let Some(masks) = &masks {
        python.outputs.iter_mut().for_each(|(_, json)| *json = masks.json(json));
    }
    let dir = dir.clone();
    let untouched = place.is_unused();
    let nothing_given = python.outputs.is_empty()
        && !dir.out().exists()
        && Listing::open(&dir.outputs()).and_then(|files| files.is_empty()).unwrap_or(false);
    let work = move || {
        let mut collected = Collected {
            calls: python.calls.clone(),
            remarks: python.remarks.clone(),
            ..Collected::default()
        };
        if !untouched {
            match workspaces.capture(&place) {
                Ok(captured) => collected.take_capture(captured),
                Err(error) => collected.spoilt = Some(StartFailure::caused(&error)),
            }
        }
        if succeeded {
            let blobs = (!nothing_given).then_some(&*blobs);
            match outputs(&dir, &task, (&python.outputs, masks.as_ref()), blobs) {
                Ok(outputs) => collected.outputs = outputs,
                Err(failure) => collected.spoilt = Some(failure),
            }
        } else {
            collected.explain(&dir, &task, &python, &*blobs);
        }
        collected
    };
    if succeeded && untouched && nothing_given {
        // Not worth a thread.
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Collected {
        spoilt: Some(StartFailure::internal(error.to_string())),
        ..Collected::default()
    })
}

impl Collected {
    fn take_capture(&mut self, captured: Captured) {
        self.changes = captured.changes.map(|digest| digest.to_string()).unwrap_or_default();
        let all = captured.artifacts.len();
        let mut left = MAX_ARTIFACT_BYTES;
        let fits = |artifact: &Artifact| {
            let size = artifact.encoded_len() + ENTRY_BYTES;
            left.checked_sub(size).inspect(|rest| left = *rest).is_some()
        };
        let artifacts = captured.artifacts.into_iter().take(MAX_ARTIFACTS).map(artifact);
        self.artifacts = artifacts.take_while(fits).collect();
        if self.artifacts.len() < all {
            self.remarks.push(format!(
                "{all} files were changed; the first {} are listed, later steps see all",
                self.artifacts.len()
            ));
        }
        for Skipped { path, why } in captured.skipped.iter().take(MAX_SKIPPED_LINES) {
            self.remarks.push(format!("`{path}` is not kept: {}", skipped(*why)));
        }
        if captured.skipped.len() > MAX_SKIPPED_LINES {
            let more = captured.skipped.len() - MAX_SKIPPED_LINES;
            self.remarks.push(format!("{more} more files are not kept"));
        }
    }

    /// Why it failed, as far as that can be told.
    fn explain(
        &mut self,
        dir: &AttemptDir,
        task: &Task,
        python: &PythonResult,
        blobs: &dyn BlobAccess,
    ) {
        if !python.failure.is_empty() {
            self.hints.push(python.failure.clone());
        }
        let left_out = task.left_out.parse::<Digest>().ok();
        let Some(left_out) = left_out.and_then(|digest| blobs.read(&digest, MAX_LEFT_OUT).ok())
        else {
            return;
        };
        let missing = ["stderr", "stdout"]
            .iter()
            .find_map(|name| hint::missing_file(&hint::tail(&dir.log(name)), &left_out));
        if let Some(path) = missing {
            let advice = hint::advice(&path);
            self.remarks.push(advice.clone());
            self.hints.push(advice);
        }
    }
}

fn artifact(fact: ArtifactFact) -> Artifact {
    let path = fact.path;
    let (kind, digest, size, executable) = match fact.entry {
        Entry::File { digest, size, executable } => (Kind::File, Some(digest), size, executable),
        Entry::Symlink { target, size } => (Kind::Symlink, Some(target), size, false),
        Entry::Deleted => (Kind::Deleted, None, 0, false),
    };
    Artifact {
        path,
        kind: kind.into(),
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
        executable,
    }
}

fn skipped(why: crate::workspace::Why) -> &'static str {
    use crate::workspace::Why;
    match why {
        Why::NotUtf8 => "its name is not UTF-8",
        Why::Special => "it is a socket, a pipe or a device",
        Why::Unreadable => "it cannot be read",
        Why::TooLong => "its path is too long",
    }
}

/// What a step's function returned, and what is masked in all that it gave.
type Returned<'a> = (&'a [(String, String)], Option<&'a Arc<Masks>>);

/// Everything the step gave as outputs. None where it is known to have given nothing.
fn outputs(
    dir: &AttemptDir,
    task: &Task,
    returned: Returned<'_>,
    blobs: Option<&dyn BlobAccess>,
) -> Result<Vec<Output>, StartFailure> {
    let given = blobs.map_or_else(|| Ok(BTreeMap::new()), |blobs| given(dir, returned, blobs))?;
    let missing = task.outputs.iter().find(|spec| !given.contains_key(&spec.name));
    if let Some(missing) = missing {
        let name = &missing.name;
        return Err(StartFailure::new(format!(
            "it ended well, but gave no output `{name}`: write $WINDLASS_OUTPUTS/{name}.json or \
             append `{name}=…` to $WINDLASS_OUT"
        )));
    }
    Ok(given.into_values().collect())
}

/// Files in WINDLASS_OUTPUTS, what its function returned, then lines of WINDLASS_OUT, by name.
fn given(
    dir: &AttemptDir,
    (returned, masks): Returned<'_>,
    blobs: &dyn BlobAccess,
) -> Result<BTreeMap<String, Output>, StartFailure> {
    let mut outputs: BTreeMap<String, Output> = BTreeMap::new();
    let twins = |name: &str| {
        StartFailure::new(format!(
            "there are two files for the output `{name}` in $WINDLASS_OUTPUTS"
        ))
    };
    for output in output_files(dir, masks, blobs)? {
        if let Some(twin) = outputs.insert(output.name.clone(), output) {
            return Err(twins(&twin.name));
        }
    }
    for (name, json) in returned {
        let given = outputs.insert(name.clone(), json_output(name, json, blobs)?);
        if let Some(twin) = given.filter(|given| given.codec != "json") {
            return Err(twins(&twin.name));
        }
    }
    for (name, json) in out_values(dir)? {
        let json = masks.map_or_else(|| json.clone(), |masks| masks.json(&json));
        let output = json_output(&name, &json, blobs)?;
        outputs.insert(name, output);
    }
    if outputs.len() > MAX_OUTPUTS {
        return Err(StartFailure::new(format!("more than {MAX_OUTPUTS} outputs")));
    }
    Ok(outputs)
}

fn json_output(name: &str, json: &str, blobs: &dyn BlobAccess) -> Result<Output, StartFailure> {
    let digest = blobs
        .put_bytes(json.as_bytes())
        .map_err(|e| StartFailure::io(&format!("keep the output `{name}`"), e))?;
    Ok(output(name.to_owned(), &digest, json.len() as u64, "json".into()))
}

/// A JSON output without the secrets in it.
fn masked_json(
    path: &std::path::Path,
    name: &str,
    masks: &Arc<Masks>,
    blobs: &dyn BlobAccess,
) -> Result<Output, StartFailure> {
    let unreadable = |e| StartFailure::io(&format!("read the output `{name}`"), e);
    let bytes = step_file::read(path, MAX_CHECKED_JSON + 1).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_CHECKED_JSON {
        let told = format!("the output `{name}` is too large to be looked through for secrets");
        return Err(StartFailure::new(told));
    }
    json_output(name, &masks.json(&String::from_utf8_lossy(&bytes)), blobs)
}

fn output(name: String, digest: &Digest, size: u64, codec: String) -> Output {
    let size_bytes = i64::try_from(size).unwrap_or(i64::MAX);
    Output { name, digest: digest.to_string(), size_bytes, codec }
}

fn out_values(dir: &AttemptDir) -> Result<BTreeMap<String, String>, StartFailure> {
    let bytes = match step_file::read(&dir.out(), out_lines::MAX_OUT + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(StartFailure::io("read $WINDLASS_OUT", error)),
    };
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > out_lines::MAX_OUT {
        return Err(StartFailure::new(format!(
            "$WINDLASS_OUT has more than the {} bytes that are read. Large values belong into \
             $WINDLASS_OUTPUTS",
            out_lines::MAX_OUT
        )));
    }
    out_lines::parse(&bytes).map_err(StartFailure::new)
}

fn output_files(
    dir: &AttemptDir,
    masks: Option<&Arc<Masks>>,
    blobs: &dyn BlobAccess,
) -> Result<Vec<Output>, StartFailure> {
    let unreadable = |e| StartFailure::io("read $WINDLASS_OUTPUTS", e);
    let mut outputs = Vec::new();
    for entry in fs::read_dir(dir.outputs()).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let file_name = entry.file_name();
        let bad = |why: &str| {
            StartFailure::new(format!("`{}` in $WINDLASS_OUTPUTS {why}", file_name.display()))
        };
        let name = file_name.to_str().ok_or_else(|| bad("has a name that is not UTF-8"))?;
        let (name, codec) = name.split_once('.').unwrap_or((name, ""));
        if !StepPath::is_name(name) {
            return Err(bad("is no name of an output: letters, digits, `_` and `-`, then `.EXT`"));
        }
        if codec == contract::LIST {
            return Err(bad("ends in `.list`, which stands for what instances of a step gave"));
        }
        if !is_codec(codec) {
            return Err(bad("has an ending of other than letters, digits and `_.+-`"));
        }
        if !entry.file_type().map_err(unreadable)?.is_file() {
            return Err(bad("is no plain file"));
        }
        if let Some(masks) = masks.filter(|_| codec == "json") {
            outputs.push(masked_json(&entry.path(), name, masks, blobs)?);
            continue;
        }
        let (digest, size) = blobs
            .take_file(&entry.path())
            .map_err(|e| StartFailure::io(&format!("keep the output `{name}`"), e))?;
        if codec == "json" && size <= MAX_CHECKED_JSON {
            let bytes = step_file::read(&entry.path(), MAX_CHECKED_JSON).map_err(unreadable)?;
            serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
                .map_err(|error| bad(&format!("is no JSON: {error}")))?;
        }
        let codec = if codec == "pkl" { "pickle" } else { codec };
        outputs.push(output(name.to_owned(), &digest, size, codec.to_owned()));
    }
    Ok(outputs)
}
