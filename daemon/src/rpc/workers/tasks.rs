//! Leases as workers get them: everything bound, nothing left to decide.

use std::time::Duration;

use windlass_proto::common::v1::{
    AttemptRef, EnvironmentSpec, PlannedStep, bound_arg::Value, step_spec::Action,
};
use windlass_proto::worker::v1::{AttemptLease, LeaseProof, Task, TaskArg, task, task_arg};

use crate::{
    engine::{CallerVariables, Grant, Proof},
    store::details::planned,
};

/// Time between asking an attempt to end and killing it.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The lease of a granted attempt.
pub(super) fn lease(grant: &Grant, variables: &CallerVariables) -> AttemptLease {
    let path = grant.run.path(grant.key.step);
    let attempt = AttemptRef {
        run_id: grant.key.run.to_string(),
        step: path.to_owned(),
        attempt: grant.key.attempt.0,
    };
    let lease_id = grant.lease.0.to_vec().into();
    AttemptLease {
        lease: Some(LeaseProof { attempt: Some(attempt), lease_id }),
        task: planned(&grant.run.plan, grant.key.step).map(|step| task(grant, step, variables)),
    }
}

/// A proof as it came.
pub(super) fn proof(proof: &Proof) -> LeaseProof {
    let attempt = windlass_proto::attempt_ref(proof.run, &proof.path, proof.attempt);
    LeaseProof { attempt: Some(attempt), lease_id: proof.lease.0.to_vec().into() }
}

fn task(grant: &Grant, step: &PlannedStep, variables: &CallerVariables) -> Task {
    let spec = step.spec.clone().unwrap_or_default();
    let plan = grant.run.plan.spec.as_ref();
    let environment: Option<EnvironmentSpec> = plan.and_then(|spec| spec.environment.clone());
    Task {
        action: spec.action.and_then(action),
        args: args(grant, step),
        inputs: grant.inputs.clone(),
        outputs: spec.outputs,
        metrics: spec.metrics,
        metrics_given: spec.metrics_given,
        overrides: step.overrides.clone(),
        snapshot: grant.run.snapshot.clone(),
        layers: grant.layers.clone(),
        left_out: grant.run.left_out.clone(),
        environment,
        env: spec.env,
        caller_env: variables.as_ref().clone(),
        timeout: spec.timeout,
        stop_grace: prost_types::Duration::try_from(STOP_GRACE).ok(),
        resources: spec.resources,
        ..Task::default()
    }
}

fn action(action: Action) -> Option<task::Action> {
    match action {
        Action::Python(python) => Some(task::Action::Python(python)),
        Action::Run(shell) => Some(task::Action::Run(shell)),
        Action::Script(command) => Some(task::Action::Script(command)),
        Action::Command(command) => Some(task::Action::Command(command)),
        Action::Notebook(notebook) => Some(task::Action::Notebook(notebook)),
        Action::Stub(_) | Action::Pipeline(_) => None,
    }
}

/// The step's arguments; one whose output was not given above is left out, and the worker says so.
fn args(grant: &Grant, step: &PlannedStep) -> Vec<TaskArg> {
    let bound = |place: usize| grant.bound.iter().find(|(at, _)| *at == place);
    let arg = |(place, arg): (usize, &windlass_proto::common::v1::BoundArg)| {
        let value = match arg.value.as_ref()? {
            Value::Json(json) => task_arg::Value::Json(json.clone()),
            Value::Output(_) => task_arg::Value::Output(bound(place)?.1.clone()),
            Value::TemplateJson(_)
            | Value::Param(_)
            | Value::Item(_)
            | Value::Iteration(_)
            | Value::Secret(_) => return None,
        };
        Some(TaskArg { name: arg.name.clone(), value: Some(value) })
    };
    step.args.iter().enumerate().filter_map(arg).collect()
}
