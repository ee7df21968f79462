use std::time::{SystemTime, UNIX_EPOCH};

use windlass_core::Timestamp;

/// Tells the time of day. Handed down from `main`, so that tests can set it.
pub type Clock = fn() -> Timestamp;

/// The machine's clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
