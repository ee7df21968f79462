use serde_json::{Number, Value, json};
use windlass_core::Join;
use windlass_proto::common::v1::{Output, StepSpec, step_spec::Action};

use super::{Answers, Unanswered, parse, specs};
use crate::{
    engine::{Given, Question, Verdict},
    expr::{Expression, as_bool, shape},
};

/// Bytes of JSON beyond which the list of the instances' outputs is kept as their digests.
const MAX_LIST_BYTES: i64 = 16 << 20;

/// What may become of a list without a function of the project.
const REDUCERS: [&str; 6] = ["sum", "min", "max", "mean", "last", "concat"];

impl Answers {
    /// What a step whose children have ended is now.
    pub(super) fn join(&mut self, question: &Question) -> Result<Verdict, Unanswered> {
        let (_, spec) = specs(question)?;
        if let Some(looped) = &spec.r#loop
            && question.is_container
        {
            let until = parse("until", &looped.until)?;
            let scope = self.scope(question, &[&until])?;
            let value = until.evaluate(&scope).map_err(|e| Unanswered::of("until", e))?;
            let done = as_bool(&until, &value).map_err(|e| Unanswered::of("until", e))?;
            let outputs = question.children.last().map(|last| last.outputs.clone());
            return Ok(Verdict::Join {
                join: Join::Until(done),
                outputs: outputs.unwrap_or_default(),
            });
        }
        match &spec.foreach {
            Some(foreach) if question.is_container => self.gather(question, spec, &foreach.reduce),
            Some(_) | None => self.pick(question, spec),
        }
    }

    /// The outputs of a pipeline step, picked from its inner steps.
    fn pick(&mut self, question: &Question, spec: &StepSpec) -> Result<Verdict, Unanswered> {
        let mut outputs = Vec::new();
        for output in spec.outputs.iter().filter(|output| !output.expr.is_empty()) {
            let what = format!("output `{}`", output.name);
            let expression = parse(&what, &output.expr)?;
            if let Some(same) = whole_output(question, &expression) {
                outputs.push(Output { name: output.name.clone(), ..same.clone() });
                continue;
            }
            let scope = self.scope(question, &[&expression])?;
            let value = expression.evaluate(&scope).map_err(|e| Unanswered::of(&what, e))?;
            outputs.push(self.keep(&output.name, "json", value.to_string().as_bytes())?);
        }
        Ok(Verdict::Join { join: Join::Done, outputs })
    }

    /// The outputs of a step with instances: of each name the list, or what becomes of it.
    fn gather(
        &mut self,
        question: &Question,
        spec: &StepSpec,
        reduce: &str,
    ) -> Result<Verdict, Unanswered> {
        let mut outputs = Vec::new();
        for name in names(spec, &question.children) {
            let all: Vec<Option<&Output>> = question
                .children
                .iter()
                .map(|child| child.outputs.iter().find(|output| output.name == name))
                .collect();
            outputs.push(if REDUCERS.contains(&reduce) {
                self.reduced(&name, &all, reduce)?
            } else {
                self.list(&name, &all)?
            });
        }
        let by_function = !reduce.is_empty() && !REDUCERS.contains(&reduce);
        let join = if by_function { Join::Reduce } else { Join::Done };
        Ok(Verdict::Join { join, outputs })
    }

    /// The list of an output of the instances, in their order; null where one has none.
    fn list(&self, name: &str, all: &[Option<&Output>]) -> Result<Output, Unanswered> {
        let is_json = |output: &Option<&Output>| output.is_none_or(|o| o.codec == "json");
        let bytes: i64 = all.iter().flatten().map(|output| output.size_bytes).sum();
        if all.iter().all(is_json) && bytes <= MAX_LIST_BYTES {
            let mut text = Vec::from(b"[");
            for (place, output) in all.iter().enumerate() {
                if place > 0 {
                    text.extend_from_slice(b", ");
                }
                let read = output.map(|output| self.bytes(output)).transpose();
                let read = read.map_err(|why| Unanswered::of(&format!("output `{name}`"), why))?;
                let value = read.as_deref().map_or(&b"null"[..], <[u8]>::trim_ascii);
                text.extend_from_slice(value);
            }
            text.push(b']');
            return self.keep(name, "json", &text);
        }
        let entry = |output: &Option<&Output>| {
            output.map(|output| {
                let Output { digest, size_bytes, codec, .. } = output;
                json!({"digest": digest, "size_bytes": size_bytes, "codec": codec})
            })
        };
        let entries: Vec<_> = all.iter().map(entry).collect();
        self.keep(name, "list", json!(entries).to_string().as_bytes())
    }

