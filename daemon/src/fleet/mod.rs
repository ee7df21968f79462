//! Workers as the engine knows them: sessions, what each holds, and the table of live leases that
//! everyone may read.

pub(crate) mod capacity;
mod leases;
mod offers;
mod seats;

use std::{fmt, sync::Arc, time::Duration};

use uuid::Uuid;
use windlass_core::{LeaseId, Stop};

pub(crate) use self::leases::{LeaseEntry, Leases};
pub(crate) use self::seats::{Fleet, Parked, Seat, Session};

/// How often a worker renews its leases.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a lease lives without being renewed.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(8);

/// Silence after which a worker is shown as unreachable.
pub(crate) const UNREACHABLE_AFTER: Duration = Duration::from_secs(5);

/// How long a worker that went away is still reckoned with when a run is submitted, by the wall
/// clock.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// Most workers that are known.
pub(crate) const MAX_WORKERS: usize = 1_000;

/// Names one session of a worker; the next session of the same worker fences it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(crate) Arc<str>);

impl SessionId {
    /// An id that was never given before.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lease id that was never given before.
pub(crate) fn new_lease() -> LeaseId {
    LeaseId(*Uuid::new_v4().as_bytes())
}

/// What a worker is to do with an attempt that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Continue,
    Stop(Stop),
    /// No longer the worker's: kill, discard, report nothing.
    Abandon,
}
