use std::{collections::HashMap, time::Duration};

use prost::bytes::Bytes;
use windlass_core::Digest;
use windlass_proto::api::v1::{
    CancelRunRequest, CheckPipelineRequest, DeleteRunRequest, GetPipelineSchemaRequest, NamedText,
    ParamValues, PlanRunRequest, RerunRunRequest, run::State,
};

use super::*;

#[tokio::test]
async fn a_repeated_request_makes_one_run() {
    let daemon = Daemon::start().await;
    let request = daemon.request(&["a"]);
    let first = daemon.runs().create_run(request.clone()).await.unwrap().into_inner();
    let (one, two) = (request.clone(), request);
    let (mut left, mut right) = (daemon.runs(), daemon.runs());
    let (one, two) = tokio::join!(left.create_run(one), right.create_run(two));
    let (one, two) = (one.unwrap().into_inner(), two.unwrap().into_inner());
    assert!(!first.replayed && one.replayed && two.replayed);
    let id = first.run.unwrap().run_id;
    assert_eq!([one.run.unwrap().run_id, two.run.unwrap().run_id], [id.clone(), id]);
    let listed = daemon.runs().list_runs(ListRunsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().runs.len(), 1);
}

#[tokio::test]
async fn fields_of_the_wrong_shape_are_named_and_nothing_is_made() {
    let daemon = Daemon::start().await;
    let good = || daemon.request(&["a"]);
    let missing = Digest([9; 32]).to_string();
    let mut cases = Vec::new();
    let mut case = |field: &str, change: &dyn Fn(&mut CreateRunRequest)| {
        let mut request = good();
        change(&mut request);
        cases.push((field.to_owned(), request));
    };
    case("request_id", &|r| r.request_id = "7".into());
    case("name", &|r| r.name = "@last".into());
    case("name", &|r| r.name = "a\u{1b}[0m".into());
    case("note", &|r| r.note = "\0".into());
    case("source", &|r| r.source = None);
    case("source.snapshot", &|r| r.source.as_mut().unwrap().snapshot = "x".into());
    case("source.left_out", &|r| r.source.as_mut().unwrap().left_out = "x".into());
    case("source.target", &|r| r.source.as_mut().unwrap().target = None);
    case("labels[\"\"]", &|r| r.labels = HashMap::from([(String::new(), "x".into())]));
    case("environment[\"A=\"]", &|r| {
        r.environment = HashMap::from([("A=".into(), Bytes::new())]);
    });
    for (expected, request) in cases {
        let refused = daemon.runs().create_run(request).await.unwrap_err();
        assert_eq!(field(&refused), expected);
        assert_eq!(reason(&refused), "INVALID_FIELD");
    }
    let mut absent = good();
    absent.source.as_mut().unwrap().snapshot = missing;
    let refused = daemon.runs().create_run(absent).await.unwrap_err();
    assert_eq!(reason(&refused), "BLOB_NOT_FOUND");
    let listed = daemon.runs().list_runs(ListRunsRequest::default()).await.unwrap();
    assert!(listed.into_inner().runs.is_empty());
}

#[tokio::test]
async fn a_refused_pipeline_says_where_and_leaves_nothing() {
    let daemon = Daemon::start().await;
    let text = "version: 1\nname: churn\nsteps:\n  a: {run: 'true', neds: [b]}\n";
    let snapshot = daemon.snapshot(&[("churn.yaml", text)]);
    let target = Some(Target::PipelineFile("churn.yaml".into()));
    let source = Some(RunSource { target, snapshot, left_out: String::new() });
    let request = CreateRunRequest { source: source.clone(), ..daemon.request(&["a"]) };
    let refused = daemon.runs().create_run(request).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_PIPELINE");
    assert!(field(&refused).starts_with("churn.yaml:4:"), "{}", field(&refused));
    let check = CheckPipelineRequest { source: source.clone() };
    let errors = daemon.runs().check_pipeline(check).await.unwrap().into_inner().errors;
    assert_eq!((errors[0].path.as_str(), errors[0].line), ("churn.yaml", 4));
    let plan = daemon.runs().plan_run(PlanRunRequest { source, ..Default::default() }).await;
    assert_eq!(reason(&plan.unwrap_err()), "INVALID_PIPELINE");
    let home = daemon.dir.path().join("home");
    let files = std::fs::read_dir(home.join("run/env")).unwrap().count();
    assert_eq!(files, 0);
}

#[tokio::test]
async fn the_schema_is_json() {
    let daemon = Daemon::start().await;
    let answer = daemon.runs().get_pipeline_schema(GetPipelineSchemaRequest {}).await.unwrap();
    let schema: serde_json::Value = serde_json::from_str(&answer.into_inner().json_schema).unwrap();
    assert!(schema["properties"]["steps"].is_object());
}

