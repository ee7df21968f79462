//! What would run: as text, for scripts, and as a graph for other programs.

mod drawing;
mod marks;
mod text;

use serde_json::{Map, Value, json};
use windlass_proto::common::v1::{self as common, bound_arg, foreach_spec, step_spec::Action};

pub(crate) use drawing::{dot, mermaid};
pub(crate) use text::text;

use super::json;

/// A plan as `plan --json` prints it; an argument that comes from elsewhere says where from.
pub(crate) fn plan_json(plan: &common::Plan) -> Value {
    let step = |step: &common::PlannedStep| step_json(plan, step);
    let arg = |arg: &common::BoundArg| (arg.name.clone(), arg_json(plan, arg));
    json!({
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "params": plan.params.iter().map(arg).collect::<Map<_, _>>(),
        "concurrency_key": plan.concurrency_key,
    })
}

fn step_json(plan: &common::Plan, step: &common::PlannedStep) -> Value {
    let spec = step.spec.clone().unwrap_or_default();
    let arg = |arg: &common::BoundArg| (arg.name.clone(), arg_json(plan, arg));
    let needs = step.needs.iter().map(|need| path(plan, *need));
    let (kind, does) = work(&spec);
    json!({
        "step": step.path,
        "needs": needs.collect::<Vec<_>>(),
        "args": step.args.iter().map(arg).collect::<Map<_, _>>(),
        "kind": kind,
        "does": json::text(&does),
        "parent": step.parent.map(|parent| path(plan, parent)),
        "when": json::text(&spec.when),
        "foreach": spec.foreach.as_ref().map(foreach_json),
        "loop": spec.r#loop.as_ref().map(|l| json!({
            "until": l.until, "max": l.max, "index": json::text(&l.index),
        })),
        "on_failure": json::text(&spec.on_failure),
        "failure_handler": step.failure_handler,
        "continue_on_error": spec.continue_on_error,
        "mocked": step.mock.is_some(),
        "patched": json::text(&step.patched),
        "secrets": spec.secrets,
    })
}

