use windlass_core::StepState;
use windlass_proto::api::v1;

use super::logbook::Logbook;
use crate::{
    follow::{Item, Model},
    render::{self, Tree, TreeRow},
};

/// Most instances of a step that are listed; of more, only those that run or failed.
const MAX_INSTANCES: usize = 8;

/// What the view shows and what is chosen in it.
pub(super) struct Desk {
    pub(super) colour: bool,
    /// Newest first.
    runs: Vec<v1::Run>,
    /// Named at the start; listed even where it is older than the others.
    first: Option<v1::Run>,
    chosen: Option<String>,
    model: Model,
    pub(super) rows: Vec<TreeRow>,
    /// The step that the user went to; none: the one where something happens.
    picked: Option<String>,
    pub(super) log: Logbook,
    /// Lines of the log below what is shown; 0 where it is followed.
    pub(super) scrolled: usize,
    pub(super) pane: Pane,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) message: String,
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Runs,
    Steps,
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Looking,
    /// The filter is being typed.
    Filtering,
    /// Whether to cancel is the question.
    Asking,
}

/// The log of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogOf {
    pub(super) run: String,
    pub(super) step: String,
    pub(super) attempt: u32,
}

impl Pane {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Runs => Self::Steps,
            Self::Steps => Self::Log,
            Self::Log => Self::Runs,
        }
    }

    pub(super) fn previous(self) -> Self {
        self.next().next()
    }
}

impl Desk {
    pub(super) fn new(colour: bool, first: Option<v1::Run>) -> Self {
        let chosen = first.as_ref().map(|run| run.run_id.clone());
        let pane = if first.is_some() { Pane::Steps } else { Pane::Runs };
        Self {
            colour,
            runs: Vec::new(),
            first,
            chosen,
            model: Model::new(v1::Run::default()),
            rows: Vec::new(),
            picked: None,
            log: Logbook::default(),
            scrolled: 0,
            pane,
            mode: Mode::Looking,
            filter: String::new(),
            message: String::new(),
            changed: true,
        }
    }

