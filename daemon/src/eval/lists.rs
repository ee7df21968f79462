use serde_json::{Map, Value};
use windlass_core::MAX_NODES;
use windlass_proto::common::v1::{
    ForeachSpec, MatrixAxis, MatrixSpec, StepSpec, foreach_spec::Items, matrix_axis::Values,
};

use super::{Unanswered, parse};
use crate::expr::{Expression, Scope, as_list};

/// The expressions that give a step's items, in the order of the spec.
pub(super) fn expressions(spec: &StepSpec) -> Result<Vec<Expression>, Unanswered> {
    let Some(ForeachSpec { items: Some(items), .. }) = &spec.foreach else { return Ok(vec![]) };
    match items {
        Items::Expr(text) => Ok(vec![parse("foreach", text)?]),
        Items::ListJson(_) => Ok(vec![]),
        Items::Matrix(MatrixSpec { axes }) => {
            let texts = axes.iter().filter_map(|axis| match &axis.values {
                Some(Values::Expr(text)) => Some(text),
                Some(Values::ListJson(_)) | None => None,
            });
            texts.map(|text| parse("matrix", text)).collect()
        }
    }
}

/// The items of a step that spreads over some; `lists` are its [`expressions`].
pub(super) fn items(
    spec: &StepSpec,
    lists: &[Expression],
    scope: &Scope,
) -> Result<Option<Vec<Value>>, Unanswered> {
    let Some(ForeachSpec { items: Some(items), .. }) = &spec.foreach else { return Ok(None) };
    let mut lists = lists.iter();
    match items {
        Items::Expr(_) => evaluated("foreach", lists.next(), scope).map(Some),
        Items::ListJson(json) => literal("foreach", json).map(Some),
        Items::Matrix(matrix) => {
            let mut axes = Vec::with_capacity(matrix.axes.len());
            for MatrixAxis { name, values } in &matrix.axes {
                let what = format!("matrix axis `{name}`");
                let values = match values {
                    Some(Values::ListJson(json)) => literal(&what, json)?,
                    Some(Values::Expr(_)) => evaluated(&what, lists.next(), scope)?,
                    None => vec![],
                };
                axes.push((name.as_str(), values));
            }
            product(&axes).map(Some)
        }
    }
}

fn evaluated(
    what: &str,
    expression: Option<&Expression>,
    scope: &Scope,
) -> Result<Vec<Value>, Unanswered> {
    let Some(expression) = expression else { return Ok(vec![]) };
    let value = expression.evaluate(scope).map_err(|e| Unanswered::of(what, e))?;
    as_list(expression, value).map_err(|e| Unanswered::of(what, e))
}

fn literal(what: &str, json: &str) -> Result<Vec<Value>, Unanswered> {
    serde_json::from_str(json).map_err(|e| Unanswered::of(what, e))
}

/// Every combination, the last axis first.
fn product(axes: &[(&str, Vec<Value>)]) -> Result<Vec<Value>, Unanswered> {
    let count = axes.iter().try_fold(1usize, |count, (_, values)| count.checked_mul(values.len()));
    if count.is_none_or(|count| count > MAX_NODES) {
        let sizes: Vec<_> = axes.iter().map(|(_, values)| values.len().to_string()).collect();
        let told = format!("{} combinations are more than {MAX_NODES}", sizes.join(" × "));
        return Err(Unanswered::of("matrix", told));
    }
    let mut found = vec![Map::new()];
    for (name, values) in axes {
        let with = |map: &Map<String, Value>, value: &Value| {
            let mut map = map.clone();
            map.insert((*name).to_owned(), value.clone());
            map
        };
        found = found.iter().flat_map(|map| values.iter().map(|v| with(map, v))).collect();
    }
    Ok(found.into_iter().map(Value::Object).collect())
}
