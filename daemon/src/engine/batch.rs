use std::sync::Arc;

use tokio::sync::mpsc;
use windlass_core::{LeaseId, RunId, StepIndex};
use windlass_proto::worker::v1::Directive;

use super::{AttemptEnded, EngineError, Grant, Reply};
use crate::fleet::{LeaseEntry, SessionId};

/// Gives one caller its answer, or the error that the whole batch met.
type Answer = Box<dyn FnOnce(Option<&EngineError>) + Send>;

/// What a transaction still has to do, once it is durable.
#[derive(Default)]
pub(super) struct Batch {
    /// Live runs that changed, in the order in which they did.
    pub(super) touched: Vec<RunId>,
    pub(super) new_leases: Vec<(LeaseId, LeaseEntry)>,
    pub(super) gone_leases: Vec<LeaseId>,
    pub(super) ended: Vec<AttemptEnded>,
    /// Steps that ask for an evaluation; true where their children have ended.
    pub(super) questions: Vec<(RunId, StepIndex, bool)>,
    pub(super) directives: Vec<(mpsc::Sender<Vec<Directive>>, Directive)>,
    /// Polls that were answered, to be remembered by their sessions.
    pub(super) polls: Vec<(SessionId, String, Vec<Arc<Grant>>)>,
    /// A worker's own row or an operator's wish changed.
    pub(super) workers: bool,
    answers: Vec<Answer>,
}

impl Batch {
    /// Gives `result` to the caller once the batch is durable; a batch that fails gives everyone
    /// its error instead.
    pub(super) fn answer<T>(&mut self, reply: Reply<T>, result: Result<T, EngineError>)
    where
        T: Send + 'static,
    {
        self.answers.push(Box::new(move |failed| {
            let answer = failed.cloned().map_or(result, Err);
            reply.send(answer).ok();
        }));
    }

    /// Notes that a live run changes.
    pub(super) fn touch(&mut self, run: RunId) {
        if self.touched.last() != Some(&run) {
            self.touched.push(run);
        }
    }

    /// Answers everyone.
    pub(super) fn tell(&mut self, failed: Option<&EngineError>) {
        for answer in self.answers.drain(..) {
            answer(failed);
        }
    }
}
