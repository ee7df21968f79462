//! What follows from the answer to a step's question.

use std::sync::Arc;

use windlass_core::{Entry, Event, Join, StepState};

use super::{
    live::StepResult,
    questions::{Answer, Verdict},
    thread::Engine,
};

impl Engine {
    /// Takes in an answer. One that comes late or twice changes nothing.
    pub(super) fn answered_question(&mut self, answer: Answer) {
        let Answer { run, step, children: asked, verdict } = answer;
        let Some(live) = self.runs.get_mut(&run) else { return };
        let cell = live.cell(step);
        let waits = match verdict {
            Verdict::Enter { .. } | Verdict::Fail { join: false, .. } => {
                cell.state == StepState::Pending
            }
            Verdict::Join { .. } | Verdict::Fail { join: true, .. } => {
                let same = live.children_made(step) == asked;
                cell.state == StepState::Running && cell.attempt == 0 && same
            }
        };
        if !waits {
            return;
        }
        let event = match verdict {
            Verdict::Enter { entry, found } => {
                if !found.args.is_empty() || !found.items.is_empty() {
                    live.entries.insert(step, Arc::new(found));
                    live.new_entries.push(step);
                }
                Event::Entered { step, entry }
            }
            Verdict::Join { join, outputs } => {
                let (made, most) = (live.children_made(step), live.most_iterations(step));
                if join == Join::Until(false) && made >= most {
                    let told = format!("`until` did not hold after {made} iterations");
                    live.reasons.insert(step, told);
                }
                if ends(made, most, join) {
                    live.keep_bare(step, StepResult { outputs, changes: String::new() });
                }
                Event::Joined { step, made: asked, join }
            }
            Verdict::Fail { join, reason } => {
                live.reasons.insert(step, reason);
                if join {
                    Event::Joined { step, made: asked, join: Join::Fail }
                } else {
                    Event::Entered { step, entry: Entry::Fail }
                }
            }
        };
        self.batch.touch(run);
        let now = self.clock.now();
        self.apply(run, event, now);
    }
}

/// True where nothing more is made of the step after this.
fn ends(made: usize, most: usize, join: Join) -> bool {
    match join {
        Join::Done | Join::Until(true) | Join::Reduce => true,
        Join::Until(false) => made >= most,
        Join::Fail => false,
    }
}

impl super::live::LiveRun {
    fn children_made(&self, step: windlass_core::StepIndex) -> usize {
        self.machine.children(step).len()
    }

    fn most_iterations(&self, step: windlass_core::StepIndex) -> usize {
        let spec = self.template(step).and_then(|planned| planned.spec.as_ref());
        let most = spec.and_then(|spec| spec.r#loop.as_ref()).map_or(0, |spec| spec.max);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}
