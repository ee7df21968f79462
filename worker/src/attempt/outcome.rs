use std::time::Duration;

use windlass_core::Timestamp;
use windlass_proto::{
    common::v1::{AttemptEnd, AttemptState, EndReason, ResourceUsage},
    timestamp,
};

use super::StartFailure;
use crate::{
    executor::End,
    keeper::{ExitRecord, Outcome, StopCause},
};

/// How an attempt ended, as it is reported.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) state: AttemptState,
    pub(super) end: AttemptEnd,
}

/// Judges an execution that came to its end, with the limits of time and memory that it had.
pub(super) fn judge(
    end: &End,
    (timeout, memory): (Option<Duration>, Option<u64>),
    now: Timestamp,
) -> Verdict {
    match end {
        End::Ended(record) => judge_record(record, timeout, memory),
        End::Lost => Verdict {
            state: AttemptState::Lost,
            end: AttemptEnd {
                reason: EndReason::Lost.into(),
                message: "the keeper that owned its processes went away; they were killed".into(),
                end_time: Some(timestamp(now)),
                ..AttemptEnd::default()
            },
        },
    }
}

fn judge_record(record: &ExitRecord, timeout: Option<Duration>, memory: Option<u64>) -> Verdict {
    use AttemptState::{Cancelled, Failed, Lost, Oom, Succeeded, TimedOut};
    let (state, reason, message) = match (&record.outcome, record.stopped) {
        (Outcome::NotStarted(why), _) => (Failed, EndReason::StartError, why.clone()),
        (_, Some(StopCause::Asked)) => (Cancelled, EndReason::Cancelled, "cancelled".to_owned()),
        (_, Some(StopCause::TimedOut)) => {
            let limit = timeout.map(|t| format!(" {}", duration(t))).unwrap_or_default();
            (TimedOut, EndReason::Timeout, format!("ran longer than its limit{limit}"))
        }
        (_, Some(StopCause::OverMemory)) => {
            let (limit, peak) =
                (mebibytes(memory.unwrap_or_default()), mebibytes(record.peak_memory_bytes));
            (
                Oom,
                EndReason::Oom,
                format!("took more memory than it may: limit {limit}, peak {peak}"),
            )
        }
        (_, Some(StopCause::KeeperLeft)) => {
            (Lost, EndReason::Lost, "the keeper was told to leave and killed it".to_owned())
        }
        (_, None) if record.out_of_memory => {
            let peak = record.peak_memory_bytes >> 20;
            let message = format!("ran out of memory: killed by the kernel, peak {peak} MiB seen");
            (Oom, EndReason::Oom, message)
        }
        (Outcome::Exited(0), None) => (Succeeded, EndReason::ExitCode, String::new()),
        (Outcome::Exited(code), None) => {
            (Failed, EndReason::ExitCode, format!("ended with exit code {code}"))
        }
        (Outcome::Signalled(signal), None) => {
            (Failed, EndReason::Signal, format!("killed by signal {}", signal_text(*signal)))
        }
    };
    let (exit_code, signal) = match record.outcome {
        Outcome::Exited(code) => (Some(code), None),
        Outcome::Signalled(signal) => (None, Some(signal)),
        Outcome::NotStarted(_) => (None, None),
    };
    let cpu = Duration::from_micros(record.cpu_micros);
    let usage = ResourceUsage {
        peak_memory_bytes: record.peak_memory_bytes,
        cpu_time: prost_types::Duration::try_from(cpu).ok(),
    };
    let end = AttemptEnd {
        reason: reason.into(),
        exit_code,
        signal,
        message,
        usage: Some(usage),
        start_time: Some(timestamp(Timestamp(record.start_micros))),
        end_time: Some(timestamp(Timestamp(record.end_micros))),
    };
    Verdict { state, end }
}

