//! How long runs may take.

use std::time::Duration;

use windlass_core::{Event, RunId};

use super::{live::LiveRun, thread::Engine};

impl LiveRun {
    /// The longest that the run may take from its start on.
    fn time_limit(&self) -> Option<Duration> {
        let limit = self.shared.plan.spec.as_ref()?.timeout?;
        Duration::try_from(limit).ok().filter(|limit| !limit.is_zero())
    }
}

impl Engine {
    /// Sets the timer of a run that has begun and may not go on for ever. A timer that is set
    /// twice does no harm.
    pub(super) fn limit_time(&mut self, run: RunId) {
        let Some(live) = self.runs.get(&run) else { return };
        let state = live.machine.run();
        let (Some(limit), Some(start), None) = (live.time_limit(), state.start, state.cancel)
        else {
            return;
        };
        if state.state.is_terminal() {
            return;
        }
        let passed = u64::try_from(self.clock.now().0.saturating_sub(start.0)).unwrap_or(0);
        let left = limit.saturating_sub(Duration::from_micros(passed));
        self.timers.push_run(self.clock.monotonic() + left, run);
    }

    /// Ends a run that has taken too long.
    pub(super) fn time_is_up(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let Some(limit) = live.time_limit() else { return };
        if live.machine.run().cancel.is_none() {
            live.row.reason = format!("took longer than {}", words(limit));
        }
        let now = self.clock.now();
        self.apply(run, Event::RunTimeUp, now);
    }
}

/// A duration as a pipeline file would give it: `5m`, `1h30m`, `1.5s`.
fn words(time: Duration) -> String {
    let (secs, millis) = (time.as_secs(), time.subsec_millis());
    if secs < 60 && millis > 0 {
        return format!("{}s", time.as_secs_f64());
    }
    let parts = [(secs / 3600, "h"), (secs / 60 % 60, "m"), (secs % 60, "s")];
    let some = parts.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, unit)| format!("{count}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_as_pipelines_give_them() {
        let told = |millis| words(Duration::from_millis(millis));
        assert_eq!([told(300_000), told(5_400_000), told(3_605_000)], ["5m", "1h30m", "1h5s"]);
        assert_eq!([told(1_500), told(30_000), told(90_000)], ["1.5s", "30s", "1m30s"]);
    }
}
