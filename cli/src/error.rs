use std::io;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How a command ends, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    RunFailed,
    Refused,
    Cancelled,
    Unreachable,
    /// Ended by SIGTERM; the run goes on.
    Terminated,
}

impl Exit {
    /// The number of the contract; for a signal, as shells say it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::RunFailed => 1,
            Self::Refused => 2,
            Self::Cancelled => 3,
            Self::Unreachable => 4,
            Self::Terminated => 128 + 15,
        }
    }
}

/// One thing that is wrong, with its place and the mend where they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    /// File, within the project or as the user named it; may be empty.
    pub(crate) path: String,
    /// Both count from 1; 0 where there is no place.
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Wrong usage, an invalid pipeline, something unknown, or a refusal.
    #[error("refused")]
    Refused(Vec<Problem>),
    /// No daemon answers, or it broke down.
    #[error("{0}")]
    Unreachable(String),
    /// The reader of our output went away: not an error for anybody.
    #[error("nobody reads the output")]
    ReaderGone,
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

impl CliError {
    /// A refusal in one sentence.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(vec![Problem { message: message.into(), ..Problem::default() }])
    }

    /// A refusal with what to do about it.
    pub(crate) fn refused_with(message: impl Into<String>, help: impl Into<String>) -> Self {
        let problem = Problem { message: message.into(), help: help.into(), ..Problem::default() };
        Self::Refused(vec![problem])
    }

    /// An input or output error while doing `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit code that stands for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) | Self::Io { .. } => Exit::Refused,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::ReaderGone => Exit::Ok,
        }
    }
}

/// Errors of our own output; those of other files are made with [`CliError::io`].
impl From<io::Error> for CliError {
    fn from(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Io { what: "cannot write the output".into(), source }
        }
    }
}

/// True where the connection broke, rather than the daemon answering.
pub(crate) fn connection_lost(status: &Status) -> bool {
    let answered = status.get_details_error_info().is_some();
    let broken = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
    !answered && (broken || (status.code() == Code::Internal && has_source(status)))
}

/// True where the daemon leaves on purpose.
pub(crate) fn shutting_down(status: &Status) -> bool {
    reason(status).is_some_and(|reason| reason == "SHUTTING_DOWN")
}

/// The reason of the closed list that an answer carries.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// An error and what caused it, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn has_source(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        if connection_lost(&status) {
            return Self::Unreachable(format!("the daemon went away: {}", status.message()));
        }
        if let Some(sizes) = oversize(&status) {
            return Self::refused_with(
                format!("the request is larger than the daemon takes: {sizes}"),
                "give less at once; put large data into files of the project",
            );
        }
        match status.code() {
            Code::Unimplemented => Self::Unreachable(format!(
                "the running daemon is of another version and cannot do this (this is {}): \
                 stop it with `windlass daemon stop`",
                env!("CARGO_PKG_VERSION")
            )),
            Code::Internal | Code::DataLoss | Code::Unknown | Code::Unavailable => {
                Self::Unreachable(format!("the daemon failed: {}", status.message()))
            }
            _ => Self::Refused(problems(&status)),
        }
    }
}

/// What the transport says of a message over its limit; it knows no reasons.
fn oversize(status: &Status) -> Option<&str> {
    let text = status.message();
    let (_, sizes) = text.split_once("message length too large: ")?;
    matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted).then_some(sizes)
}

fn problems(status: &Status) -> Vec<Problem> {
    let violations = status.get_details_bad_request().map_or_else(Vec::new, |b| b.field_violations);
    let about_the_pipeline = reason(status).is_some_and(|reason| reason == "INVALID_PIPELINE");
    if violations.is_empty() || !about_the_pipeline {
        let (message, help) = split_help(status.message());
        return vec![Problem { message, help, ..Problem::default() }];
    }
    let problem = |violation: tonic_types::FieldViolation| {
        let (message, help) = split_help(&violation.description);
        let (path, line, column) = split_place(&violation.field);
        Problem { path, line, column, message, help }
    };
    violations.into_iter().map(problem).collect()
}

/// Takes the lines that begin with `help: ` off a message.
fn split_help(text: &str) -> (String, String) {
    match text.split_once("\nhelp: ") {
        Some((message, help)) => (message.to_owned(), help.to_owned()),
        None => (text.to_owned(), String::new()),
    }
}

/// Reads `FILE:LINE:COLUMN`, or `FILE` alone.
fn split_place(field: &str) -> (String, u32, u32) {
    let place = || {
        let (rest, column) = field.rsplit_once(':')?;
        let (path, line) = rest.rsplit_once(':')?;
        Some((path.to_owned(), line.parse().ok()?, column.parse().ok()?))
    };
    place().unwrap_or_else(|| (field.to_owned(), 0, 0))
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

    use super::{CliError, Exit, Problem};

    fn status(code: Code, reason: &str, violations: Vec<FieldViolation>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "windlass", std::collections::HashMap::new());
        if !violations.is_empty() {
            details.set_bad_request(violations);
        }
        Status::with_error_details(code, "no run `nope`", details)
    }

    #[test]
    fn places_and_mends_are_read_from_an_invalid_pipeline() {
        let violations = vec![FieldViolation::new(
            "a:b.yaml:3:19",
            "unknown key `retyr`\nhelp: did you mean `retry`?",
        )];
        let error = CliError::from(status(Code::InvalidArgument, "INVALID_PIPELINE", violations));

        let CliError::Refused(problems) = &error else { panic!("{error:?}") };
        let expected = Problem {
            path: "a:b.yaml".into(),
            line: 3,
            column: 19,
            message: "unknown key `retyr`".into(),
            help: "did you mean `retry`?".into(),
        };
        assert_eq!((problems.as_slice(), error.exit()), (&[expected][..], Exit::Refused));
    }

    #[test]
    fn exit_codes_follow_the_kind_of_answer() {
        for (code, reason, expected) in [
            (Code::NotFound, "RUN_NOT_FOUND", Exit::Refused),
            (Code::FailedPrecondition, "RUN_NOT_ENDED", Exit::Refused),
            (Code::ResourceExhausted, "BUSY", Exit::Refused),
            (Code::Internal, "INTERNAL", Exit::Unreachable),
            (Code::Unavailable, "SHUTTING_DOWN", Exit::Unreachable),
        ] {
            let error = CliError::from(status(code, reason, vec![]));
            assert_eq!(error.exit(), expected, "{code:?} {reason}");
        }
        let large = "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes";
        let CliError::Refused(large) = CliError::from(Status::out_of_range(large)) else {
            panic!()
        };
        assert!(large[0].message.ends_with("found 9 bytes, the limit is: 4 bytes"), "{large:?}");
        assert!(large[0].help.contains("give less"), "{large:?}");
        let lost = CliError::from(Status::unavailable("transport error"));
        assert_eq!(lost.exit(), Exit::Unreachable);
    }
}
