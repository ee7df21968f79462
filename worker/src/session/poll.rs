use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;
use windlass_proto::{
    parse_lease,
    worker::v1::{AttemptLease, LeaseAttemptsRequest},
};

use super::{
    Refused,
    link::{Link, Session},
    registry::{Registry, Slot},
};
use crate::attempt::{Context, From, Held, run};

/// Pause after a poll that was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// How long the daemon holds a poll open.
const HOLD: Duration = Duration::from_secs(30);

/// A poll that takes this much longer was lost.
const HOLD_SLACK: Duration = Duration::from_secs(10);

/// Takes leases and runs them.
pub(super) struct Runner {
    pub(super) context: Arc<Context>,
    pub(super) registry: Arc<Registry>,
    pub(super) link: Link,
    pub(super) stop: CancellationToken,
}

impl Runner {
    /// Polls for work while there are free slots.
    pub(super) async fn poll(self: &Arc<Self>) -> Result<(), Refused> {
        let mut free = self.registry.free();
        loop {
            let slots = *free.wait_for(|free| *free > 0).await.map_err(|_| Refused::Closed)?;
            let poll = PollId::default();
            let leases = match self.link.call(|session| lease(session, &poll, slots)).await {
                Ok(leases) => leases,
                Err(Refused::Closed) => return Err(Refused::Closed),
                Err(error) => {
                    // Whatever it is about, the next poll may be about something else.
                    tracing::error!(%error, "a poll was refused");
                    sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            for lease in leases {
                let slot = self.registry.take_slot();
                self.begin(lease, slot);
            }
        }
    }

    /// Runs a lease, and those that come with the answer to its report, one after the other.
    pub(super) fn begin(self: &Arc<Self>, lease: AttemptLease, slot: Slot) {
        if let Some(held) = self.take(&lease) {
            self.begin_held(held, From::Lease(lease), slot);
        }
    }

    /// Runs an attempt that is in the registry already.
    pub(super) fn begin_held(self: &Arc<Self>, held: Arc<Held>, from: From, slot: Slot) {
        let runner = Arc::clone(self);
        self.context.tasks.spawn(async move {
            tokio::select! {
                // First: what was given back when the session closed must not start after that.
                biased;
                () = runner.stop.cancelled() => {}
                () = runner.chain(held, from, slot) => {}
            }
        });
    }

    async fn chain(self: &Arc<Self>, held: Arc<Held>, from: From, slot: Slot) {
        let mut next = Some((held, from));
        while let Some((held, from)) = next.take() {
            let wants_next = || !self.stop.is_cancelled();
            let leases = Box::pin(run(&self.context, &held, from, wants_next)).await;
            self.registry.remove(held.lease);
            for lease in leases {
                match (&next, self.take(&lease)) {
                    (_, None) => {}
                    (None, Some(held)) => next = Some((held, From::Lease(lease))),
                    (Some(_), Some(held)) => {
                        let slot = self.registry.take_slot();
                        self.begin_held(held, From::Lease(lease), slot);
                    }
                }
            }
        }
        drop(slot);
    }

    /// Notes a new lease; `None` where it is held already, or is none.
    fn take(&self, lease: &AttemptLease) -> Option<Arc<Held>> {
        match parse_lease(lease.lease.as_ref()) {
            Ok((_, _, _, id)) => self.registry.add(lease.lease.clone()?, id),
            Err(error) => {
                tracing::error!(%error, "the daemon gave a lease that is none");
                None
            }
        }
    }
}

/// Asks once. Repeats of a poll that went wrong on the same session carry the same id.
async fn lease(
    mut session: Session,
    poll: &PollId,
    slots: u32,
) -> Result<Vec<AttemptLease>, Status> {
    let request = LeaseAttemptsRequest {
        session_id: session.id.clone(),
        poll_id: poll.on(&session.id),
        max_attempts: slots,
        wait: prost_types::Duration::try_from(HOLD).ok(),
    };
    match timeout(HOLD + HOLD_SLACK, session.client.lease_attempts(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().leases),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::unavailable("a poll was never answered")),
    }
}

/// Names one poll on each session that it is made on: a repeat on the same session has the same
/// name, so that its leases are not given twice. On a new one it is another poll, since the leases
/// of the old session were given back when it was opened.
#[derive(Default)]
pub(super) struct PollId(Mutex<Option<(String, String)>>);

impl PollId {
    pub(super) fn on(&self, session: &str) -> String {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, id)) if known == session => id.clone(),
            _ => {
                let id = Uuid::new_v4().to_string();
                *last = Some((session.to_owned(), id.clone()));
                id
            }
        }
    }
}
