use std::collections::BTreeSet;

use rusqlite::Connection;
use serde_json::{Map, Value};
use windlass_core::{AttemptNumber, StepIndex, StepState};
use windlass_proto::common::v1::{Output, bound_arg};

use super::{Answers, Unanswered};
use crate::{
    engine::{Found, Given, Question},
    expr::{Expression, Reference, Root, Scope, StepScope},
    store::{self, attempts::AttemptKey, metrics, results, steps},
};

/// Longest output that expressions read, in bytes.
const MAX_VALUE_BYTES: u64 = 16 << 20;

impl Answers {
    /// What the expressions may see: just the things that they name.
    pub(super) fn scope(
        &mut self,
        question: &Question,
        used: &[&Expression],
    ) -> Result<Scope, Unanswered> {
        let mut scope = Scope::default();
        let references: Vec<Reference> = used.iter().flat_map(|e| e.references()).collect();
        if references.is_empty() {
            return Ok(scope);
        }
        if references.iter().any(|reference| reference.root == Root::Params) {
            self.add_params(question, &mut scope);
        }
        self.add_steps(question, &references, &mut scope)?;
        if references.iter().any(|reference| reference.root == Root::Outputs) {
            self.add_outputs(question, &references, &mut scope);
        }
        if references.iter().any(|reference| reference.root == Root::Metrics) {
            let metrics = self.nearest_metrics(question)?;
            scope.metrics = Value::Object(metrics);
        }
        Ok(scope)
    }

    /// The connection to the record.
    pub(super) fn record(&mut self) -> Result<&Connection, Unanswered> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => store::open_reader(&self.database)?,
        };
        Ok(self.conn.insert(conn))
    }

    fn add_params(&self, question: &Question, scope: &mut Scope) {
        let mut params = Map::new();
        if !question.inner {
            for param in &question.shared.plan.params {
                if let Some(bound_arg::Value::Json(json)) = &param.value {
                    params.insert(param.name.clone(), read(json));
                }
            }
        }
        for (name, found) in &question.params {
            let value = match found {
                Found::Json(json) => Ok(read(json)),
                Found::Output(output) => self.value(output),
                Found::Secret(_) => Err("is a secret".to_owned()),
            };
            match value {
                Ok(value) => drop(params.insert(name.clone(), value)),
                Err(why) => drop(scope.unreadable.insert(format!("params.{name}"), why)),
            }
        }
        scope.params = Value::Object(params);
    }

    /// The steps beside the one that asks, as far as they are named.
    fn add_steps(
        &mut self,
        question: &Question,
        references: &[Reference],
        scope: &mut Scope,
    ) -> Result<(), Unanswered> {
        let of_steps = references.iter().filter(|reference| reference.root == Root::Steps);
        let named: Vec<Option<&str>> =
            of_steps.map(|reference| reference.path.first().map(String::as_str)).collect();
        if named.is_empty() {
            return Ok(());
        }
        let all = named.contains(&None);
        let named: BTreeSet<&str> = named.into_iter().flatten().collect();
        let (first, first_template) = question.beside;
        let plan = &question.shared.plan.steps;
        let from = usize::try_from(first_template.0).unwrap_or(usize::MAX);
        let beside = plan.get(from..).unwrap_or_default();
        let parent = beside.first().and_then(|step| step.parent);
        for (node, step) in (first.0..).zip(beside.iter().take_while(|s| s.parent == parent)) {
            let name = step.spec.as_ref().map_or("", |spec| &spec.name);
            if all || named.contains(name) {
                let seen = self.step(question, (name, StepIndex(node)), scope)?;
                scope.add_step(name, seen);
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        question: &Question,
        (name, step): (&str, StepIndex),
        scope: &mut Scope,
    ) -> Result<StepScope, Unanswered> {
        let run = question.run;
        let conn = self.record()?;
        let Some(row) = steps::get(conn, run, step)? else { return Ok(StepScope::default()) };
        let key = AttemptKey { run, step, attempt: AttemptNumber(row.cell.attempt) };
        let ended_well = matches!(row.cell.state, StepState::Succeeded | StepState::Reused);
        let outputs = if ended_well { results::outputs(conn, key)? } else { vec![] };
        let numbers = metrics::last(conn, key)?;
        let mut seen = StepScope { state: row.cell.state.word().to_owned(), ..Default::default() };
        seen.metrics = numbers.into_iter().map(|(name, value)| (name, value.into())).collect();
        for output in outputs {
            match self.value(&output) {
                Ok(value) => drop(seen.outputs.insert(output.name, value)),
                Err(why) => {
                    let path = format!("steps.{name}.outputs.{}", output.name);
                    scope.unreadable.insert(path, why);
                }
            }
        }
        Ok(seen)
    }

    /// The outputs that are named, each from the nearest step that has it.
    fn add_outputs(&self, question: &Question, references: &[Reference], scope: &mut Scope) {
        let named: Vec<Option<&str>> = references
            .iter()
            .filter(|reference| reference.root == Root::Outputs)
            .map(|reference| reference.path.first().map(String::as_str))
            .collect();
        let all = named.contains(&None);
        let mut outputs = Map::new();
        let mut seen = BTreeSet::new();
        for output in givers(question).flat_map(|given| &given.outputs) {
            let wanted = all || named.contains(&Some(output.name.as_str()));
            if !seen.insert(output.name.as_str()) {
                continue;
            }
            if !wanted {
                // Not read, but there: a typo is told what there is.
                continue;
            }
            match self.value(output) {
                Ok(value) => drop(outputs.insert(output.name.clone(), value)),
                Err(why) => {
                    scope.unreadable.insert(format!("outputs.{}", output.name), why);
                }
            }
        }
        scope.outputs = Value::Object(outputs);
    }

    fn nearest_metrics(&mut self, question: &Question) -> Result<Map<String, Value>, Unanswered> {
        let run = question.run;
        let mut found = Map::new();
        for Given { step, attempt, .. } in givers(question) {
            let key = AttemptKey { run, step: *step, attempt: *attempt };
            for (name, value) in metrics::last(self.record()?, key)? {
                found.entry(name).or_insert_with(|| value.into());
            }
        }
        Ok(found)
    }

    /// The value of an output, or why expressions cannot read it.
    pub(super) fn value(&self, output: &Output) -> Result<Value, String> {
        if output.codec != "json" {
            return Err(format!("is kept as {}", output.codec));
        }
        let bytes = self.bytes(output)?;
        serde_json::from_slice(&bytes).map_err(|error| format!("is no JSON: {error}"))
    }

    /// The bytes of an output that is not too large for expressions.
    pub(super) fn bytes(&self, output: &Output) -> Result<Vec<u8>, String> {
        let size = u64::try_from(output.size_bytes).unwrap_or(u64::MAX);
        if size > MAX_VALUE_BYTES {
            return Err(format!("has {size} bytes; expressions read at most {MAX_VALUE_BYTES}"));
        }
        let digest = output.digest.parse().map_err(|_| "has no good digest".to_owned())?;
        self.blobs.read(&digest, MAX_VALUE_BYTES).map_err(|error| error.to_string())
    }
}

/// A bound value; it was checked when it was bound.
fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Who gives `outputs` and `metrics`: after an iteration of a loop that one first, then the steps
/// above.
fn givers(question: &Question) -> impl Iterator<Item = &Given> {
    question.children.last().into_iter().chain(&question.nearest)
}