    fn reduced(
        &self,
        name: &str,
        all: &[Option<&Output>],
        reduce: &str,
    ) -> Result<Output, Unanswered> {
        if reduce == "last" {
            let last = all.iter().rev().find_map(|output| *output);
            let none = || Unanswered(format!("reduce: last of nothing for output `{name}`"));
            return last.cloned().ok_or_else(none);
        }
        let mut values = Vec::with_capacity(all.len());
        for output in all {
            let value = output.map_or(Ok(Value::Null), |output| self.value(output));
            let told = |why| Unanswered(format!("reduce: output `{name}` of an instance {why}"));
            values.push(value.map_err(told)?);
        }
        let told = |why| Unanswered(format!("reduce: {reduce} of output `{name}`: {why}"));
        let value = reduce_values(&values, reduce).map_err(told)?;
        self.keep(name, "json", value.to_string().as_bytes())
    }

    fn keep(&self, name: &str, codec: &str, bytes: &[u8]) -> Result<Output, Unanswered> {
        let told = |error| Unanswered::of(&format!("output `{name}` cannot be kept"), error);
        let digest = self.blobs.put_bytes(bytes).map_err(told)?;
        Ok(Output {
            name: name.to_owned(),
            digest: digest.to_string(),
            size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            codec: codec.to_owned(),
        })
    }
}

/// The names of outputs: those that the step declares, then others that instances have.
fn names(spec: &StepSpec, children: &[Given]) -> Vec<String> {
    let mut names: Vec<String> = spec.outputs.iter().map(|output| output.name.clone()).collect();
    if names.is_empty() && matches!(spec.action, Some(Action::Python(_))) {
        names.push("result".to_owned());
    }
    let mut seen: std::collections::HashSet<String> = names.iter().cloned().collect();
    for output in children.iter().flat_map(|child| &child.outputs) {
        if seen.insert(output.name.clone()) {
            names.push(output.name.clone());
        }
    }
    names
}

/// The output that an expression names as it is: `steps.square.outputs.y`. Taken whole, it may be
/// of any codec.
fn whole_output<'a>(question: &'a Question, expression: &Expression) -> Option<&'a Output> {
    let parts: Vec<&str> = expression.text().trim().split('.').collect();
    let ["steps", name, "outputs", output] = parts.as_slice() else { return None };
    let place = question.children.iter().position(|child| {
        let key = (child.step.0.checked_sub(question.beside.0.0))
            .map(|offset| question.beside.1.0 + offset);
        let planned = key.and_then(|template| {
            question.shared.template(windlass_core::StepIndex(template))?.spec.as_ref()
        });
        planned.is_some_and(|spec| spec.name == *name)
    })?;
    question.children[place].outputs.iter().find(|known| known.name == *output)
}

/// What becomes of a list.
fn reduce_values(values: &[Value], reduce: &str) -> Result<Value, String> {
    if reduce == "concat" {
        return concat(values);
    }
    let mut numbers = Vec::with_capacity(values.len());
    for (place, value) in values.iter().enumerate() {
        let number = value.as_f64();
        numbers.push(number.ok_or_else(|| format!("item {place} is {}, no number", shape(value)))?);
    }
    let whole = values.iter().all(Value::is_i64);
    let best = |better: fn(f64, f64) -> bool| {
        let mut best = 0;
        for place in 1..numbers.len() {
            if better(numbers[place], numbers[best]) {
                best = place;
            }
        }
        values.get(best).cloned().ok_or_else(|| "there are no items".to_owned())
    };
    match reduce {
        "sum" if whole => {
            let sum = values.iter().filter_map(Value::as_i64).try_fold(0i64, i64::checked_add);
            sum.map(Value::from).ok_or_else(|| "the sum is too large".to_owned())
        }
        "sum" => number(numbers.iter().sum()),
        "min" => best(|a, b| a < b),
        "max" => best(|a, b| a > b),
        _ if numbers.is_empty() => Err("there are no items".to_owned()),
        _ => {
            let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            number(numbers.iter().sum::<f64>() / f64::from(count))
        }
    }
}

fn number(value: f64) -> Result<Value, String> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| format!("{value} is no JSON number"))
}

/// Lists one behind the other, or texts.
fn concat(values: &[Value]) -> Result<Value, String> {
    if !values.is_empty() && values.iter().all(Value::is_string) {
        return Ok(values.iter().filter_map(Value::as_str).collect::<String>().into());
    }
    let mut all = Vec::new();
    for (place, value) in values.iter().enumerate() {
        match value {
            Value::Array(items) => all.extend_from_slice(items),
            other => return Err(format!("item {place} is {}, no list", shape(other))),
        }
    }
    Ok(Value::Array(all))
}
