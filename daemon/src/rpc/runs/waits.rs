//! Why ready steps wait, which only the engine knows.

use std::collections::HashMap;

use windlass_core::{RunId, StepIndex};
use windlass_proto::api::v1::{Run, step::State};

use crate::engine::EngineHandle;

/// Tells with each ready step why it waits. What the engine does not answer stays as it is.
pub(super) async fn explain(engine: &EngineHandle, run: &mut Run) {
    if !run.steps.iter().any(|step| step.state() == State::Ready) {
        return;
    }
    let Ok(id) = run.run_id.parse() else { return };
    let Ok(Some(waits)) = engine.waits(RunId(id)).await else { return };
    let templates: HashMap<&str, StepIndex> = (0u32..)
        .zip(&waits.run.plan.steps)
        .map(|(place, planned)| (planned.path.as_str(), StepIndex(place)))
        .collect();
    for step in run.steps.iter_mut().filter(|step| step.state() == State::Ready) {
        let template = templates.get(step.template.as_str());
        if let Some(reason) = template.and_then(|template| waits.reason(*template)) {
            step.reason = reason.to_owned();
        }
    }
}
