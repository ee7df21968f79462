//! Steps that are made while a run goes on.

use windlass_proto::common::v1::{
    BoundArg, ForeachSpec, InnerSteps, ItemRef, LoopSpec, Mock, OutputSpec, PipelineAction,
    bound_arg::Value, foreach_spec::Items,
};
use windlass_proto::worker::v1::task_arg;

use super::*;

/// Changes the spec of one step of a plan.
fn spec(plan: &mut Plan, step: usize) -> &mut StepSpec {
    plan.steps[step].spec.as_mut().unwrap()
}

fn over_list(list: &str) -> Option<ForeachSpec> {
    let items = Some(Items::ListJson(list.to_owned()));
    Some(ForeachSpec { items, r#as: "x".into(), ..ForeachSpec::default() })
}

fn item() -> BoundArg {
    let value = Some(Value::Item(ItemRef::default()));
    BoundArg { name: "x".into(), source: 1, value }
}

impl Rig {
    /// Keeps a JSON output.
    fn output(&self, home: &Path, name: &str, json: &str) -> Output {
        let store = windlass_blobs::Store::open(&home.join("blobs")).unwrap();
        let digest = store.put_bytes(json.as_bytes()).unwrap().to_string();
        let (name, codec) = (name.to_owned(), "json".to_owned());
        Output { name, digest, size_bytes: json.len().try_into().unwrap(), codec }
    }

    /// Waits until the run has ended.
    async fn end(&self, run: RunId) -> Run {
        let mut changes = self.handle.watchers.subscribe(run);
        let wait =
            async { while !self.state(run).await.is_terminal() && changes.recv().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
        self.run(run).await
    }
}

impl Worker<'_> {
    /// The next lease; waits for it.
    async fn next(&self) -> Arc<Grant> {
        let poll = Uuid::new_v4().to_string();
        let polled = self.poll_as(&poll, 1, Duration::from_secs(60));
        tokio::time::timeout(PATIENCE, polled).await.unwrap().unwrap().pop().unwrap()
    }

    async fn succeed(&self, grant: &Grant, outputs: Vec<Output>) {
        let mut report = self.said(grant, AttemptState::Succeeded);
        report.outputs = outputs;
        self.rig.handle.report(report).await.unwrap();
    }
}

fn json_arg(grant: &Grant, name: &str) -> String {
    let arg = grant.given.args.iter().find(|arg| arg.name == name).unwrap();
    match arg.value.clone().unwrap() {
        task_arg::Value::Json(json) => json,
        task_arg::Value::Output(output) => format!("{} of {}", output.name, output.digest),
    }
}

fn states(run: &Run) -> Vec<(String, &'static str)> {
    let word = |state: i32| windlass_core::StepState::from_code(state.into()).unwrap().word();
    run.steps.iter().map(|step| (step.step.clone(), word(step.state))).collect()
}

#[tokio::test]
async fn a_step_spreads_over_items_and_its_outputs_are_a_list() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut plan = plan(&[&[], &[0]]);
    spec(&mut plan, 0).foreach = over_list("[1, 2, \"three\"]");
    plan.steps[0].args = vec![item()];
    let run = rig.create(plan).await;
    for (place, value) in ["1", "2", "\"three\""].iter().enumerate() {
        let grant = worker.next().await;
        assert_eq!(grant.path, format!("s0[{place}]"));
        assert_eq!(json_arg(&grant, "x"), *value);
        worker.succeed(&grant, vec![rig.output(home.path(), "y", &format!("{place}"))]).await;
    }
    let after = worker.next().await;
    assert_eq!(after.path, "s1");
    assert_eq!(after.given.inputs, [rig.output(home.path(), "y", "[0, 1, 2]")]);
    worker.succeed(&after, vec![]).await;
    let seen = rig.end(run).await;
    let good = ["s0", "s1", "s0[0]", "s0[1]", "s0[2]"].map(|step| (step.into(), "succeeded"));
    assert_eq!(states(&seen), good);
    assert_eq!(seen.steps[0].outputs[0].name, "y");
    assert_eq!(seen.steps[4].args[0].json, "\"three\"");
    assert_eq!(seen.steps[4].template, "s0");
}

#[tokio::test]
async fn an_engine_that_dies_between_two_instances_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let mut plan = plan(&[&[]]);
    spec(&mut plan, 0).foreach =
        over_list("[10, 20, 30]").map(|spread| ForeachSpec { max_parallel: 1, ..spread });
    plan.steps[0].args = vec![item()];
    let rig = Rig::open(home.path());
    let run = rig.create(plan).await;
    let worker = rig.worker("w", 2).await;
    let first = worker.next().await;
    worker.succeed(&first, vec![]).await;
    assert_eq!(rig.states(run).await, ["running", "succeeded", "ready", "pending"]);
    rig.stop().await;
    for value in ["20", "30"] {
        let rig = Rig::open(home.path());
        let worker = rig.worker("w", 2).await;
        let grant = worker.next().await;
        assert_eq!(json_arg(&grant, "x"), value);
        worker.succeed(&grant, vec![]).await;
        rig.stop().await;
    }
    let rig = Rig::open(home.path());
    assert_eq!(states(&rig.end(run).await)[0], ("s0".to_owned(), "succeeded"));
}