#[tokio::test]
async fn the_callers_environment_lives_as_long_as_the_run_in_a_private_file() {
    let daemon = Daemon::start().await;
    let mut request = daemon.request(&["a"]);
    let secret = Bytes::from_static(b"hunter2\xff");
    request.environment = HashMap::from([("TOKEN".to_owned(), secret.clone())]);
    let run = daemon.runs().create_run(request).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.environment_digests["TOKEN"].len(), 32);
    let file = |daemon: &Daemon| {
        let env = daemon.dir.path().join("home/run/env");
        std::fs::read(env.join(&run.run_id)).ok()
    };
    assert!(file(&daemon).is_some());

    // A daemon that starts anew reads the file.
    let daemon = Daemon::start_in(daemon.stop().await).await;
    let session = daemon.session("w").await;
    let lease = daemon.lease(&session, 1).await.remove(0);
    assert_eq!(lease.task.as_ref().unwrap().caller_env["TOKEN"], secret);
    daemon.finish(&session, &lease).await;
    // It goes once the end is committed and told.
    let gone = async {
        while file(&daemon).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    let dir = daemon.stop().await;
    let database = std::fs::read(dir.path().join("home/windlass.db")).unwrap();
    assert!(!database.windows(7).any(|bytes| bytes == b"hunter2"));
}

#[tokio::test]
async fn a_rerun_has_the_old_snapshot_and_values() {
    let daemon = Daemon::start().await;
    let text = "version: 1\nname: churn\nparams: {n: 1, m: 2}\nsteps:\n  a: {run: 'true'}\n";
    let snapshot = daemon.snapshot(&[("churn.yaml", text)]);
    let target = Some(Target::PipelineFile("churn.yaml".into()));
    let source = Some(RunSource { target, snapshot, left_out: String::new() });
    let given = |name: &str, text: &str| NamedText { name: name.into(), text: text.into() };
    let params =
        |name, text| Some(ParamValues { cli: vec![given(name, text)], ..ParamValues::default() });
    let request = CreateRunRequest {
        source,
        params: params("n", "5"),
        name: "first".into(),
        ..daemon.request(&[])
    };
    let old = daemon.runs().create_run(request).await.unwrap().into_inner().run.unwrap();
    let rerun = RerunRunRequest {
        request_id: Uuid::new_v4().to_string(),
        run: "first".into(),
        params: params("m", "7"),
        ..RerunRunRequest::default()
    };
    let first = daemon.runs().rerun_run(rerun.clone()).await.unwrap().into_inner();
    let again = daemon.runs().rerun_run(rerun.clone()).await.unwrap().into_inner();
    let new = first.run.unwrap();
    assert_eq!((again.replayed, &again.run.unwrap().run_id), (true, &new.run_id));
    assert_eq!((new.kind.as_str(), &new.parent_run_id), ("rerun", &old.run_id));
    assert_eq!((&new.snapshot, &new.target), (&old.snapshot, &old.target));
    let values: Vec<_> = new.params.iter().map(|p| (p.name.as_str(), p.json.as_str())).collect();
    assert_eq!(values, [("n", "5"), ("m", "7")]);
    assert_ne!(new.name, "first");
    let mut bad = rerun;
    bad.request_id = Uuid::new_v4().to_string();
    bad.params = Some(ParamValues { env: vec![given("n", "1")], ..ParamValues::default() });
    assert_eq!(field(&daemon.runs().rerun_run(bad).await.unwrap_err()), "params.env");
}

#[tokio::test]
async fn cancel_and_delete_may_be_repeated() {
    let daemon = Daemon::start().await;
    let run = daemon.create(&["a", "b"]).await;
    let delete = || DeleteRunRequest { run: run.run_id.clone() };
    let refused = daemon.runs().delete_run(delete()).await.unwrap_err();
    assert_eq!(reason(&refused), "RUN_NOT_ENDED");
    for _ in 0..2 {
        let cancel =
            CancelRunRequest { run: "@last".into(), reason: "why not".into(), force: false };
        let cancelled = daemon.runs().cancel_run(cancel).await.unwrap().into_inner().run.unwrap();
        assert_eq!((cancelled.state(), cancelled.reason.as_str()), (State::Cancelled, "why not"));
    }
    for _ in 0..2 {
        daemon.runs().delete_run(delete()).await.unwrap();
    }
    assert_eq!(reason(&daemon.get(&run.run_id).await.unwrap_err()), "RUN_NOT_FOUND");
    let unknown = DeleteRunRequest { run: run.name };
    assert_eq!(reason(&daemon.runs().delete_run(unknown).await.unwrap_err()), "RUN_NOT_FOUND");
}

#[tokio::test]
async fn commands_are_runs_too() {
    let daemon = Daemon::start().await;
    let request = CreateRunRequest { source: daemon.source(command()), ..daemon.request(&[]) };
    let run = daemon.runs().create_run(request).await.unwrap().into_inner().run.unwrap();
    assert_eq!((run.target.as_str(), run.kind.as_str()), ("echo hi", "run"));
    assert!(run.name.contains('-'), "{}", run.name);
    assert_eq!(daemon.get("@last").await.unwrap().steps[0].step, "echo");
}
