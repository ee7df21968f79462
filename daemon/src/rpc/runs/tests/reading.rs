use tonic::Streaming;
use windlass_proto::api::v1::{WatchRunRequest, WatchRunResponse, run::State, step};

use super::*;

#[tokio::test]
async fn pages_are_walked_by_tokens_that_nobody_can_forge() {
    let daemon = Daemon::start().await;
    for _ in 0..5 {
        daemon.create(&["a"]).await;
    }
    let page = |token: &str, pipeline: &str| ListRunsRequest {
        page_size: 2,
        page_token: token.to_owned(),
        pipeline: pipeline.to_owned(),
        ..ListRunsRequest::default()
    };
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let listed = daemon.runs().list_runs(page(&token, "churn")).await.unwrap().into_inner();
        found.extend(listed.runs.into_iter().map(|run| run.run_id));
        token = listed.next_page_token;
        if token.is_empty() {
            break;
        }
        let other = daemon.runs().list_runs(page(&token, "")).await.unwrap_err();
        assert_eq!(reason(&other), "PAGE_TOKEN_INVALID");
    }
    assert_eq!(found.len(), 5);
    assert!(found.is_sorted_by(|a, b| a > b));
    let forged = daemon.runs().list_runs(page("abc", "churn")).await.unwrap_err();
    assert_eq!(reason(&forged), "PAGE_TOKEN_INVALID");
    let large = ListRunsRequest { page_size: 1_001, ..ListRunsRequest::default() };
    assert_eq!(field(&daemon.runs().list_runs(large).await.unwrap_err()), "page_size");
    let strange = ListRunsRequest { states: vec![99], ..ListRunsRequest::default() };
    assert_eq!(field(&daemon.runs().list_runs(strange).await.unwrap_err()), "states[0]");
}

#[tokio::test]
async fn an_ambiguous_prefix_lists_some_of_the_runs() {
    let daemon = Daemon::start().await;
    let one = daemon.create(&["a"]).await;
    daemon.create(&["a"]).await;
    let refused = daemon.get(&one.run_id[..6]).await.unwrap_err();
    assert_eq!(reason(&refused), "RUN_AMBIGUOUS");
    assert!(refused.message().contains(&one.run_id));
    assert_eq!(daemon.get(&one.name).await.unwrap().run_id, one.run_id);
    assert_eq!(reason(&daemon.get("nothing").await.unwrap_err()), "RUN_NOT_FOUND");
    assert_eq!(field(&daemon.get("").await.unwrap_err()), "run");
}

async fn next(stream: &mut Streaming<WatchRunResponse>) -> Option<WatchRunResponse> {
    tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap()
}

async fn watch(daemon: &Daemon, run: &str, after: u64) -> Streaming<WatchRunResponse> {
    let request = WatchRunRequest { run: run.to_owned(), after_sequence: after };
    daemon.runs().watch_run(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_watcher_sees_the_state_then_every_change_then_the_end() {
    let daemon = Daemon::start().await;
    let run = daemon.create(&["a", "b"]).await.run_id;
    let mut stream = watch(&daemon, &run, 0).await;
    let first = next(&mut stream).await.unwrap();
    assert_eq!(first.steps.len(), 2);
    assert_eq!(next(&mut stream).await.unwrap().run.unwrap().state(), State::Queued);
    let session = daemon.session("w").await;
    let mut leases = daemon.lease(&session, 1).await;
    while let Some(lease) = leases.pop() {
        leases = daemon.finish(&session, &lease).await;
    }
    let (mut states, mut last) = (std::collections::BTreeMap::new(), None);
    let mut sequence = 0;
    while let Some(message) = next(&mut stream).await {
        sequence = message.sequence.max(sequence);
        states.extend(message.steps.into_iter().map(|step| (step.step, step.state)));
        last = message.run.or(last);
    }
    let good = i32::from(step::State::Succeeded);
    assert_eq!(states.into_values().collect::<Vec<_>>(), [good, good]);
    assert_eq!(last.unwrap().state(), State::Succeeded);
    let seen = daemon.get(&run).await.unwrap();
    assert_eq!(seen.sequence, sequence);

    // Who resumes at the end gets the end alone; who begins anew gets everything.
    let mut resumed = watch(&daemon, &run, sequence).await;
    let only = next(&mut resumed).await.unwrap();
    assert!(only.steps.is_empty() && only.run.unwrap().state() == State::Succeeded);
    assert!(next(&mut resumed).await.is_none());
    let mut again = watch(&daemon, &run, 0).await;
    assert_eq!(next(&mut again).await.unwrap().steps.len(), 2);
}

#[tokio::test]
async fn a_large_run_is_watched_in_pages() {
    let daemon = Daemon::start().await;
    let names: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = daemon.create(&names).await.run_id;
    let mut stream = watch(&daemon, &run, 0).await;
    let mut steps = 0;
    while let Some(message) = next(&mut stream).await {
        steps += message.steps.len();
        assert!(message.steps.len() <= 200);
        if message.run.is_some() {
            break;
        }
        assert_eq!(message.sequence, 0, "not all of the state yet");
    }
    assert_eq!(steps, 1_000);
    assert_eq!(daemon.get(&run).await.unwrap().steps[999].needs, ["s998"]);
}
