//! What core must know of a plan.

use std::time::Duration;

use windlass_core::{BadGraph, Mock, RetryOn, RetryPolicy, RunGraph, Spread, StepRules, Work};
use windlass_proto::common::v1::{
    ForeachSpec, LoopSpec, Plan, PlannedStep, RetrySpec, StepSpec, bound_arg::Value,
    retry_spec::On, step_spec::Action,
};

/// Wait before the first retry, growth of the waits and their bound, where a pipeline names none.
const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);
const DEFAULT_FACTOR: f64 = 2.0;
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The graph of a plan, with each step's rules.
pub(super) fn graph(plan: &Plan) -> Result<RunGraph, BadGraph> {
    let rules = plan.steps.iter().map(rules).collect();
    let edges = plan.steps.iter().map(|step| (step.needs.as_slice(), step.data_needs.as_slice()));
    RunGraph::new(edges, rules)
}

fn rules(step: &PlannedStep) -> StepRules {
    let own = StepSpec::default();
    let spec = step.spec.as_ref().unwrap_or(&own);
    let mut retry = spec.retry.as_ref().map_or(RetryPolicy::NEVER, policy);
    retry.on.lost |= spec.idempotent;
    let work = work(step, spec);
    let spread = match (work, &spec.foreach, &spec.r#loop) {
        (Work::Mock(_), _, _) | (_, None, None) => Spread::Once,
        (_, Some(ForeachSpec { max_parallel, .. }), _) => {
            Spread::Each { max_parallel: *max_parallel }
        }
        (_, None, Some(LoopSpec { max, succeed_at_max, .. })) => {
            Spread::Loop { max: *max, succeed_at_max: *succeed_at_max }
        }
    };
    StepRules {
        retry,
        work,
        spread,
        asks: asks(step, spec, spread),
        joins: spec.outputs.iter().any(|output| !output.expr.is_empty()),
        tolerated: spec.continue_on_error,
        handler: step.failure_handler,
        parent: step.parent,
    }
}

fn work(step: &PlannedStep, spec: &StepSpec) -> Work {
    if let Some(mock) = &step.mock {
        let sleep = mock.sleep.and_then(|sleep| Duration::try_from(sleep).ok());
        let fails = mock.fail.is_some();
        return Work::Mock(Mock { fails, sleep: sleep.unwrap_or_default() });
    }
    match (&spec.action, &step.inner) {
        (Some(Action::Stub(_)), _) => Work::Stub,
        (Some(Action::Pipeline(_)), Some(inner)) => {
            Work::Pipeline { first: inner.first, count: inner.count }
        }
        (Some(_) | None, _) => Work::Attempts,
    }
}

/// True where something is to be evaluated before the step starts.
fn asks(step: &PlannedStep, spec: &StepSpec, spread: Spread) -> bool {
    let mocked = step.mock.is_some();
    let template = |value: &Option<Value>| matches!(value, Some(Value::TemplateJson(_)));
    let found = step.args.iter().any(|arg| template(&arg.value));
    !spec.when.is_empty() || (!mocked && (found || matches!(spread, Spread::Each { .. })))
}

fn policy(spec: &RetrySpec) -> RetryPolicy {
    let duration = |given: Option<&prost_types::Duration>, default| {
        given.map_or(default, |given| Duration::try_from(*given).unwrap_or(default))
    };
    let on = |kind: On| spec.on.contains(&kind.into());
    let all = spec.on.is_empty();
    RetryPolicy {
        times: spec.times,
        backoff: duration(spec.backoff.as_ref(), DEFAULT_BACKOFF),
        factor: if spec.factor > 0.0 { spec.factor } else { DEFAULT_FACTOR },
        max: duration(spec.max.as_ref(), DEFAULT_MAX_BACKOFF),
        on: RetryOn {
            exit: all || on(On::Exit),
            timeout: all || on(On::Timeout),
            oom: all || on(On::Oom),
            lost: on(On::Lost),
        },
    }
}
