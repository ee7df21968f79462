//! The shapes of request fields.

use std::collections::HashMap;

use prost::Message;
use tonic::Status;
use uuid::Uuid;
use windlass_core::Digest;
use windlass_proto::MAX_SPEC_BYTES;
use windlass_proto::api::v1::{ErrorReason, GitState, RunSource, run_source::Target};

use crate::rpc::status::{invalid, status};

/// Most labels of a run, and longest key and value, in characters.
const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY: usize = 64;
const MAX_LABEL_VALUE: usize = 256;

/// Longest name of a run, in characters.
const MAX_NAME: usize = 100;

/// Longest note, in characters.
const MAX_NOTE: usize = 10_000;

/// Longest other text, in characters.
const MAX_TEXT: usize = 1_000;

/// Most environment variables of a caller, and bytes of all of them.
const MAX_VARIABLES: usize = 4_096;
const MAX_ENVIRONMENT_BYTES: usize = 1 << 20;

/// A UUID that the client chose.
pub(super) fn request_id(text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| !id.is_nil())
        .ok_or_else(|| invalid("request_id", format!("{text:?} is not a UUID")))
}

/// A name that the caller chose, or `None`.
pub(super) fn name(text: String) -> Result<Option<String>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('@') {
        return Err(invalid("name", "must not start with `@`"));
    }
    if text.trim() != text {
        return Err(invalid("name", "must not begin or end with a space"));
    }
    line("name", &text, MAX_NAME)?;
    Ok(Some(text))
}

/// A note: any text, also of several lines.
pub(super) fn note(text: &str) -> Result<(), Status> {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.chars().count() > MAX_NOTE || text.contains(bad) {
        return Err(invalid("note", format!("must be text of at most {MAX_NOTE} characters")));
    }
    Ok(())
}

/// One line of text; may be empty.
pub(super) fn short(field: &str, text: &str) -> Result<(), Status> {
    line(field, text, MAX_TEXT)
}

fn line(field: &str, text: &str, max: usize) -> Result<(), Status> {
    if text.chars().count() > max || text.contains(char::is_control) {
        let told = format!("must be one line of at most {max} characters");
        return Err(invalid(field, told));
    }
    Ok(())
}

/// Labels: bounded, keys without `=`.
pub(super) fn labels(labels: &HashMap<String, String>) -> Result<(), Status> {
    if labels.len() > MAX_LABELS {
        return Err(status(ErrorReason::LimitExceeded, format!("at most {MAX_LABELS} labels")));
    }
    for (key, value) in labels {
        let field = format!("labels[{key:?}]");
        if key.is_empty() || key.contains('=') {
            return Err(invalid(field, "a key must not be empty or contain `=`"));
        }
        line(&field, key, MAX_LABEL_KEY)?;
        line(&field, value, MAX_LABEL_VALUE)?;
    }
    Ok(())
}

/// What the caller's git says.
pub(super) fn git(git: Option<&GitState>) -> Result<(), Status> {
    let Some(git) = git else { return Ok(()) };
    short("git.commit", &git.commit)?;
    short("git.branch", &git.branch)?;
    digest_or_empty("git.diff_digest", &git.diff_digest)
}

/// A digest, or nothing.
pub(super) fn digest_or_empty(field: &str, text: &str) -> Result<(), Status> {
    if text.is_empty() { Ok(()) } else { digest(field, text).map(drop) }
}

/// A digest.
pub(super) fn digest(field: &str, text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|_| invalid(field, format!("{text:?} is not a digest")))
}

/// What to run, and its target as the user named it.
pub(super) fn source(source: Option<RunSource>) -> Result<(RunSource, String), Status> {
    let source = source.ok_or_else(|| invalid("source", "must be set"))?;
    digest("source.snapshot", &source.snapshot)?;
    digest_or_empty("source.left_out", &source.left_out)?;
    let target = match &source.target {
        Some(Target::PipelineFile(path)) => path.clone(),
        Some(Target::Function(function)) => function.clone(),
        Some(Target::Command(command)) => command.argv.join(" "),
        Some(Target::Spec(spec)) => {
            let size = spec.encoded_len();
            if u64::try_from(size).is_ok_and(|size| size > MAX_SPEC_BYTES) {
                let told = format!("a spec of {size} bytes; at most {MAX_SPEC_BYTES}");
                return Err(status(ErrorReason::LimitExceeded, told));
            }
            spec.name.clone()
        }
        None => return Err(invalid("source.target", "must be set")),
    };
    let target = target.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    Ok((source, target))
}

/// A caller's environment: bounded, names that a process can have.
pub(super) fn environment<V: AsRef<[u8]>>(variables: &HashMap<String, V>) -> Result<(), Status> {
    let bytes: usize = variables.iter().map(|(name, v)| name.len() + v.as_ref().len()).sum();
    if variables.len() > MAX_VARIABLES || bytes > MAX_ENVIRONMENT_BYTES {
        let told = format!(
            "an environment of {} variables and {bytes} bytes; at most {MAX_VARIABLES} variables \
             and {MAX_ENVIRONMENT_BYTES} bytes",
            variables.len()
        );
        return Err(status(ErrorReason::LimitExceeded, told));
    }
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.as_ref().contains(&0) {
            let told = "a name must not be empty, and neither it nor the value contain NUL";
            return Err(invalid(format!("environment[{name:?}]"), told));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_that_is_no_place() {
        assert_eq!(name(String::new()).unwrap(), None);
        assert_eq!(name("späte Ernte".into()).unwrap().as_deref(), Some("späte Ernte"));
        for bad in ["@last", "a\nb", " a", "\u{1b}[31m", &"x".repeat(101)] {
            assert!(name(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_spec_is_bounded() {
        use windlass_proto::common::v1::PipelineSpec;
        let of = |len: usize| RunSource {
            target: Some(Target::Spec(PipelineSpec {
                name: "n".repeat(len),
                ..PipelineSpec::default()
            })),
            snapshot: "0".repeat(64),
            ..RunSource::default()
        };
        assert!(source(Some(of(10))).is_ok());
        let refused = source(Some(of(1 << 20))).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    }

    #[test]
    fn request_ids_are_uuids() {
        assert!(request_id("0190c3a0-0000-7000-8000-000000000000").is_ok());
        for bad in ["", "1", "00000000-0000-0000-0000-000000000000", "x".repeat(99).as_str()] {
            assert!(request_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn environments_and_labels_are_bounded() {
        let one = |name: &str, value: &[u8]| HashMap::from([(name.to_owned(), value.to_vec())]);
        assert!(environment(&one("A", b"1=\n\xff")).is_ok());
        assert!(environment(&one("", b"")).is_err());
        assert!(environment(&one("A=B", b"")).is_err());
        assert!(environment(&one("A", b"a\0b")).is_err());
        assert!(environment(&one("A", &vec![b'x'; MAX_ENVIRONMENT_BYTES])).is_err());
        let label = |key: &str| HashMap::from([(key.to_owned(), "v".to_owned())]);
        assert!(labels(&label("team")).is_ok());
        assert!(labels(&label("a=b")).is_err());
        assert!(labels(&label("")).is_err());
    }
}
