use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;
use windlass_proto::worker::v1::worker_service_client::WorkerServiceClient;

use super::Refused;

/// Pauses before a call is repeated on a session that still stands.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// An open session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) client: WorkerServiceClient<Channel>,
    /// Fires when the connection or the session is no good any more.
    pub(super) broken: CancellationToken,
}

/// The way to whichever session is open.
#[derive(Clone)]
pub(super) struct Link {
    session: watch::Receiver<Option<Session>>,
}

/// What to do about a call that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Open a new session, then repeat.
    Reopen,
    /// Repeat after a pause.
    Repeat,
    Fenced,
    Refused,
}

/// Decides about a failed call.
pub(super) fn react(status: &Status) -> Reaction {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    match (reason.as_str(), status.code()) {
        ("SESSION_FENCED", _) => Reaction::Reopen,
        ("LEASE_FENCED", _) => Reaction::Fenced,
        ("BUSY", _) => Reaction::Repeat,
        // What tonic says of connections that break, in one way or another.
        (_, Code::Unavailable | Code::Unknown | Code::Cancelled) => Reaction::Reopen,
        // A full disk heals; what is over a limit stays so.
        (_, Code::DeadlineExceeded | Code::Internal | Code::Aborted) => Reaction::Repeat,
        _ => Reaction::Refused,
    }
}

impl Link {
    pub(super) fn new(session: watch::Receiver<Option<Session>>) -> Self {
        Self { session }
    }

    /// The open session, as soon as there is one.
    pub(super) async fn session(&self) -> Result<Session, Refused> {
        let mut receiver = self.session.clone();
        let open = |session: &Option<Session>| {
            session.as_ref().is_some_and(|session| !session.broken.is_cancelled())
        };
        let session = receiver.wait_for(open).await.map_err(|_| Refused::Closed)?;
        session.clone().ok_or(Refused::Closed)
    }

    /// Calls the daemon until it answers, through as many sessions as that takes.
    pub(super) async fn call<T, F>(&self, ask: impl Fn(Session) -> F) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut pause = RETRY_FIRST;
        loop {
            let session = self.session().await?;
            let answer = tokio::select! {
                answer = ask(session.clone()) => answer,
                () = session.broken.cancelled() => continue,
            };
            let status = match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match react(&status) {
                Reaction::Reopen => session.broken.cancel(),
                Reaction::Repeat => {
                    tracing::debug!(%status, "call will be repeated");
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LAST);
                }
                Reaction::Fenced => return Err(Refused::Fenced),
                Reaction::Refused => return Err(Refused::Status(Box::new(status))),
            }
        }
    }
}