/// An attempt that never got to run.
pub(super) fn not_started(failure: &StartFailure, now: Timestamp) -> Verdict {
    let reason = if failure.no_space { EndReason::NoSpace } else { EndReason::StartError };
    ended_before_start(AttemptState::Failed, reason, failure.message.clone(), now)
}

/// An attempt that was cancelled before it ran.
pub(super) fn cancelled_early(now: Timestamp) -> Verdict {
    let message = "cancelled before it started".to_owned();
    ended_before_start(AttemptState::Cancelled, EndReason::Cancelled, message, now)
}

fn ended_before_start(
    state: AttemptState,
    reason: EndReason,
    message: String,
    now: Timestamp,
) -> Verdict {
    let end_time = Some(timestamp(now));
    Verdict {
        state,
        end: AttemptEnd { reason: reason.into(), message, end_time, ..AttemptEnd::default() },
    }
}

impl Verdict {
    pub(super) fn is_success(&self) -> bool {
        self.state == AttemptState::Succeeded
    }

    /// It ended well, but what it made cannot be kept.
    pub(super) fn spoil(&mut self, failure: StartFailure) {
        let reason = if failure.no_space { EndReason::NoSpace } else { EndReason::OutputError };
        if self.is_success() {
            self.state = AttemptState::Failed;
            self.end.reason = reason.into();
        }
        self.add(&failure.message);
    }

    /// Adds a line to what people are told.
    pub(super) fn add(&mut self, line: &str) {
        if !self.end.message.is_empty() {
            self.end.message.push('\n');
        }
        self.end.message.push_str(line);
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn duration(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{time:?}") }
}

fn signal_text(signal: i32) -> String {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn record(outcome: Outcome, stopped: Option<StopCause>, out_of_memory: bool) -> End {
        End::Ended(Arc::new(ExitRecord {
            lease: String::new(),
            outcome,
            stopped,
            out_of_memory,
            start_micros: 1,
            end_micros: 2,
            peak_memory_bytes: 3 << 20,
            cpu_micros: 4,
            stdout_bytes: 0,
            stderr_bytes: 0,
            lost_bytes: [0; 2],
        }))
    }

    #[test]
    fn every_end_has_its_state_and_reason() {
        use Outcome::{Exited, NotStarted, Signalled};
        let asked = Some(StopCause::Asked);
        let table = [
            (record(Exited(0), None, false), AttemptState::Succeeded, EndReason::ExitCode, ""),
            (record(Exited(3), None, false), AttemptState::Failed, EndReason::ExitCode, "code 3"),
            (record(Signalled(11), None, false), AttemptState::Failed, EndReason::Signal, "SEGV"),
            (record(Signalled(9), None, true), AttemptState::Oom, EndReason::Oom, "3 MiB"),
            (record(Exited(0), asked, false), AttemptState::Cancelled, EndReason::Cancelled, ""),
            (
                record(Signalled(15), Some(StopCause::TimedOut), false),
                AttemptState::TimedOut,
                EndReason::Timeout,
                "limit 5 s",
            ),
            (
                record(Signalled(9), Some(StopCause::OverMemory), false),
                AttemptState::Oom,
                EndReason::Oom,
                "limit 2 MiB, peak 3 MiB",
            ),
            (
                record(Signalled(9), Some(StopCause::KeeperLeft), false),
                AttemptState::Lost,
                EndReason::Lost,
                "keeper",
            ),
            (
                record(NotStarted("no `x`".into()), None, false),
                AttemptState::Failed,
                EndReason::StartError,
                "no `x`",
            ),
            (End::Lost, AttemptState::Lost, EndReason::Lost, "keeper"),
        ];
        for (end, state, reason, part) in table {
            let verdict = judge(&end, (Some(Duration::from_secs(5)), Some(2 << 20)), Timestamp(7));
            assert_eq!((verdict.state, verdict.end.reason()), (state, reason), "{end:?}");
            assert!(verdict.end.message.contains(part), "{}", verdict.end.message);
        }
    }
}