#[tokio::test]
async fn nothing_to_spread_over_is_a_success_and_an_item_that_fails_fails_all() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 2).await;
    let mut none = plan(&[&[]]);
    spec(&mut none, 0).foreach = over_list("[]");
    let run = rig.create(none).await;
    assert_eq!(rig.end(run).await.state, i32::from(RunState::Succeeded.code()));
    let mut two = plan(&[&[], &[0]]);
    spec(&mut two, 0).foreach = over_list("[1, 2]");
    let run = rig.create(two).await;
    let (one, other) = (worker.next().await, worker.next().await);
    worker.report(&one, AttemptState::Failed).await.unwrap();
    worker.succeed(&other, vec![]).await;
    let seen = rig.end(run).await;
    let wanted = ["failed", "upstream_failed", "failed", "succeeded"];
    assert_eq!(states(&seen).iter().map(|(_, word)| *word).collect::<Vec<_>>(), wanted);
    assert!(seen.reason.contains("s0[0]"), "{}", seen.reason);
}

#[tokio::test]
async fn a_loop_goes_on_until_its_condition_holds() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut looped = plan(&[&[]]);
    let until = "outputs.n >= 2".to_owned();
    spec(&mut looped, 0).r#loop = Some(LoopSpec { until, max: 2, ..LoopSpec::default() });
    for (reached, outcome) in [(2, RunState::Succeeded), (1, RunState::Failed)] {
        let run = rig.create(looped.clone()).await;
        let first = worker.next().await;
        assert_eq!((first.path.as_str(), first.given.inputs.len()), ("s0[0]", 0));
        worker.succeed(&first, vec![rig.output(home.path(), "n", "1")]).await;
        let second = worker.next().await;
        assert_eq!(second.given.inputs, [rig.output(home.path(), "n", "1")], "the one before");
        worker.succeed(&second, vec![rig.output(home.path(), "n", &reached.to_string())]).await;
        let seen = rig.end(run).await;
        assert_eq!(seen.state, i32::from(outcome.code()));
        let failed = outcome == RunState::Failed;
        assert_eq!(seen.steps[0].reason.contains("after 2 iterations"), failed);
    }
}

#[tokio::test]
async fn conditions_handlers_and_mocks() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let mut plan = plan(&[&[], &[0], &[1], &[2], &[3]]);
    plan.steps[0].mock =
        Some(Mock { outputs: vec![rig.output(home.path(), "n", "3")], ..Mock::default() });
    spec(&mut plan, 1).when = "outputs.n > 5".into();
    plan.steps[2].mock = Some(Mock { fail: Some("no way".into()), ..Mock::default() });
    plan.steps[3].failure_handler = true;
    plan.steps[4].needs = vec![1];
    plan.steps[4].mock = Some(Mock::default());
    plan.steps[4].data_needs = vec![1];
    let run = rig.create(plan).await;
    let worker = rig.worker("w", 1).await;
    let handler = worker.next().await;
    assert_eq!(handler.path, "s3");
    let told = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let wanted = [told("WINDLASS_FAILED_STEP", "s2"), told("WINDLASS_FAILED_REASON", "no way")];
    assert_eq!(handler.given.env, wanted);
    worker.succeed(&handler, vec![]).await;
    let seen = rig.end(run).await;
    let words: Vec<_> = states(&seen).into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["succeeded", "skipped", "failed", "succeeded", "skipped"]);
    assert_eq!(seen.steps[1].reason, "`outputs.n > 5` is false");
    assert_eq!(seen.steps[4].reason, "needs a value of s1, which gave none");
    assert!(seen.steps[0].mocked && seen.steps[0].outputs[0].name == "n");
    assert_eq!(seen.reason, "step `s2` failed: no way");
}

#[tokio::test]
async fn a_pipeline_in_a_list_of_pipelines_gets_its_values() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut plan = plan(&[&[], &[]]);
    plan.steps[1].parent = Some(0);
    plan.steps[1].path = "s0/s1".into();
    let param = Some(Value::Param("x".into()));
    plan.steps[1].args = vec![BoundArg { name: "z".into(), source: 1, value: param }];
    plan.steps[0].inner = Some(InnerSteps { first: 1, count: 1 });
    plan.steps[0].args = vec![item()];
    let outer = spec(&mut plan, 0);
    outer.foreach = over_list("[7, 8]");
    outer.action = Some(Action::Pipeline(PipelineAction { path: "inner.yaml".into() }));
    let picked = "steps.s1.outputs.y * 10".to_owned();
    outer.outputs = vec![OutputSpec { name: "all".into(), expr: picked, ..OutputSpec::default() }];
    let run = rig.create(plan).await;
    for (place, value) in ["7", "8"].iter().enumerate() {
        let grant = worker.next().await;
        assert_eq!(grant.path, format!("s0[{place}]/s1"));
        assert_eq!(json_arg(&grant, "z"), *value);
        worker.succeed(&grant, vec![rig.output(home.path(), "y", value)]).await;
    }
    let seen = rig.end(run).await;
    assert_eq!(seen.state, i32::from(RunState::Succeeded.code()), "{}", seen.reason);
    assert_eq!(seen.steps[0].outputs, [rig.output(home.path(), "all", "[70, 80]")]);
    let found = rig.readers.read(move |conn| {
        let plan = details::plan(conn, run)?;
        crate::store::steps::at_path(conn, (run, &plan), "s0[1]/s1")
    });
    assert!(found.await.unwrap().is_some());
}

#[tokio::test]
async fn an_expression_without_a_value_fails_its_step_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let mut plan = plan(&[&[], &[0]]);
    plan.steps[0].mock =
        Some(Mock { outputs: vec![rig.output(home.path(), "n", "3")], ..Mock::default() });
    let foreach = Some(Items::Expr("steps.s0.outputs.n".into()));
    spec(&mut plan, 1).foreach = Some(ForeachSpec { items: foreach, ..ForeachSpec::default() });
    let run = rig.create(plan).await;
    let seen = rig.end(run).await;
    assert_eq!(states(&seen)[1].1, "failed");
    assert!(seen.steps[1].reason.starts_with("foreach: "), "{}", seen.steps[1].reason);
    assert!(seen.reason.contains("s1"), "{}", seen.reason);
}
