//! The files and variables by which every language learns its arguments.
use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::Path};

use windlass_core::Digest;
use windlass_proto::{
    common::v1::Output,
    limits::is_codec,
    worker::v1::{AttemptLease, Task, TaskArg, task_arg::Value},
};

use super::{AttemptDir, BlobAccess, StartFailure};
use crate::record;

/// Largest value handed over as a variable; a larger one stands in the JSON file only.
const MAX_VARIABLE: usize = 64 << 10;

/// Largest upstream value that is written into the JSON file of arguments.
const MAX_INLINE_OUTPUT: u64 = 16 << 20;

/// Codec of an output that is the list of what instances gave.
pub(super) const LIST: &str = "list";

/// Longest list of the items of an input.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Environment variables by name.
pub(crate) type Variables = std::collections::BTreeMap<OsString, OsString>;

/// Writes params file and inputs.
pub(super) fn write_files(
    dir: &AttemptDir,
    task: &Task,
    blobs: &dyn BlobAccess,
) -> Result<(), StartFailure> {
    // Those that are secret reach the step otherwise.
    let told = task.args.iter().filter(|arg| !task.secret_args.contains(&arg.name));
    let params = params_json(told, blobs)?;
    record::write(&dir.params(), params.as_bytes())
        .map_err(|e| StartFailure::io("write the arguments", e))?;
    for input in &task.inputs {
        let to = dir.inputs().join(file_name(&input.name, &input.codec));
        let failed = |e| StartFailure::io(&format!("copy the input `{}`", input.name), e);
        if input.codec == LIST {
            write_list(input, &to, blobs)?;
        } else {
            blobs.copy_to(&digest_of(input)?, &to).map_err(failed)?;
        }
    }
    Ok(())
}

/// An item of an output that is kept as a list.
#[derive(serde::Deserialize)]
struct Item {
    digest: String,
    codec: String,
}

/// Writes the items of a list into a directory: `0.json`, `1.pickle`…, `2.none` for one without a
/// value.
fn write_list(input: &Output, to: &Path, blobs: &dyn BlobAccess) -> Result<(), StartFailure> {
    let failed = |e| StartFailure::io(&format!("copy the input `{}`", input.name), e);
    let bad = |e: serde_json::Error| failed(std::io::Error::other(e));
    let text = blobs.read(&digest_of(input)?, MAX_LIST_BYTES).map_err(failed)?;
    let items: Vec<Option<Item>> = serde_json::from_slice(&text).map_err(bad)?;
    std::fs::create_dir(to).map_err(failed)?;
    for (place, item) in items.into_iter().enumerate() {
        let Some(Item { digest, codec }) = item else {
            std::fs::write(to.join(format!("{place}.none")), "").map_err(failed)?;
            continue;
        };
        if !is_codec(&codec) {
            return Err(failed(std::io::Error::other(format!("{codec:?} is no codec"))));
        }
        let output = Output { name: input.name.clone(), digest, ..Output::default() };
        let to = to.join(file_name(&place.to_string(), &codec));
        blobs.copy_to(&digest_of(&output)?, &to).map_err(failed)?;
    }
    Ok(())
}

/// File name of a value of that codec; a list is a directory.
pub(super) fn file_name(name: &str, codec: &str) -> String {
    if codec.is_empty() || codec == LIST { name.to_owned() } else { format!("{name}.{codec}") }
}

fn digest_of(output: &Output) -> Result<Digest, StartFailure> {
    let bad = || StartFailure::internal(format!("the input `{}` has no digest", output.name));
    output.digest.parse().map_err(|_| bad())
}

/// The arguments as one JSON object. An upstream value that is no JSON is among the inputs only.
fn params_json<'a>(
    args: impl Iterator<Item = &'a TaskArg>,
    blobs: &dyn BlobAccess,
) -> Result<String, StartFailure> {
    let mut text = String::from("{");
    for arg in args {
        let value = match &arg.value {
            Some(Value::Json(json)) => json.clone(),
            Some(Value::Output(output)) if output.codec == "json" => {
                let read = blobs.read(&digest_of(output)?, MAX_INLINE_OUTPUT);
                let Ok(bytes) = read else { continue };
                let Ok(json) = String::from_utf8(bytes) else { continue };
                json
            }
            Some(Value::Output(_)) | None => continue,
        };
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(&serde_json::Value::from(arg.name.as_str()).to_string());
        text.push_str(": ");
        text.push_str(value.trim());
    }
    text.push_str("}\n");
    Ok(text)
}

