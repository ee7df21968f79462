//! Why ready steps wait, which only the engine knows.

use std::collections::HashMap;

use windlass_core::{RunId, StepIndex};
use windlass_proto::api::v1::{Step, step::State};

use crate::engine::EngineHandle;

/// Tells with each ready step of a run why it waits; false where none does. What the engine does
/// not answer stays as it is.
pub(super) async fn explain(engine: &EngineHandle, run: RunId, steps: &mut [Step]) -> bool {
    if !steps.iter().any(|step| step.state() == State::Ready) {
        return false;
    }
    let Ok(Some(waits)) = engine.waits(run).await else { return false };
    let templates: HashMap<&str, StepIndex> = (0u32..)
        .zip(&waits.run.plan.steps)
        .map(|(place, planned)| (planned.path.as_str(), StepIndex(place)))
        .collect();
    for step in steps.iter_mut().filter(|step| step.state() == State::Ready) {
        let template = templates.get(step.template.as_str());
        if let Some(reason) = template.and_then(|template| waits.reason(*template)) {
            step.reason = reason.to_owned();
        }
    }
    true
}
