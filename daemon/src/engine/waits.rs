//! Why ready steps wait, and which can never run.

use std::sync::Arc;

use windlass_core::{Resources, RunGraph, RunId, StepIndex, Work};

use super::{EngineError, live::RunShared, thread::Engine};

/// Why the ready steps of a run wait: by what they need of a worker.
pub(crate) struct Waits {
    pub(crate) run: Arc<RunShared>,
    reasons: Vec<(Arc<Resources>, String)>,
}

impl Waits {
    /// Why a ready step made of that step of the plan waits.
    pub(crate) fn reason(&self, template: StepIndex) -> Option<&str> {
        let need = self.run.need(template)?;
        self.reasons.iter().find(|(known, _)| known == need).map(|(_, reason)| reason.as_str())
    }
}

impl Engine {
    /// Why the ready steps of a run wait; `None` for a run that has ended.
    pub(super) fn waits(&self, run: RunId) -> Option<Waits> {
        let live = self.runs.get(&run)?;
        let needs = self.queue.needs(run);
        let reasons = needs.map(|need| (Arc::clone(need), self.fleet.wait(need))).collect();
        Some(Waits { run: Arc::clone(&live.shared), reasons })
    }

    /// Refuses a plan with a step that needs more than any worker has.
    pub(super) fn refuse_misfits(
        &self,
        run: &RunShared,
        graph: &RunGraph,
    ) -> Result<(), EngineError> {
        let mut seen: Option<&Arc<Resources>> = None;
        for place in (0u32..).take(graph.len()) {
            let template = StepIndex(place);
            let (Some(need), Some(rules)) = (run.need(template), graph.rules(template)) else {
                continue;
            };
            // Steps mostly need what the one above them needs.
            let known = seen.is_some_and(|seen| Arc::ptr_eq(seen, need));
            if rules.work != Work::Attempts || known {
                continue;
            }
            seen = Some(need);
            if let Some(misfit) = self.fleet.misfit(need, self.clock.now()) {
                let step = run.template(template).map(|step| step.path.clone());
                return Err(EngineError::NoWorkerFits {
                    step: step.unwrap_or_default(),
                    needed: misfit.needed,
                    most: misfit.most,
                });
            }
        }
        Ok(())
    }
}