    /// Whether there is something new to show, once.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    pub(super) fn note(&mut self, text: &str) {
        text.clone_into(&mut self.message);
        self.touch();
    }

    /// The newest runs as they are now.
    pub(super) fn listed(&mut self, runs: Vec<v1::Run>) {
        self.runs = runs;
        if let Some(first) = &self.first
            && !self.runs.iter().any(|run| run.run_id == first.run_id)
        {
            self.runs.push(first.clone());
        }
        if self.chosen.is_none() {
            self.choose_visible();
        }
        self.touch();
    }

    /// The chosen run changed.
    pub(super) fn changed(&mut self, change: v1::WatchRunResponse) {
        self.model.apply(change);
        if let Some(run) = self.runs.iter_mut().find(|run| run.run_id == self.model.run.run_id) {
            run.state = self.model.run.state;
        }
        let steps = &self.model.run.steps;
        let odd = |state| matches!(state, StepState::Failed | StepState::Running);
        self.rows = Tree::of(steps).rows(steps, MAX_INSTANCES, odd);
        self.touch();
    }

    pub(super) fn printed(&mut self, item: Item) {
        let before = self.log.len();
        self.log.take_in(item);
        if self.scrolled > 0 {
            // What is being read stays where it is.
            self.scrolled += self.log.len() - before;
        }
        self.touch();
    }

    pub(super) fn log_begins(&mut self) {
        self.log = Logbook::default();
        self.scrolled = 0;
        self.touch();
    }

    /// Id of the chosen run.
    pub(super) fn chosen(&self) -> Option<&str> {
        self.chosen.as_deref()
    }

    /// The chosen run, as far as it is known.
    pub(super) fn run(&self) -> &v1::Run {
        &self.model.run
    }

    /// The chosen run, where it goes on.
    pub(super) fn open_run(&self) -> Option<&v1::Run> {
        Some(self.run()).filter(|run| !run.run_id.is_empty() && !self.model.ended())
    }

    /// The runs that the filter lets through.
    pub(super) fn visible(&self) -> Vec<&v1::Run> {
        let wanted = self.filter.to_lowercase();
        let fits = |run: &&v1::Run| {
            let texts = [&run.name, &run.pipeline, render::run_state(run).word()];
            wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
        };
        self.runs.iter().filter(fits).collect()
    }

    /// Sees that the chosen run is one that can be seen.
    pub(super) fn choose_visible(&mut self) {
        let visible = self.visible();
        if visible.iter().any(|run| Some(&run.run_id) == self.chosen.as_ref()) {
            return;
        }
        if let Some(id) = visible.first().map(|run| run.run_id.clone()) {
            self.choose(id);
        }
    }

    fn choose(&mut self, id: String) {
        if self.chosen.as_ref() == Some(&id) {
            return;
        }
        let known = self.runs.iter().find(|run| run.run_id == id).cloned();
        self.model = Model::new(known.unwrap_or_default());
        self.rows.clear();
        self.picked = None;
        self.chosen = Some(id);
    }

    /// The place of the chosen step among the rows.
    pub(super) fn row(&self) -> usize {
        let steps = &self.model.run.steps;
        let at = |row: &TreeRow| steps.get(row.at);
        let picked = self.picked.as_ref().and_then(|picked| {
            self.rows.iter().position(|row| at(row).is_some_and(|step| step.step == *picked))
        });
        let with_log = |wanted: &dyn Fn(StepState) -> bool| {
            let fits =
                |step: &v1::Step| !step.attempts.is_empty() && wanted(render::step_state(step));
            self.rows.iter().position(|row| at(row).is_some_and(fits))
        };
        let last = || {
            let begun = |row: &TreeRow| at(row).is_some_and(|step| !step.attempts.is_empty());
            self.rows.iter().rposition(begun)
        };
        let found = picked
            .or_else(|| with_log(&|state| state == StepState::Running))
            .or_else(|| with_log(&|state| state == StepState::Failed))
            .or_else(last);
        found.unwrap_or_default()
    }

    /// The chosen step.
    pub(super) fn step(&self) -> Option<&v1::Step> {
        self.rows.get(self.row()).and_then(|row| self.model.run.steps.get(row.at))
    }

    /// The log that is to be shown: of the chosen step's last attempt.
    pub(super) fn wanted_log(&self) -> Option<LogOf> {
        let step = self.step()?;
        let attempt = step.attempts.last()?.attempt;
        Some(LogOf { run: self.chosen.clone()?, step: step.step.clone(), attempt })
    }

    /// Goes up or down in the pane that has the keys.
    pub(super) fn step_by(&mut self, by: isize) {
        match self.pane {
            Pane::Runs => {
                let visible: Vec<_> = self.visible().iter().map(|run| run.run_id.clone()).collect();
                let at = visible.iter().position(|id| Some(id) == self.chosen.as_ref());
                let at = moved(at.unwrap_or_default(), by, visible.len());
                if let Some(id) = visible.into_iter().nth(at) {
                    self.choose(id);
                }
            }
            Pane::Steps => {
                let at = moved(self.row(), by, self.rows.len());
                let step = self.rows.get(at).and_then(|row| self.model.run.steps.get(row.at));
                self.picked = step.map(|step| step.step.clone());
            }
            Pane::Log => {
                let end = self.log.len().saturating_sub(1);
                self.scrolled = end - moved(end - self.scrolled.min(end), by, self.log.len());
            }
        }
    }

    /// Holds the log where it is, or goes on with it.
    pub(super) fn toggle_following(&mut self) {
        self.scrolled = usize::from(self.scrolled == 0);
    }
}

/// A place moved by some, within `len`.
fn moved(at: usize, by: isize, len: usize) -> usize {
    at.saturating_add_signed(by).min(len.saturating_sub(1))
}
