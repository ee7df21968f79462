use std::{collections::HashMap, mem};

use windlass_proto::api::v1;

use crate::render;

/// A run as far as a follower knows it.
pub(crate) struct Model {
    pub(crate) run: v1::Run,
    places: HashMap<String, usize>,
}

impl Model {
    pub(crate) fn new(run: v1::Run) -> Self {
        let places = run.steps.iter().enumerate().map(|(at, s)| (s.step.clone(), at)).collect();
        Self { run, places }
    }

    /// Takes in a change; the places of the steps that changed.
    pub(crate) fn apply(&mut self, change: v1::WatchRunResponse) -> Vec<usize> {
        if let Some(run) = change.run {
            let steps = mem::take(&mut self.run.steps);
            self.run = v1::Run { steps, ..run };
        }
        let mut changed = Vec::with_capacity(change.steps.len());
        for step in change.steps {
            let next = self.run.steps.len();
            let at = *self.places.entry(step.step.clone()).or_insert(next);
            match self.run.steps.get_mut(at) {
                Some(known) => *known = step,
                None => self.run.steps.push(step),
            }
            changed.push(at);
        }
        changed
    }

    /// True where the run will not change any more.
    pub(crate) fn ended(&self) -> bool {
        render::run_state(&self.run).is_terminal()
    }

    /// A step's name.
    pub(crate) fn name(&self, step: usize) -> &str {
        self.run.steps.get(step).map_or("", |step| &step.step)
    }
}

#[cfg(test)]
mod tests {
    use windlass_proto::api::v1;

    use super::Model;

    fn step(name: &str, state: v1::step::State) -> v1::Step {
        v1::Step { step: name.into(), state: state.into(), ..v1::Step::default() }
    }

    #[test]
    fn changes_replace_what_they_name_and_keep_the_rest() {
        let mut model = Model::new(v1::Run::default());
        let first = [step("a", v1::step::State::Ready), step("b", v1::step::State::Pending)];
        let change = v1::WatchRunResponse { steps: first.into(), ..Default::default() };
        assert_eq!(model.apply(change), [0, 1]);

        let run = v1::Run { state: v1::run::State::Succeeded.into(), ..Default::default() };
        let steps = vec![step("b", v1::step::State::Succeeded)];
        let change = v1::WatchRunResponse { run: Some(run), steps, sequence: 2 };
        assert_eq!(model.apply(change), [1]);

        assert!(model.ended());
        assert_eq!((model.name(0), model.name(1), model.name(2)), ("a", "b", ""));
        assert_eq!(model.run.steps[1].state(), v1::step::State::Succeeded);
    }
}
