use std::time::Duration;

/// Further tries that a step gets after losses of worker, keeper or host. They do not count
/// against `times`.
pub const LOSS_BUDGET: u32 = 3;

/// Largest part of a wait that jitter takes away.
const JITTER_SHARE: f64 = 0.1;

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Exit,
    Timeout,
    Oom,
    Lost,
}

/// The failures after which a step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    pub exit: bool,
    pub timeout: bool,
    pub oom: bool,
    pub lost: bool,
}

/// When a step is tried again, and after which wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Further tries after the first; losses have [`LOSS_BUDGET`] instead.
    pub times: u32,
    pub backoff: Duration,
    pub factor: f64,
    pub max: Duration,
    pub on: RetryOn,
}

impl RetryPolicy {
    /// One try, whatever happens.
    pub const NEVER: Self = Self {
        times: 0,
        backoff: Duration::ZERO,
        factor: 1.0,
        max: Duration::MAX,
        on: RetryOn { exit: true, timeout: true, oom: true, lost: false },
    };

    /// Wait before the next try after `used` earlier retries of this kind of failure, or `None`
    /// where the step has failed for good. `jitter` in 0..1 shortens the wait by up to a tenth.
    pub fn delay(&self, failure: Failure, used: u32, jitter: f64) -> Option<Duration> {
        let (allowed, budget) = match failure {
            Failure::Exit => (self.on.exit, self.times),
            Failure::Timeout => (self.on.timeout, self.times),
            Failure::Oom => (self.on.oom, self.times),
            Failure::Lost => (self.on.lost, LOSS_BUDGET),
        };
        (allowed && used < budget).then(|| self.wait(used, jitter))
    }

    /// `backoff · factor^used`, at most `max`, less the jitter.
    fn wait(&self, used: u32, jitter: f64) -> Duration {
        let grown = self.backoff.as_secs_f64() * self.factor.max(0.0).powf(f64::from(used));
        let bounded = Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX).min(self.max);
        let kept = 1.0 - JITTER_SHARE * jitter.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(bounded.as_secs_f64() * kept).unwrap_or(bounded).min(bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            times: 4,
            backoff: Duration::from_secs(2),
            factor: 3.0,
            max: Duration::from_secs(20),
            on: RetryOn { exit: true, timeout: false, oom: true, lost: false },
        }
    }

    #[test]
    fn waits_grow_up_to_the_bound_and_end_with_the_tries() {
        let table = [(0, Some(2)), (1, Some(6)), (2, Some(18)), (3, Some(20)), (4, None)];
        for (used, secs) in table {
            let wait = policy().delay(Failure::Exit, used, 0.0);
            assert_eq!(wait, secs.map(Duration::from_secs), "{used}");
        }
    }

    #[test]
    fn jitter_shortens_by_at_most_a_tenth() {
        let wait = policy().delay(Failure::Oom, 0, 1.0).unwrap();
        assert!((wait.as_secs_f64() - 1.8).abs() < 1e-9, "{wait:?}");
    }

    #[test]
    fn only_named_failures_are_tried_again_and_losses_have_their_own_budget() {
        assert_eq!(policy().delay(Failure::Timeout, 0, 0.0), None);
        assert_eq!(policy().delay(Failure::Lost, 0, 0.0), None);
        let on = RetryOn { lost: true, ..policy().on };
        let lost = RetryPolicy { times: 0, on, ..policy() };
        assert!(lost.delay(Failure::Lost, LOSS_BUDGET - 1, 0.0).is_some());
        assert_eq!(lost.delay(Failure::Lost, LOSS_BUDGET, 0.0), None);
        assert_eq!(lost.delay(Failure::Exit, 0, 0.0), None);
    }

    #[test]
    fn absurd_numbers_are_bounded() {
        let huge = RetryPolicy { factor: 1e300, times: u32::MAX, ..policy() };
        assert_eq!(huge.delay(Failure::Exit, 1000, 0.0), Some(Duration::from_secs(20)));
        let nan = RetryPolicy { factor: f64::NAN, ..policy() };
        assert!(nan.delay(Failure::Exit, 1, f64::NAN).is_some());
    }
}
