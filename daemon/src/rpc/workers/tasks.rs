//! Leases as workers get them: everything bound, nothing left to decide.

use std::time::Duration;

use windlass_proto::common::v1::{
    AttemptRef, EnvironmentSpec, OutputSpec, PlannedStep, PythonAction, step_spec::Action,
};
use windlass_proto::worker::v1::{AttemptLease, LeaseProof, Task, TaskArg, task, task_arg};

use crate::engine::{CallerVariables, Grant, Proof};

/// Time between asking an attempt to end and killing it.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The lease of a granted attempt.
pub(super) fn lease(grant: &Grant, caller: &CallerVariables) -> AttemptLease {
    let attempt = AttemptRef {
        run_id: grant.key.run.to_string(),
        step: grant.path.clone(),
        attempt: grant.key.attempt.0,
    };
    let lease_id = grant.lease.0.to_vec().into();
    AttemptLease {
        lease: Some(LeaseProof { attempt: Some(attempt), lease_id }),
        task: grant.run.template(grant.template).map(|step| task(grant, step, caller)),
    }
}

/// A proof as it came.
pub(super) fn proof(proof: &Proof) -> LeaseProof {
    let attempt = windlass_proto::attempt_ref(proof.run, &proof.path, proof.attempt);
    LeaseProof { attempt: Some(attempt), lease_id: proof.lease.0.to_vec().into() }
}

fn task(grant: &Grant, step: &PlannedStep, caller: &CallerVariables) -> Task {
    let spec = step.spec.clone().unwrap_or_default();
    let plan = grant.run.plan.spec.as_ref();
    let environment: Option<EnvironmentSpec> = plan.and_then(|spec| spec.environment.clone());
    let mut env = spec.env;
    env.extend(grant.given.env.iter().cloned());
    let mut task = Task {
        args: grant.given.args.clone(),
        inputs: grant.given.inputs.clone(),
        snapshot: grant.run.snapshot.clone(),
        layers: grant.given.layers.clone(),
        left_out: grant.run.left_out.clone(),
        environment,
        env,
        caller_env: caller.variables.clone(),
        timeout: spec.timeout,
        stop_grace: prost_types::Duration::try_from(STOP_GRACE).ok(),
        resources: spec.resources,
        ..Task::default()
    };
    if grant.reduces {
        let reduce = spec.foreach.map(|foreach| foreach.reduce).unwrap_or_default();
        task.action = Some(task::Action::Python(PythonAction { target: reduce }));
        // The reducer's value is the whole output, whatever was picked from the instances'.
        task.outputs = spec.outputs.into_iter().map(|output| whole(output.name)).collect();
    } else {
        task.action = match step.patched.as_str() {
            "" => spec.action.and_then(action),
            function => Some(task::Action::Python(PythonAction { target: function.to_owned() })),
        };
        task.outputs = spec.outputs;
        task.metrics = spec.metrics;
        task.metrics_given = spec.metrics_given;
        task.overrides = step.overrides.clone();
    }
    hand_over_secrets(&mut task, (grant, &spec.secrets), caller);
    task
}

fn whole(name: String) -> OutputSpec {
    OutputSpec { name, ..OutputSpec::default() }
}

/// Gives the step the secrets that it names, takes the others out of what it inherits, and has
/// all of them masked.
fn hand_over_secrets(
    task: &mut Task,
    (grant, named): (&Grant, &[String]),
    caller: &CallerVariables,
) {
    if caller.secrets.is_empty() {
        return;
    }
    for (name, value) in &caller.secrets {
        task.caller_env.remove(name);
        task.masks.push(value.clone());
        if named.contains(name) {
            task.secrets.insert(name.clone(), value.clone());
        }
    }
    for (arg, secret) in &grant.given.secret_args {
        let Some(value) = caller.secrets.get(secret) else { continue };
        let text = serde_json::Value::from(String::from_utf8_lossy(value)).to_string();
        let value = Some(task_arg::Value::Json(text));
        task.args.push(TaskArg { name: arg.clone(), value });
        task.secret_args.push(arg.clone());
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