fn foreach_json(foreach: &common::ForeachSpec) -> Value {
    let list = |expr: Option<&str>, list: Option<&str>| match (expr, list) {
        (Some(expr), _) => json!({ "expr": expr }),
        (None, list) => json!({ "items": json::value(list.unwrap_or("[]")) }),
    };
    let over = match &foreach.items {
        Some(foreach_spec::Items::Expr(expr)) => list(Some(expr), None),
        Some(foreach_spec::Items::ListJson(items)) => list(None, Some(items)),
        Some(foreach_spec::Items::Matrix(matrix)) => {
            use common::matrix_axis::Values;
            let axis = |axis: &common::MatrixAxis| {
                let values = match &axis.values {
                    Some(Values::Expr(expr)) => list(Some(expr), None),
                    Some(Values::ListJson(items)) => list(None, Some(items)),
                    None => Value::Null,
                };
                (axis.name.clone(), values)
            };
            json!({ "matrix": matrix.axes.iter().map(axis).collect::<Map<_, _>>() })
        }
        None => Value::Null,
    };
    json!({
        "over": over,
        "as": json::text(&foreach.r#as),
        "max_parallel": (foreach.max_parallel > 0).then_some(foreach.max_parallel),
        "reduce": json::text(&foreach.reduce),
    })
}

fn arg_json(plan: &common::Plan, arg: &common::BoundArg) -> Value {
    use bound_arg::Value as Bound;
    let source = json::source(arg.source());
    let from = match &arg.value {
        Some(Bound::Json(text)) => {
            return json!({ "value": json::value(text), "source": source });
        }
        Some(Bound::Output(from)) => json!({ "step": path(plan, from.step), "output": from.name }),
        Some(Bound::TemplateJson(text)) => json!({ "template": json::value(text) }),
        Some(Bound::Param(name)) => json!({ "param": name }),
        Some(Bound::Item(item)) => json!({ "item": json::text(&item.axis) }),
        Some(Bound::Iteration(_)) => json!({ "iteration": true }),
        Some(Bound::Secret(name)) => json!({ "secret": name }),
        None => return json!({ "value": null, "source": source }),
    };
    json!({ "value": null, "source": source, "from": from })
}

/// The path of a step by its index.
fn path(plan: &common::Plan, index: u32) -> String {
    let step = usize::try_from(index).ok().and_then(|at| plan.steps.get(at));
    step.map_or_else(String::new, |step| step.path.clone())
}

/// What kind of step it is, and what it does in few words.
fn work(spec: &common::StepSpec) -> (&'static str, String) {
    let first = |text: &str| {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.next().unwrap_or_default().to_owned();
        if lines.next().is_some() { format!("{line} …") } else { line }
    };
    match &spec.action {
        Some(Action::Python(python)) => ("python", python.target.clone()),
        Some(Action::Run(run)) => ("run", first(&run.script)),
        Some(Action::Script(script)) => ("script", script.argv.join(" ")),
        Some(Action::Command(command)) => ("command", command.argv.join(" ")),
        Some(Action::Notebook(notebook)) => ("notebook", notebook.path.clone()),
        Some(Action::Pipeline(pipeline)) => ("pipeline", pipeline.path.clone()),
        Some(Action::Stub(_)) | None => ("stub", String::new()),
    }
}

#[cfg(test)]
pub(super) mod examples {
    use windlass_proto::common::v1::{
        self as common, BoundArg, ForeachSpec, InnerSteps, PlannedStep, StepSpec, ValueSource,
        bound_arg::Value, foreach_spec::Items, step_spec::Action,
    };

    fn arg(name: &str, source: ValueSource, value: Value) -> BoundArg {
        BoundArg { name: name.into(), source: source.into(), value: Some(value) }
    }

    fn python(target: &str) -> Option<Action> {
        Some(Action::Python(common::PythonAction { target: target.into() }))
    }

    /// A step of every kind of mark.
    pub(crate) fn plan() -> common::Plan {
        let load = StepSpec { action: python("f:load"), ..Default::default() };
        let foreach = ForeachSpec {
            items: Some(Items::Expr("outputs.rows".into())),
            r#as: "x".into(),
            max_parallel: 4,
            ..Default::default()
        };
        let inner = common::PipelineAction { path: "inner.yaml".into() };
        let all = StepSpec {
            action: Some(Action::Pipeline(inner)),
            foreach: Some(foreach),
            on_failure: "mend".into(),
            ..Default::default()
        };
        let run = common::ShellAction { script: "echo \"sorry\"\nexit 1\n".into() };
        let mend = StepSpec { action: Some(Action::Run(run)), ..Default::default() };
        let tune = StepSpec {
            action: python("f:tune"),
            when: "params.x > 1".into(),
            ..Default::default()
        };
        let output = common::OutputRef { step: 0, name: "rows".into() };
        let step = |path: &str, spec: StepSpec| PlannedStep {
            path: path.into(),
            spec: Some(spec),
            ..Default::default()
        };
        let item = Value::Item(common::ItemRef::default());
        let mut steps = vec![
            PlannedStep { mock: Some(common::Mock::default()), ..step("load", load) },
            PlannedStep { needs: vec![0], ..step("all", all) },
            PlannedStep { needs: vec![1], failure_handler: true, ..step("mend", mend) },
            PlannedStep { parent: Some(1), ..step("all/tune", tune) },
        ];
        steps[1].inner = Some(InnerSteps { first: 3, count: 1 });
        steps[1].args = vec![arg("x", ValueSource::With, item)];
        steps[3].args = vec![
            arg("rows", ValueSource::Output, Value::Output(output)),
            arg("x", ValueSource::Pipeline, Value::Param("x".into())),
            arg("n", ValueSource::Cli, Value::Json("4".into())),
        ];
        steps[3].patched = "f:quick".into();
        common::Plan { steps, ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{examples, plan_json};
    use serde_json::json;

    #[test]
    fn scripts_get_the_contract_and_the_marks() {
        let plan = plan_json(&examples::plan());
        let steps = &plan["steps"];
        assert_eq!(steps[3]["args"]["n"], json!({"value": 4, "source": "cli"}));
        let rows = json!({"value": null, "source": "output",
                          "from": {"step": "load", "output": "rows"}});
        assert_eq!(steps[3]["args"]["rows"], rows);
        assert_eq!((&steps[1]["needs"], &steps[3]["parent"]), (&json!(["load"]), &json!("all")));
        assert_eq!((&steps[0]["mocked"], &steps[3]["patched"]), (&json!(true), &json!("f:quick")));
        assert_eq!(steps[1]["foreach"]["over"], json!({"expr": "outputs.rows"}));
        assert_eq!(steps[3]["when"], "params.x > 1");
    }
}
