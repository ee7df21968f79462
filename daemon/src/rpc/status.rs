//! The one place that makes statuses.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use windlass_proto::InvalidId;
use windlass_proto::api::v1::{ErrorReason, PipelineError};

/// Domain of every `google.rpc.ErrorInfo`.
pub(crate) const DOMAIN: &str = "windlass";

/// What introduces the help within a violation's description, on a line of its own.
pub(crate) const HELP_MARK: &str = "\nhelp: ";

/// Most bytes of all violations of a status: its trailers must fit the 16 KiB that clients take.
const MAX_VIOLATIONS: usize = 6 << 10;

/// Longest description of one violation, and of a status, in bytes.
const MAX_TEXT: usize = 600;

/// An error with its reason in `google.rpc.ErrorInfo`; the reason decides the code.
pub(crate) fn status(reason: ErrorReason, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(word(reason), DOMAIN, []);
    Status::with_error_details(code(reason), clipped(message.into()), details)
}

/// A request field of the wrong shape, named by its path in the request.
pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Status {
    let (field, message) = (field.into(), clipped(message.into()));
    let mut details = ErrorDetails::with_error_info(word(ErrorReason::InvalidField), DOMAIN, []);
    details.add_bad_request_violation(field.clone(), message.clone());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// A field that should hold an id and does not.
pub(crate) fn invalid_id(error: InvalidId) -> Status {
    invalid(error.field, format!("{:?} is not {}", error.value, error.expected))
}

/// A pipeline refused: one violation each, `field` being `FILE:LINE:COLUMN` (or `FILE` where there
/// is no place), `description` the message and, after [`HELP_MARK`], the help.
pub(crate) fn invalid_pipeline(errors: Vec<PipelineError>) -> Status {
    let message = match errors.as_slice() {
        [] => "the pipeline is refused".to_owned(),
        [one] => one.message.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.message, rest.len()),
    };
    let mut room = MAX_VIOLATIONS;
    let fits = |violation: &FieldViolation| {
        let size = violation.field.len() + violation.description.len();
        room.checked_sub(size).inspect(|left| room = *left).is_some()
    };
    let violations: Vec<_> = errors.into_iter().map(violation).take_while(fits).collect();
    let mut details = ErrorDetails::with_error_info(word(ErrorReason::InvalidPipeline), DOMAIN, []);
    details.set_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, clipped(message), details)
}

/// Something broke on our side: told in full to the log, in short to the caller.
pub(crate) fn internal(error: &dyn std::error::Error) -> Status {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    tracing::error!("{text}");
    status(ErrorReason::Internal, text)
}

/// The daemon is about to leave; the same call will succeed at the next one.
pub(crate) fn shutting_down() -> Status {
    status(ErrorReason::ShuttingDown, "the daemon is stopping")
}

fn violation(error: PipelineError) -> FieldViolation {
    let field = match error.line {
        0 => error.path,
        line => format!("{}:{line}:{}", error.path, error.column),
    };
    let description = match error.help.as_str() {
        "" => clipped(error.message),
        help => clipped(error.message) + HELP_MARK + &clipped(help.to_owned()),
    };
    FieldViolation::new(field, description)
}

/// The reason as callers compare it: without the enum's prefix.
fn word(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

fn code(reason: ErrorReason) -> Code {
    use ErrorReason::{
        AttemptNotFound, BlobCorrupt, BlobNotFound, Busy, ConcurrencyFull, Internal, InvalidField,
        InvalidPipeline, LeaseFenced, LimitExceeded, NoWorkerFits, OffsetMismatch,
        PageTokenInvalid, ReadOnly, RunAmbiguous, RunNotEnded, RunNotFound, SessionFenced,
        ShuttingDown, StepNotFound, Unspecified, WorkerNotFound,
    };
    match reason {
        InvalidField | InvalidPipeline | PageTokenInvalid | RunAmbiguous => Code::InvalidArgument,
        RunNotFound | StepNotFound | AttemptNotFound | WorkerNotFound | BlobNotFound => {
            Code::NotFound
        }
        BlobCorrupt => Code::DataLoss,
        RunNotEnded | ReadOnly | ConcurrencyFull | NoWorkerFits => Code::FailedPrecondition,
        LeaseFenced | SessionFenced => Code::Aborted,
        Busy | LimitExceeded => Code::ResourceExhausted,
        ShuttingDown => Code::Unavailable,
        OffsetMismatch => Code::OutOfRange,
        Internal | Unspecified => Code::Internal,
    }
}

/// At most [`MAX_TEXT`] bytes of `text`, cut between characters.
fn clipped(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason_of(status: &Status) -> String {
        let info = status.get_error_details();
        let info = info.error_info().unwrap();
        assert_eq!(info.domain, DOMAIN);
        info.reason.clone()
    }

    #[test]
    fn every_reason_has_its_word_and_an_error_code() {
        for number in 1..=21 {
            let reason = ErrorReason::try_from(number).unwrap();
            let status = status(reason, "why");
            assert_ne!(status.code(), Code::Ok);
            assert_eq!(format!("ERROR_REASON_{}", reason_of(&status)), reason.as_str_name());
        }
    }

    #[test]
    fn a_field_is_named_by_its_path() {
        let status = invalid("source.snapshot", "is empty");
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(reason_of(&status), "INVALID_FIELD");
        assert_eq!((&*violation.field, &*violation.description), ("source.snapshot", "is empty"));
        assert_eq!(status.message(), "source.snapshot: is empty");
    }

    #[test]
    fn mistakes_in_a_pipeline_carry_place_and_help() {
        let error = |line, help: &str| PipelineError {
            path: "churn.yaml".into(),
            line,
            column: 3,
            message: "unknown key `neds`".into(),
            help: help.into(),
        };
        let status = invalid_pipeline(vec![error(7, "did you mean `needs`?"), error(0, "")]);
        let details = status.get_error_details();
        let found: Vec<_> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| (v.field.as_str(), v.description.as_str()))
            .collect();
        assert_eq!(reason_of(&status), "INVALID_PIPELINE");
        assert_eq!(status.code(), Code::InvalidArgument);
        let told = "unknown key `neds`\nhelp: did you mean `needs`?";
        assert_eq!(found, [("churn.yaml:7:3", told), ("churn.yaml", "unknown key `neds`")]);
    }

    #[test]
    fn a_flood_of_mistakes_stays_within_the_trailers() {
        let huge = PipelineError { message: "é".repeat(5_000), ..Default::default() };
        let status = invalid_pipeline(vec![huge; 500]);
        // Base64 for the details, three characters a byte for the message at worst.
        assert!(status.details().len() * 4 / 3 + status.message().len() * 3 < 12 << 10);
        assert!(!status.get_error_details().bad_request().unwrap().field_violations.is_empty());
    }
}
