use tonic::Status;
use windlass_core::RunId;
use windlass_proto::common::v1::MetricPoint;

use crate::store::attempts::AttemptKey;

/// What streams of logs and metrics need to know about attempts. The engine's handle knows it.
#[tonic::async_trait]
pub(crate) trait Attempts: Send + Sync + 'static {
    /// Finds an attempt by run, step path and number; 0 is the last one of the step, which need
    /// not be there yet. Sees every commit that came before the call.
    async fn find(&self, run: &str, step: &str, attempt: u32) -> Result<Found, Status>;

    /// Changes of the run, its steps and its metrics from now on.
    fn changes(&self, run: RunId) -> Box<dyn Changes>;

    /// At most `limit` points of the attempt with a sequence above `after`, in their order.
    async fn metrics(
        &self,
        attempt: AttemptKey,
        after: u64,
        limit: u32,
    ) -> Result<Vec<MetricPoint>, Status>;
}

/// Waits for commits that change one run.
#[tonic::async_trait]
pub(crate) trait Changes: Send {
    /// Returns once something has changed since the last call; false where nothing will any more.
    /// May be dropped.
    async fn next(&mut self) -> bool;
}

/// An attempt, as far as there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) run: RunId,
    /// `None` where the last attempt was asked for and the step has had none.
    pub(crate) attempt: Option<AttemptKey>,
    /// The attempt has ended; where there is none, there never will be one.
    pub(crate) ended: bool,
}