/// Everything in a step's environment, the interpreter's own variables given as `extra`.
///
/// From below: the caller's, what makes runs alike, `extra`, the step's `env`, the contract.
pub(super) fn variables(
    dir: &AttemptDir,
    lease: &AttemptLease,
    extra: Vec<(OsString, OsString)>,
    cwd: &Path,
) -> Variables {
    let default = Task::default();
    let task = lease.task.as_ref().unwrap_or(&default);
    let mut env = Variables::new();
    for (name, value) in &task.caller_env {
        if !name.starts_with("WINDLASS_PARAM_") && name != "OLDPWD" {
            env.insert(name.into(), OsString::from_vec(value.to_vec()));
        }
    }
    env.insert("PYTHONHASHSEED".into(), "0".into());
    let is_python =
        matches!(task.action, Some(windlass_proto::worker::v1::task::Action::Python(_)));
    if !is_python {
        env.insert("PYTHONUNBUFFERED".into(), "1".into());
    }
    env.extend(extra);
    env.extend(task.env.iter().map(|(name, value)| (name.into(), value.into())));
    limit_threads(&mut env, task);
    env.insert("PWD".into(), cwd.into());
    let attempt = lease.lease.as_ref().and_then(|l| l.attempt.clone()).unwrap_or_default();
    env.insert("WINDLASS_RUN_ID".into(), attempt.run_id.into());
    env.insert("WINDLASS_STEP".into(), attempt.step.into());
    env.insert("WINDLASS_ATTEMPT".into(), attempt.attempt.to_string().into());
    env.insert("WINDLASS_PARAMS".into(), dir.params().into());
    env.insert("WINDLASS_INPUTS".into(), dir.inputs().into());
    env.insert("WINDLASS_OUTPUTS".into(), dir.outputs().into());
    env.insert("WINDLASS_OUT".into(), dir.out().into());
    env.insert("WINDLASS_METRICS".into(), dir.metrics().into());
    for arg in &task.args {
        if let Some(Value::Json(json)) = &arg.value
            && let Some(text) = scalar_text(json)
        {
            env.insert(format!("WINDLASS_PARAM_{}", arg.name).into(), text.into());
        }
    }
    for (name, value) in &task.secrets {
        env.insert(name.into(), OsString::from_vec(value.to_vec()));
    }
    env
}

/// Variables by which libraries learn how many threads they may use.
const THREADS: [&str; 9] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
];

/// Has libraries use as many threads as the step has cores, where it says how many and neither it
/// nor its caller has set them.
fn limit_threads(env: &mut Variables, task: &Task) {
    let millis = task.resources.as_ref().map_or(0, |resources| resources.cpu_millis);
    if millis == 0 {
        return;
    }
    let threads = millis.div_ceil(1_000).to_string();
    for name in THREADS {
        env.entry(name.into()).or_insert_with(|| threads.clone().into());
    }
}

/// A scalar as people write it, or `None` for what has no place in a variable.
fn scalar_text(json: &str) -> Option<String> {
    let json = json.trim();
    let text = match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok()?,
        b'{' | b'[' => return None,
        b'n' => String::new(),
        // As it stands: a number must not change by being read.
        _ => json.to_owned(),
    };
    (text.len() <= MAX_VARIABLE && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_as_text() {
        let table = [
            ("1", Some("1")),
            ("1e-30", Some("1e-30")),
            ("123456789012345678901234567890", Some("123456789012345678901234567890")),
            ("true", Some("true")),
            ("null", Some("")),
            ("\"a \\\"b\\\" é\"", Some("a \"b\" é")),
            ("[1]", None),
            ("{}", None),
            ("\"\\u0000\"", None),
        ];
        for (json, text) in table {
            assert_eq!(scalar_text(json).as_deref(), text, "{json}");
        }
        assert_eq!(scalar_text(&format!("\"{}\"", "x".repeat(MAX_VARIABLE + 1))), None);
    }

    #[test]
    fn contract_is_over_the_step_and_the_step_over_the_caller() {
        let dir = AttemptDir::new(Path::new("/w"), windlass_core::LeaseId([1; 16]));
        let bytes = |text: &str| text.as_bytes().to_vec().into();
        let task = Task {
            caller_env: [
                ("A".to_owned(), bytes("caller")),
                ("B".to_owned(), bytes("caller")),
                ("WINDLASS_PARAM_old".to_owned(), bytes("1")),
                ("WINDLASS_OUT".to_owned(), bytes("elsewhere")),
            ]
            .into(),
            env: [("B".to_owned(), "step".to_owned())].into(),
            args: vec![TaskArg { name: "n".into(), value: Some(Value::Json("5".into())) }],
            ..Task::default()
        };
        let lease = AttemptLease { lease: None, task: Some(task) };

        let env = variables(&dir, &lease, vec![("A".into(), "extra".into())], Path::new("/c"));

        let get = |name: &str| env.get(std::ffi::OsStr::new(name)).and_then(|v| v.to_str());
        assert_eq!(get("A"), Some("extra"));
        assert_eq!(get("B"), Some("step"));
        assert_eq!(get("WINDLASS_PARAM_n"), Some("5"));
        assert_eq!(get("WINDLASS_PARAM_old"), None);
        assert_eq!(
            get("WINDLASS_OUT"),
            Some("/w/attempts/01010101010101010101010101010101/io/out")
        );
        assert_eq!(get("PYTHONHASHSEED"), Some("0"));
    }
}
