use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What expressions see. All of it JSON; whatever is not stands in `unreadable`.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// A mapping of names to values.
    pub(crate) params: Value,
    /// A mapping of names to `{state, outputs, metrics}`; see [`Scope::add_step`].
    pub(crate) steps: Value,
    /// A mapping: each output of the nearest finished steps above, or of an iteration.
    pub(crate) outputs: Value,
    /// A mapping, likewise.
    pub(crate) metrics: Value,
    /// Why a name is not there, by its path (`outputs.model`, `steps.fit.outputs.model`):
    /// `is kept as pickle`.
    pub(crate) unreadable: BTreeMap<String, String>,
}

/// What expressions see of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepScope {
    /// As users read it: `succeeded`.
    pub(crate) state: String,
    pub(crate) outputs: Map<String, Value>,
    pub(crate) metrics: Map<String, Value>,
}

impl Default for Scope {
    fn default() -> Self {
        let empty = || Value::Object(Map::new());
        let unreadable = BTreeMap::new();
        Self { params: empty(), steps: empty(), outputs: empty(), metrics: empty(), unreadable }
    }
}

impl Scope {
    /// A scope in which there are only parameters.
    pub(crate) fn of_params(params: Map<String, Value>) -> Self {
        Self { params: Value::Object(params), ..Self::default() }
    }

    /// Adds a step under `steps`.
    pub(crate) fn add_step(&mut self, name: &str, step: StepScope) {
        let StepScope { state, outputs, metrics } = step;
        if let Value::Object(steps) = &mut self.steps {
            let seen = json!({"state": state, "outputs": outputs, "metrics": metrics});
            steps.insert(name.to_owned(), seen);
        }
    }
}
