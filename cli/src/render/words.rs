use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use windlass_core::{AttemptState, RunState, StepState};
use windlass_proto::api::v1;

/// Digits of a run id that tell runs apart: its creation time in milliseconds.
const SHORT_ID: usize = 13;

/// The id of a run in short.
pub(crate) fn short_id(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// A run's state; one that this version does not know counts as queued.
pub(crate) fn run_state(run: &v1::Run) -> RunState {
    RunState::from_code(run.state.into()).unwrap_or(RunState::Queued)
}

/// A step's state; one that this version does not know counts as pending.
pub(crate) fn step_state(step: &v1::Step) -> StepState {
    StepState::from_code(step.state.into()).unwrap_or(StepState::Pending)
}

/// An attempt's state; one that this version does not know counts as leased.
pub(crate) fn attempt_state(attempt: &v1::Attempt) -> AttemptState {
    AttemptState::from_code(attempt.state.into()).unwrap_or(AttemptState::Leased)
}

/// A time of the API.
pub(crate) fn instant(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// From one time to a later one; what runs the other way took no time.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A length of time as people say it, in two units at most.
pub(crate) fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    let secs = time.as_secs();
    match secs {
        0 if millis < 10 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        0 => format!("{millis} ms"),
        1..=59 => format!("{:.1} s", time.as_secs_f64()),
        60..=3_599 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..=86_399 => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// Seconds as a length of time; nonsense counts as none.
pub(crate) fn seconds(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or_default()
}

/// CPU time as the API carries it.
pub(crate) fn cpu(time: &prost_types::Duration) -> Duration {
    let secs = u64::try_from(time.seconds).unwrap_or_default();
    Duration::new(secs, u32::try_from(time.nanos).unwrap_or_default().min(999_999_999))
}

/// How long ago something was.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let secs = elapsed(then, now).as_secs();
    match secs {
        0..=4 => "just now".into(),
        5..=59 => format!("{secs} s ago"),
        60..=3_599 => format!("{} min ago", secs / 60),
        3_600..=86_399 => format!("{} h ago", secs / 3_600),
        _ => plural(usize::try_from(secs / 86_400).unwrap_or(usize::MAX), "day") + " ago",
    }
}

/// A moment in the reader's own time zone.
pub(crate) fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A size in decimal units with three digits.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut whole = size;
    let mut rest = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1_000 {
            break;
        }
        (whole, rest, unit) = (whole / 1_000, whole % 1_000, next);
    }
    match whole {
        _ if unit == "B" => format!("{whole} B"),
        0..=9 => format!("{whole}.{:02} {unit}", rest / 10),
        10..=99 => format!("{whole}.{} {unit}", rest / 100),
        _ => format!("{whole} {unit}"),
    }
}

/// `1 step`, `2 steps`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A metric as people read it: no more digits than it has, at most six.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e15).contains(&magnitude) {
        return format!("{value:.4e}");
    }
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// The name of a signal, or its number in words.
pub(crate) fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(number - 1).ok().and_then(|at| NAMES.get(at));
    name.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ago, bytes, duration, number, plural, signal_name};

    #[test]
    fn lengths_of_time() {
        for (millis, expected) in [
            (0, "0.0 ms"),
            (4, "4.0 ms"),
            (340, "340 ms"),
            (12_340, "12.3 s"),
            (192_000, "3 min 12 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        let then = jiff::Timestamp::from_second(1_000_000).unwrap();
        let after = |secs: i64| jiff::Timestamp::from_second(1_000_000 + secs).unwrap();
        assert_eq!(ago(then, after(0)), "just now");
        assert_eq!(ago(then, after(-50)), "just now");
        assert_eq!(ago(then, after(125)), "2 min ago");
        assert_eq!(ago(then, after(90_000)), "1 day ago");
    }

    #[test]
    fn sizes_and_numbers() {
        for (size, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_234, "1.23 kB"),
            (54_100_000, "54.1 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
        for (value, expected) in [
            (0.13, "0.13"),
            (100.0, "100"),
            (-0.0, "0"),
            (1.0 / 3.0, "0.333333"),
            (1e-9, "1.0000e-9"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), expected);
        }
        assert_eq!((plural(1, "step"), plural(0, "step")), ("1 step".into(), "0 steps".into()));
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(40), "signal 40");
        assert_eq!(signal_name(0), "signal 0");
    }
}
