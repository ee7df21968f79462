//! What steps ask before they start and after their children have ended, and the thread that
//! finds the answers: it reads values and evaluates, so that the engine waits for no file.

use std::sync::{Arc, mpsc};

use windlass_blobs::Store;
use windlass_core::{AttemptNumber, Entry, Join, RunId, StepIndex};
use windlass_proto::common::v1::{
    Output, PlannedStep, StepSpec, bound_arg, foreach_spec::Items, matrix_axis::Values,
};

use super::{
    args::Found,
    inputs,
    live::{LiveRun, RunShared},
    thread::Engine,
};
use crate::store::records::EntryRecord;

/// The outputs of a step that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) step: StepIndex,
    /// Its last attempt; 0 where it had none.
    pub(crate) attempt: AttemptNumber,
    pub(crate) outputs: Vec<Output>,
}

/// A question of a step, with all that is not in the record or would be found there slowly.
pub(crate) struct Question {
    pub(crate) run: RunId,
    pub(crate) step: StepIndex,
    /// Its children have ended; else it is about to start.
    pub(crate) join: bool,
    pub(crate) shared: Arc<RunShared>,
    pub(crate) template: StepIndex,
    /// It is about instances or iterations, not one of them.
    pub(crate) is_container: bool,
    /// It stands in an inner pipeline, or asks about one: `params` are those of that pipeline.
    pub(crate) inner: bool,
    /// Values of the parameters around the step, by name.
    pub(crate) params: Vec<(String, Found)>,
    /// The first of the steps whose names `steps` knows, and the first of these in the plan.
    pub(crate) beside: (StepIndex, StepIndex),
    /// The steps above that have ended, the nearest first.
    pub(crate) nearest: Vec<Given>,
    /// Its own instances, iterations or inner steps, in order.
    pub(crate) children: Vec<Given>,
}

/// What was found.
pub(crate) struct Answer {
    pub(crate) run: RunId,
    pub(crate) step: StepIndex,
    /// How many children it had when it asked.
    pub(crate) children: usize,
    pub(crate) verdict: Verdict,
}

/// What follows for the step.
pub(crate) enum Verdict {
    /// It may start, with what was found for it, or not.
    Enter { entry: Entry, found: EntryRecord },
    /// Its outputs, where it has any.
    Join { join: Join, outputs: Vec<Output> },
    /// An expression has no value or not one of the right kind; in words for a person.
    Fail { join: bool, reason: String },
}

/// Sends questions to the thread that answers them. Every step asks at most one at a time, so what
/// waits is bounded by the steps of the runs that go on.
pub(crate) struct Evaluator {
    questions: mpsc::Sender<Question>,
}

impl Evaluator {
    /// Starts the thread. It ends with the evaluator; `answer` gets what it finds.
    pub(crate) fn start(
        database: &std::path::Path,
        blobs: Store,
        answer: impl Fn(Answer) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (questions, received) = mpsc::channel::<Question>();
        let database = database.to_owned();
        let work = move || {
            let mut answers = crate::eval::Answers::new(database, blobs);
            for question in received {
                answer(answers.find(&question));
            }
        };
        std::thread::Builder::new().name("evaluator".to_owned()).spawn(work)?;
        Ok(Self { questions })
    }

    fn ask(&self, question: Question) {
        if self.questions.send(question).is_err() {
            tracing::error!("the evaluator is gone");
        }
    }
}

impl Engine {
    /// Asks what a step asks. Called after the commit, so that the record has all that ended.
    pub(super) fn question(&mut self, run: RunId, step: StepIndex, join: bool) {
        let Some(live) = self.runs.get(&run) else { return };
        if let Some(question) = make(live, step, join) {
            self.evaluator.ask(question);
        }
    }
}

fn make(live: &LiveRun, step: StepIndex, join: bool) -> Option<Question> {
    let template = live.machine.key(step)?.template;
    let planned = live.shared.template(template)?;
    let given = |step: &StepIndex| Given {
        step: *step,
        attempt: AttemptNumber(live.cell(*step).attempt),
        outputs: live.results.get(step).map(|result| result.outputs.clone()).unwrap_or_default(),
    };
    let children: Vec<Given> = match join {
        true => live.machine.children(step).iter().map(given).collect(),
        false => Vec::new(),
    };
    let inner = planned.inner.as_ref().filter(|_| join);
    let beside = match (inner, children.first()) {
        (Some(inner), Some(first)) => (first.step, StepIndex(inner.first)),
        (_, _) => live.first_beside(step)?,
    };
    let around =
        if inner.is_some() { Some(step) } else { live.machine.key(live.anchor(step))?.parent };
    let nearest = match uses_nearest(planned, join) {
        true => inputs::nearest(live, step).iter().map(given).collect(),
        false => Vec::new(),
    };
    Some(Question {
        run: live.shared.run,
        step,
        join,
        shared: Arc::clone(&live.shared),
        template,
        is_container: live.machine.key(step)?.ordinal.is_none(),
        inner: around.is_some(),
        params: around.map(|around| live.arguments(around)).unwrap_or_default(),
        beside,
        nearest,
        children,
    })
}

/// True where an expression may name `outputs` or `metrics` of whatever step is nearest.
fn uses_nearest(planned: &PlannedStep, join: bool) -> bool {
    let named = |text: &str| text.contains("outputs") || text.contains("metrics");
    let own = StepSpec::default();
    let spec = planned.spec.as_ref().unwrap_or(&own);
    if join {
        return spec.r#loop.as_ref().is_some_and(|looped| named(&looped.until));
    }
    let in_items = |items: &Items| match items {
        Items::Expr(text) => named(text),
        Items::ListJson(_) => false,
        Items::Matrix(matrix) => matrix.axes.iter().any(|axis| match &axis.values {
            Some(Values::Expr(text)) => named(text),
            Some(Values::ListJson(_)) | None => false,
        }),
    };
    let items = spec.foreach.as_ref().and_then(|foreach| foreach.items.as_ref());
    let in_args = planned.args.iter().any(|arg| match &arg.value {
        Some(bound_arg::Value::TemplateJson(json)) => named(json),
        Some(_) | None => false,
    });
    named(&spec.when) || items.is_some_and(in_items) || in_args
}

impl LiveRun {
    /// The first step beside `step`, itself included, and the one of the plan it was made of.
    fn first_beside(&self, step: StepIndex) -> Option<(StepIndex, StepIndex)> {
        let anchor = self.anchor(step);
        let first = match self.machine.key(anchor)?.parent {
            Some(around) => *self.machine.children(around).first()?,
            None => StepIndex(0),
        };
        Some((first, self.machine.key(first)?.template))
    }
}
