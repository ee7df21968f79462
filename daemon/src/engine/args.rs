//! The values of arguments, found while the run goes on.

use windlass_core::StepIndex;
use windlass_proto::common::v1::{BoundArg, Output, PlannedStep, bound_arg::Value};
use windlass_proto::worker::v1::{TaskArg, task_arg};

use super::live::LiveRun;
use crate::store::records::{EntryRecord, FoundArg};

/// The value of an argument.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Json(String),
    Output(Output),
    /// The secret of that name; its value is not in memory.
    Secret(String),
}

impl Found {
    /// The argument as a worker gets it; a secret it gets later.
    pub(super) fn to_task(&self, name: &str) -> Option<TaskArg> {
        let value = match self {
            Self::Json(json) => task_arg::Value::Json(json.clone()),
            Self::Output(output) => task_arg::Value::Output(output.clone()),
            Self::Secret(_) => return None,
        };
        Some(TaskArg { name: name.to_owned(), value: Some(value) })
    }

    /// The argument as it is kept.
    pub(super) fn to_record(&self, name: &str) -> FoundArg {
        let name = name.to_owned();
        match self {
            Self::Json(json) => FoundArg { name, json: json.clone(), output: None },
            Self::Output(output) => {
                FoundArg { name, json: String::new(), output: Some(output.clone()) }
            }
            Self::Secret(_) => FoundArg { name, json: String::new(), output: None },
        }
    }
}

impl LiveRun {
    /// The step that waits for others in place of `step`: of an instance or iteration, the one
    /// that it is one of.
    pub(super) fn anchor(&self, step: StepIndex) -> StepIndex {
        match self.machine.key(step) {
            Some(key) if key.ordinal.is_some() => key.parent.unwrap_or(step),
            Some(_) | None => step,
        }
    }

    /// The values of a step's arguments, by name. What is not to be had is left out, and the
    /// worker says so.
    pub(super) fn arguments(&self, step: StepIndex) -> Vec<(String, Found)> {
        let Some(planned) = self.template(step) else { return Vec::new() };
        let before = self.iteration_before(step);
        let arg = |arg: &BoundArg| {
            let again = before.and_then(|before| self.output(before, &arg.name));
            let found = again.map(Found::Output).or_else(|| self.found(step, arg))?;
            Some((arg.name.clone(), found))
        };
        planned.args.iter().filter_map(arg).collect()
    }

    /// True where the plan alone does not say what the arguments are.
    pub(super) fn finds_arguments(&self, step: StepIndex) -> bool {
        let inner = self.machine.key(step).is_some_and(|key| key.parent.is_some());
        let in_plan = |arg: &BoundArg| {
            matches!(arg.value, Some(Value::Json(_) | Value::Output(_) | Value::Secret(_)) | None)
        };
        let template = self.template(step);
        inner || template.is_some_and(|planned: &PlannedStep| !planned.args.iter().all(in_plan))
    }

    fn found(&self, step: StepIndex, arg: &BoundArg) -> Option<Found> {
        let anchor = self.anchor(step);
        match arg.value.as_ref()? {
            Value::Json(json) => Some(Found::Json(json.clone())),
            Value::Output(output) => {
                let giver = self.machine.beside(anchor, StepIndex(output.step))?;
                self.output(giver, &output.name).map(Found::Output)
            }
            Value::TemplateJson(_) => {
                let entry = self.entries.get(&anchor)?;
                let found = entry.args.iter().find(|found| found.name == arg.name)?;
                Some(Found::Json(found.json.clone()))
            }
            Value::Param(name) => {
                let around = self.machine.key(anchor)?.parent?;
                let outer = self.template(around)?.args.iter().find(|arg| arg.name == *name)?;
                self.found(around, outer)
            }
            Value::Item(item) => {
                let ordinal = self.machine.key(step)?.ordinal?;
                self.entries.get(&anchor)?.item(ordinal, &item.axis).map(Found::Json)
            }
            Value::Iteration(_) => Some(Found::Json(self.machine.key(step)?.ordinal?.to_string())),
            Value::Secret(name) => Some(Found::Secret(name.clone())),
        }
    }

    /// An output of a step that ended well.
    pub(super) fn output(&self, step: StepIndex, name: &str) -> Option<Output> {
        let outputs = &self.results.get(&step)?.outputs;
        outputs.iter().find(|output| output.name == name).cloned()
    }

    /// Of an iteration but the first: the one before it.
    pub(super) fn iteration_before(&self, step: StepIndex) -> Option<StepIndex> {
        let key = self.machine.key(step)?;
        let looped = self.template(step)?.spec.as_ref()?.r#loop.is_some();
        let before = usize::try_from(key.ordinal?).ok()?.checked_sub(1)?;
        let iterations = self.machine.children(key.parent?);
        if looped { iterations.get(before).copied() } else { None }
    }
}

impl EntryRecord {
    /// The item of an instance, or with `axis` the part of it.
    fn item(&self, ordinal: u32, axis: &str) -> Option<String> {
        let item = self.items.get(usize::try_from(ordinal).ok()?)?;
        if axis.is_empty() {
            return Some(item.clone());
        }
        let item: serde_json::Map<String, serde_json::Value> = serde_json::from_str(item).ok()?;
        item.get(axis).map(ToString::to_string)
    }
}
