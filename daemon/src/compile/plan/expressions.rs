//! What the expressions of a level name, and whether it is there.
mod check;

use std::{collections::HashMap, sync::Arc};

use windlass_core::Json;
use windlass_proto::common::v1::{
    PipelineSpec, StepSpec, foreach_spec::Items, matrix_axis::Values,
};

use super::level::Building;
use crate::{
    compile::report::{Part, Report},
    expr::{BadExpression, Expression, Reference, Root, Template},
};

pub(super) use self::check::{check, is_open, meant, only_params, param, step_of, unknown_root};

/// Where a step has an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    When,
    Items,
    Until,
    With,
}

/// One name that an expression of a step uses.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub(super) place: Use,
    /// Keys of the step that lead to the expression.
    pub(super) keys: Vec<String>,
    pub(super) expression: Arc<Expression>,
    pub(super) reference: Reference,
}

/// What the expressions of one step say.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) used: Vec<Used>,
    /// The values under `with` that hold expressions.
    pub(super) with: HashMap<String, Template>,
}

impl Used {
    /// The parts of the spec that lead to the expression.
    pub(super) fn parts(&self, i: usize) -> Vec<Part<'_>> {
        let keys = self.keys.iter().map(|key| Part::Key(key));
        std::iter::once(Part::Step(i)).chain(keys).collect()
    }

    /// The step that it names under `steps`.
    pub(super) fn step(&self) -> Option<&str> {
        (self.reference.root == Root::Steps).then_some(self.reference.path.first()?.as_str())
    }

    /// The output that it names without a step.
    pub(super) fn output(&self) -> Option<&str> {
        (self.reference.root == Root::Outputs).then_some(self.reference.path.first()?.as_str())
    }

    /// True where the step cannot go on without the value.
    pub(super) fn is_data(&self) -> bool {
        let of_step = || {
            let part = self.reference.path.get(1).map(String::as_str);
            matches!(part, Some("outputs" | "metrics"))
        };
        !self.reference.tested
            && match self.reference.root {
                Root::Steps => of_step(),
                Root::Outputs => true,
                Root::Params | Root::Metrics | Root::Unknown(_) => false,
            }
    }
}

/// Reads every expression of the level's steps.
pub(super) fn read(
    building: &Building<'_>,
    spec: &PipelineSpec,
    report: &mut Report<'_>,
) -> Vec<Told> {
    let steps = spec.steps.iter().enumerate();
    steps.map(|(i, step)| read_step(building, spec, (i, step), report)).collect()
}

fn read_step(
    building: &Building<'_>,
    spec: &PipelineSpec,
    (i, step): (usize, &StepSpec),
    report: &mut Report<'_>,
) -> Told {
    let mut told = Told::default();
    let mut add = |place: Use, keys: &[&str], expression: &Arc<Expression>| {
        told.used.extend(expression.references().into_iter().map(|reference| Used {
            place,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            expression: Arc::clone(expression),
            reference,
        }));
    };
    let mut single: Vec<(Use, Vec<&str>, &str)> = vec![];
    if !step.when.is_empty() {
        single.push((Use::When, vec!["when"], &step.when));
    }
    match step.foreach.as_ref().and_then(|foreach| foreach.items.as_ref()) {
        Some(Items::Expr(text)) => single.push((Use::Items, vec!["foreach"], text)),
        Some(Items::Matrix(matrix)) => {
            for axis in &matrix.axes {
                if let Some(Values::Expr(text)) = &axis.values {
                    single.push((Use::Items, vec!["matrix", &axis.name], text));
                }
            }
        }
        Some(Items::ListJson(_)) | None => {}
    }
    if let Some(repeat) = step.r#loop.as_ref().filter(|repeat| !repeat.until.is_empty()) {
        single.push((Use::Until, vec!["loop", "until"], &repeat.until));
    }
    for (place, keys, text) in single {
        match building.expression(text) {
            Ok(expression) => add(place, &keys, &expression),
            Err(bad) => report_bad(spec, i, (&keys, text), bad, report),
        }
    }
    let mut with = HashMap::new();
    for (name, json) in step.with_json.iter().filter(|(_, json)| Template::is_in(json)) {
        let Some(json) = Json::parse(json) else { continue };
        let text = json.text().to_owned();
        match Template::parse_with(json.into_value(), &mut |text| building.expression(text)) {
            Ok(template) => {
                for expression in template.expressions() {
                    add(Use::With, &["with", name], expression);
                }
                with.insert(name.clone(), template);
            }
            Err(bad) => report_bad(spec, i, (&["with", name], &text), bad, report),
        }
    }
    told.with = with;
    told
}

fn report_bad(
    spec: &PipelineSpec,
    i: usize,
    (keys, text): (&[&str], &str),
    bad: BadExpression,
    report: &mut Report<'_>,
) {
    let (message, help) = if Template::is_in(text) && !keys.contains(&"with") {
        let help = "write one `${{ … }}` and nothing else".to_owned();
        (format!("`{text}` is more than one expression"), help)
    } else {
        (format!("`{text}`, {bad}"), bad.help)
    };
    let parts: Vec<Part<'_>> =
        std::iter::once(Part::Step(i)).chain(keys.iter().map(|key| Part::Key(key))).collect();
    report.value(spec, &parts, (message, help));
}
