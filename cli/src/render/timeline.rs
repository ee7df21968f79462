use std::time::Duration;

use jiff::Timestamp;
use windlass_proto::api::v1;

use super::words::{elapsed, instant};

/// When a step began and ended; one that still runs ends now.
pub(crate) fn span(step: &v1::Step, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    if let Some(from) = step.start_time.as_ref().and_then(instant) {
        // Of what is below it.
        let to = step.end_time.as_ref().and_then(instant);
        return Some((from, to.unwrap_or(now)));
    }
    let first = step.attempts.first()?;
    let last = step.attempts.last()?;
    let begin = |attempt: &v1::Attempt| {
        let ended = attempt.end.as_ref().and_then(|end| end.start_time.as_ref());
        let time = ended.or(attempt.start_time.as_ref()).or(attempt.lease_time.as_ref());
        time.and_then(instant)
    };
    let end = last.end.as_ref().and_then(|end| end.end_time.as_ref()).and_then(instant);
    let end = if last.end.is_some() { end.or_else(|| begin(last)) } else { Some(now) };
    Some((begin(first)?, end?))
}

/// How long a step took, all attempts and the waits between them together.
pub(crate) fn step_time(step: &v1::Step, now: Timestamp) -> Option<Duration> {
    span(step, now).map(|(from, to)| elapsed(from, to))
}

/// How long a run took, or has been going on.
pub(crate) fn run_time(run: &v1::Run, now: Timestamp) -> Option<Duration> {
    let start = run.start_time.as_ref().and_then(instant)?;
    let end = run.end_time.as_ref().and_then(instant).unwrap_or(now);
    Some(elapsed(start, end))
}

/// The time that all bars of a run share.
pub(crate) struct Axis {
    from: Timestamp,
    length: Duration,
    width: usize,
}

impl Axis {
    /// From the first begin to the last end, in `width` columns; `None` where nothing began.
    pub(crate) fn of(steps: &[v1::Step], now: Timestamp, width: usize) -> Option<Self> {
        let spans: Vec<_> = steps.iter().filter_map(|step| span(step, now)).collect();
        let from = spans.iter().map(|(from, _)| *from).min()?;
        let to = spans.iter().map(|(_, to)| *to).max()?;
        Some(Self { from, length: elapsed(from, to), width })
    }

    /// A step's bar from the column in which it begins, in eighths of a column, at least one.
    pub(crate) fn bar(&self, span: (Timestamp, Timestamp)) -> String {
        let start = self.eighths(span.0).min(self.whole().saturating_sub(1));
        let length = self.eighths(span.1).clamp(start + 1, self.whole()) - start;
        let mut bar = " ".repeat(start / 8) + &"█".repeat(length / 8);
        if let Some(rest) = (length % 8).checked_sub(1) {
            bar.push(EIGHTHS[rest]);
        }
        bar
    }

    fn whole(&self) -> usize {
        self.width * 8
    }

    fn eighths(&self, time: Timestamp) -> usize {
        let at = elapsed(self.from, time).as_nanos();
        let whole = u128::try_from(self.whole()).unwrap_or(u128::MAX);
        let length = self.length.as_nanos().max(1);
        usize::try_from(at.saturating_mul(whole) / length).unwrap_or(usize::MAX)
    }
}

const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::Axis;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn bars_share_an_axis() {
        let axis = Axis { from: at(0), length: Duration::from_secs(8), width: 8 };
        for (from, to, expected) in [
            (0, 8_000, "████████"),
            (0, 4_000, "████"),
            (4_000, 8_000, "    ████"),
            (0, 0, "▏"),
            (8_000, 8_000, "       ▏"),
            (2_000, 2_500, "  ▌"),
            (0, 1_500, "█▌"),
        ] {
            assert_eq!(axis.bar((at(from), at(to))), expected, "{from}..{to}");
        }
        let instant = Axis { from: at(0), length: Duration::ZERO, width: 4 };
        assert_eq!(instant.bar((at(0), at(0))), "▏");
    }
}
