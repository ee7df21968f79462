//! Finds what steps ask: conditions, items, arguments and, when their children have ended, their
//! outputs. Reads the record and blobs, evaluates expressions, decides nothing.
mod join;
mod lists;
mod scope;

use std::path::PathBuf;

use serde_json::Value;
use windlass_blobs::Store;
use windlass_core::{Entry, MAX_NODES};
use windlass_proto::common::v1::{PlannedStep, StepSpec, bound_arg};

use crate::{
    engine::{Answer, Question, Verdict},
    expr::{Expression, Template, as_bool},
    store::{
        StoreError,
        records::{EntryRecord, FoundArg},
    },
};

/// Why a question has no answer; in words for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);

impl Unanswered {
    /// What went wrong with `what` of a step.
    fn of(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Self {
        Self::of("the record cannot be read", error)
    }
}

/// Answers questions, one after the other.
pub(crate) struct Answers {
    database: PathBuf,
    conn: Option<rusqlite::Connection>,
    blobs: Store,
}

impl Answers {
    /// Over a database that is there when the first question comes.
    pub(crate) fn new(database: PathBuf, blobs: Store) -> Self {
        Self { database, conn: None, blobs }
    }

    /// The answer to a question; what cannot be answered fails the step. Blocks.
    pub(crate) fn find(&mut self, question: &Question) -> Answer {
        let found = if question.join { self.join(question) } else { self.enter(question) };
        let verdict = found
            .unwrap_or_else(|Unanswered(reason)| Verdict::Fail { join: question.join, reason });
        let (run, step, children) = (question.run, question.step, question.children.len());
        Answer { run, step, children, verdict }
    }

    fn enter(&mut self, question: &Question) -> Result<Verdict, Unanswered> {
        let (planned, spec) = specs(question)?;
        let when = match spec.when.as_str() {
            "" => None,
            text => Some(parse("when", text)?),
        };
        let templates = templates(planned)?;
        let lists = lists::expressions(spec)?;
        let mut used: Vec<&Expression> = when.iter().collect();
        used.extend(
            templates
                .iter()
                .flat_map(|(_, template)| template.expressions().into_iter().map(|e| &**e)),
        );
        used.extend(&lists);
        let scope = self.scope(question, &used)?;
        let verdict = |entry, found| Ok(Verdict::Enter { entry, found });
        if let Some(when) = &when {
            let value = when.evaluate(&scope).map_err(|e| Unanswered::of("when", e))?;
            if !as_bool(when, &value).map_err(|e| Unanswered::of("when", e))? {
                return verdict(Entry::Skip, EntryRecord::default());
            }
        }
        if planned.mock.is_some() {
            return verdict(Entry::Go, EntryRecord::default());
        }
        let mut found = EntryRecord::default();
        for (name, template) in &templates {
            let what = format!("argument `{name}`");
            let value = template.evaluate(&scope).map_err(|e| Unanswered::of(&what, e))?;
            found.args.push(FoundArg { name: name.clone(), json: value.to_string(), output: None });
        }
        let Some(items) = lists::items(spec, &lists, &scope)? else {
            return verdict(Entry::Go, found);
        };
        let count = u32::try_from(items.len()).ok().filter(|_| items.len() <= MAX_NODES);
        let Some(count) = count else {
            let told = format!("{} items, more than {MAX_NODES}", items.len());
            return Err(Unanswered::of("foreach", told));
        };
        found.items = items.iter().map(Value::to_string).collect();
        verdict(Entry::Spread(count), found)
    }
}

/// The step of the plan that asks.
fn specs(question: &Question) -> Result<(&PlannedStep, &StepSpec), Unanswered> {
    let planned = question.shared.template(question.template);
    let found = planned.and_then(|planned| Some((planned, planned.spec.as_ref()?)));
    found.ok_or_else(|| Unanswered("the step is not in its plan".to_owned()))
}

fn parse(what: &str, text: &str) -> Result<Expression, Unanswered> {
    Expression::parse(text)
        .map_err(|bad| Unanswered::of(what, format!("`{text}`: {}", bad.message)))
}

fn templates(planned: &PlannedStep) -> Result<Vec<(String, Template)>, Unanswered> {
    let mut found = Vec::new();
    for arg in &planned.args {
        if let Some(bound_arg::Value::TemplateJson(json)) = &arg.value {
            let what = format!("argument `{}`", arg.name);
            let value = serde_json::from_str(json).map_err(|e| Unanswered::of(&what, e))?;
            let template = Template::parse(value).map_err(|e| Unanswered::of(&what, e.message))?;
            found.push((arg.name.clone(), template));
        }
    }
    Ok(found)
}
