//! The worker's side of its session with the daemon: polls, heartbeats, directives, reports, logs.
use windlass_core::LeaseId;
use windlass_proto::{
    common::v1::{LogStream, MetricPoint},
    worker::v1::{LeaseProof, ReportAttemptRequest, ReportAttemptResponse, directive::Action},
};

use crate::attempt::{AttemptDir, Control};

mod connect;
mod link;
mod lock;
mod logs;
mod poll;
mod registry;
mod serve;
mod shipping;

pub(crate) use lock::take_lock;
pub(crate) use serve::{Identity, Service};

/// The daemon as one attempt sees it. Calls are repeated until they are answered.
#[tonic::async_trait]
pub(crate) trait Daemon: Send + Sync + 'static {
    /// Reports an attempt; session and poll id are filled in.
    async fn report(&self, request: ReportAttemptRequest)
    -> Result<ReportAttemptResponse, Refused>;

    async fn report_metrics(
        &self,
        proof: &LeaseProof,
        points: &[MetricPoint],
    ) -> Result<(), Refused>;

    /// From now on the logs in `dir` are sent as they grow.
    fn log_open(&self, proof: &LeaseProof, lease: LeaseId, dir: &AttemptDir);

    /// A log has at least this size.
    fn log_grew(&self, lease: LeaseId, stream: LogStream, size: u64);

    /// Returns once the daemon has all of the logs, or refuses them.
    async fn log_settled(&self, lease: LeaseId, sizes: LogSizes);

    /// Forgets the logs.
    fn log_close(&self, lease: LeaseId);
}

/// Final sizes of an attempt's logs: stdout and stderr as kept in the spool, what was lost at
/// their ends, and the system log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSizes {
    pub(crate) output: [u64; 2],
    pub(crate) lost: [u64; 2],
    pub(crate) system: u64,
}

impl LogSizes {
    /// Size of stdout, lost bytes included.
    pub(crate) fn stdout(&self) -> u64 {
        self.output[0] + self.lost[0]
    }

    pub(crate) fn stderr(&self) -> u64 {
        self.output[1] + self.lost[1]
    }
}

/// The daemon does not want it, and would not if asked again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The attempt is another's.
    #[error("the lease has been given to another")]
    Fenced,
    #[error("the daemon refused: {}", .0.message())]
    Status(Box<tonic::Status>),
    /// This worker is stopping.
    #[error("the session is over")]
    Closed,
}

/// What an attempt is to do by the daemon's word.
pub(crate) fn control_of(action: Option<Action>) -> Control {
    match action {
        Some(Action::Stop) => Control::Stop,
        Some(Action::Kill) => Control::Kill,
        Some(Action::Abandon) => Control::Abandon,
        Some(Action::Continue | Action::Unspecified) | None => Control::Continue,
    }
}
