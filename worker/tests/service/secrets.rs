use prost::bytes::Bytes;
use windlass_proto::{
    common::v1::{AttemptState, LogStream},
    worker::v1::{Task, TaskArg, task_arg::Value},
};

use crate::worker::{Stage, outputs, until};

const SECRET: &str = "s3cr3t-value-0123456789";

fn with_secret(mut task: Task) -> Task {
    task.secrets = [("API_KEY".to_owned(), Bytes::from(SECRET))].into();
    task.masks = vec![Bytes::from(SECRET)];
    task.secret_args = vec!["token".into()];
    task.args =
        vec![TaskArg { name: "token".into(), value: Some(Value::Json(format!("\"{SECRET}\""))) }];
    task
}

/// Files below the home in which the secret stands.
fn leaks(stage: &Stage) -> Vec<std::path::PathBuf> {
    let mut waiting = vec![stage.home.root().to_path_buf()];
    let mut found = Vec::new();
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path);
            } else if std::fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()))
            {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn secrets_reach_the_step_and_nothing_else() {
    let stage = Stage::new();
    let mut task = with_secret(stage.sh(
        "test \"$API_KEY\" = \"$WINDLASS_PARAM_token\"; cat $WINDLASS_PARAMS\n\
         printf %s \"$API_KEY\" | head -c 6; sleep 0.2\n\
         printf '%s\\n' \"$API_KEY\" | tail -c +7; printf %s \"$API_KEY\" | base64 >&2\n\
         echo \"key=$API_KEY\" >> $WINDLASS_OUT; echo \"[\\\"$API_KEY\\\"]\" > $WINDLASS_OUTPUTS/j.json\n\
         echo \"{\\\"name\\\":\\\"m-$API_KEY\\\",\\\"value\\\":1}\" >> $WINDLASS_METRICS",
    ));
    task.outputs = outputs(&["key", "j"]);
    stage.daemon.submit(task);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded, "{end:#?}");
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"{}\n***\n");
    assert_eq!(stage.daemon.log(&end, LogStream::Stderr), b"***\n");
    let values: Vec<_> = end.outputs.iter().map(|output| stage.read(&output.digest)).collect();
    assert_eq!(values, ["[\"***\"]\n", "\"***\""]);
    assert_eq!(end.metrics[0].name, "m-***");
    assert!(!format!("{end:?}").contains(SECRET));
    until("nothing is left of it", || leaks(&stage).is_empty());
}

#[tokio::test]
async fn secrets_are_not_on_disk_while_the_step_runs_nor_in_how_it_failed() {
    let stage = Stage::new();
    let code = "def check(token):\n    raise ValueError('bad ' + token)\n\n\
                def go(token):\n    check(token)\n";
    stage.daemon.submit(with_secret(stage.python("f:go", &[("f.py", code)])));
    let failed = stage.daemon.end(0).await;
    let mut waits = with_secret(stage.sh("echo ready; sleep 1000"));
    waits.timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    stage.daemon.submit(waits);

    stage.daemon.running().await;
    assert_eq!(leaks(&stage), Vec::<std::path::PathBuf>::new());
    let ended = stage.daemon.end(1).await;

    assert_eq!(ended.state(), AttemptState::TimedOut);
    let message = failed.end.as_ref().unwrap().message.clone();
    assert!(message.contains("ValueError: bad ***"), "{message}");
    assert_eq!(failed.calls[0].args_json, "{\"token\":\"***\"}");
    assert!(!format!("{failed:?}").contains(SECRET));
    let stderr = String::from_utf8(stage.daemon.log(&failed, LogStream::Stderr)).unwrap();
    assert!(stderr.contains("ValueError: bad ***"), "{stderr}");
}
