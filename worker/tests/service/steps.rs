use std::time::{Duration, Instant};

use windlass_proto::{
    common::v1::{AttemptState, CommandAction, EndReason, LogStream, Output, artifact::Kind},
    worker::v1::{TaskArg, directive, task::Action, task_arg::Value},
};

use crate::worker::{Stage, outputs, until};

#[tokio::test]
async fn shell_step_gives_logs_outputs_artifacts_and_metrics() {
    let stage = Stage::new();
    let mut task = stage.sh("echo out; echo err >&2; cat readme > copy; rm readme\n\
         echo n=5 >> $WINDLASS_OUT; echo '[1]' > $WINDLASS_OUTPUTS/list.json\n\
         echo \"$WINDLASS_PARAM_who\" > $WINDLASS_OUTPUTS/text.txt\n\
         cat $WINDLASS_INPUTS/up.json $WINDLASS_PARAMS\n\
         echo '{\"name\":\"acc\",\"value\":0.5}' >> $WINDLASS_METRICS");
    let up = stage.store.put_bytes(b"{\"a\": 1}").unwrap();
    let up =
        Output { name: "up".into(), digest: up.to_string(), size_bytes: 8, codec: "json".into() };
    task.inputs = vec![up.clone()];
    task.args = vec![
        TaskArg { name: "who".into(), value: Some(Value::Json("\"me\"".into())) },
        TaskArg { name: "up".into(), value: Some(Value::Output(up)) },
    ];
    task.outputs = outputs(&["n", "list"]);
    stage.daemon.submit(task);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded, "{end:#?}");
    let stdout = String::from_utf8(stage.daemon.log(&end, LogStream::Stdout)).unwrap();
    assert_eq!(stdout, "out\n{\"a\": 1}{\"who\": \"me\", \"up\": {\"a\": 1}}\n");
    assert_eq!(stage.daemon.log(&end, LogStream::Stderr), b"err\n");
    assert_eq!((usize::try_from(end.stdout_size).unwrap(), end.stderr_size), (stdout.len(), 4));
    let values: Vec<_> = end
        .outputs
        .iter()
        .map(|o| (o.name.as_str(), o.codec.as_str(), stage.read(&o.digest)))
        .collect();
    let wanted = [
        ("list", "json", "[1]\n".to_owned()),
        ("n", "json", "5".to_owned()),
        ("text", "txt", "me\n".to_owned()),
    ];
    assert_eq!(values, wanted);
    let files: Vec<_> = end.artifacts.iter().map(|a| (a.path.as_str(), a.kind())).collect();
    assert_eq!(files, [("copy", Kind::File), ("readme", Kind::Deleted)]);
    assert!(!end.changes.is_empty());
    assert_eq!((end.metrics[0].name.as_str(), end.metrics[0].value), ("acc", 0.5));
    assert_eq!(end.end.as_ref().unwrap().exit_code, Some(0));
    assert_eq!(end.executor, "process");
    until("the attempt's directory is removed", || stage.attempts().is_empty());
}

#[tokio::test]
async fn a_later_step_sees_the_changes_of_the_one_before() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("echo one > made; rm readme"));
    let first = stage.daemon.end(0).await;
    let mut task = stage.sh("cat made; test ! -e readme");
    task.layers = vec![first.changes];
    stage.daemon.submit(task);

    let second = stage.daemon.end(1).await;

    assert_eq!(second.state(), AttemptState::Succeeded, "{second:#?}");
    assert_eq!(stage.daemon.log(&second, LogStream::Stdout), b"one\n");
    assert_eq!(second.changes, "");
}

#[tokio::test]
async fn python_function_is_called_and_its_value_kept() {
    let stage = Stage::new();
    let code = "def helper(k):\n    return k + 1\n\n\
                def train(n):\n    print('hi')\n    return {'acc': helper(n) / 10}\n";
    let mut task = stage.python("model:train", &[("model.py", code)]);
    task.args = vec![TaskArg { name: "n".into(), value: Some(Value::Json("4".into())) }];
    stage.daemon.submit(task);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded, "{end:#?}");
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"hi\n");
    let output = &end.outputs[0];
    assert_eq!((output.name.as_str(), output.codec.as_str()), ("result", "json"));
    assert_eq!(stage.read(&output.digest).trim(), "{\"acc\": 0.5}");
    assert_eq!((end.metrics[0].name.as_str(), end.metrics[0].value), ("acc", 0.5));
    assert_eq!(end.calls[0].function, "helper");
    assert!(!end.environment_digest.is_empty());
}

#[tokio::test]
async fn failures_say_why() {
    let stage = Stage::new();
    let left_out = stage.store.put_bytes(b"data/d.csv\0").unwrap().to_string();
    let mut missing = stage.sh("cat data/d.csv");
    missing.left_out = left_out;
    let mut undeclared = stage.sh("true");
    undeclared.outputs = outputs(&["model"]);
    let script = |path: &str| {
        let argv = vec![path.to_owned()];
        stage.task(Action::Script(CommandAction { argv }), &[("notes.txt", "x")])
    };
    let table = [
        (stage.sh("exit 3"), EndReason::ExitCode, "ended with exit code 3"),
        (stage.sh("kill -SEGV $$"), EndReason::Signal, "killed by signal 11 (SEGV)"),
        (stage.command(&["no-such-program"]), EndReason::StartError, "`no-such-program`: command"),
        (script("notes.txt"), EndReason::StartError, "chmod +x notes.txt"),
        (script("none.sh"), EndReason::StartError, "no such file in the project"),
        (missing, EndReason::ExitCode, "`files: [data/d.csv]`"),
        (undeclared, EndReason::OutputError, "gave no output `model`"),
        (
            stage.sh("echo 'a b=1' >> $WINDLASS_OUT"),
            EndReason::OutputError,
            "line 1 of $WINDLASS_OUT",
        ),
        (stage.sh("echo '{' > $WINDLASS_OUTPUTS/x.json"), EndReason::OutputError, "is no JSON"),
    ];
    for (n, (task, reason, part)) in table.into_iter().enumerate() {
        stage.daemon.submit(task);
        let end = stage.daemon.end(n).await;
        assert_eq!(end.state(), AttemptState::Failed, "{part}");
        let end = end.end.unwrap();
        assert_eq!(end.reason(), reason, "{part}: {}", end.message);
        assert!(end.message.contains(part), "{}", end.message);
    }
}

#[tokio::test]
async fn cancel_is_polite_then_kills_the_tree() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("trap 'echo bye; exit 0' TERM; sleep 1000 & wait"));
    let lease = stage.daemon.running().await;
    let began = Instant::now();
    stage.daemon.direct(&lease, directive::Action::Stop);

    let end = stage.daemon.end(0).await;

    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(end.state(), AttemptState::Cancelled);
    assert_eq!(end.end.as_ref().unwrap().reason(), EndReason::Cancelled);
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"bye\n");
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_the_grace() {
    let stage = Stage::new();
    let mut task = stage.sh("trap '' TERM; while :; do sleep 0.01 || true; done");
    task.stop_grace = Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 });
    stage.daemon.submit(task);
    let lease = stage.daemon.running().await;
    stage.daemon.direct(&lease, directive::Action::Stop);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Cancelled);
    assert_eq!(end.end.unwrap().signal, Some(9));
}

#[tokio::test]
async fn time_is_up() {
    let stage = Stage::new();
    let mut task = stage.sh("sleep 1000 & sleep 1000");
    task.timeout = Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 });
    stage.daemon.submit(task);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::TimedOut);
    assert_eq!(end.end.unwrap().reason(), EndReason::Timeout);
}

#[tokio::test]
async fn metrics_are_reported_while_it_runs() {
    let stage = Stage::new();
    stage.daemon.submit(
        stage.sh(
            "echo '{\"name\":\"loss\",\"value\":1,\"step\":7}' >> $WINDLASS_METRICS; sleep 1000",
        ),
    );

    let point = stage.daemon.wait(|state| state.points.first().cloned()).await;

    assert_eq!((point.name.as_str(), point.step, point.sequence), ("loss", Some(7), 1));
}
