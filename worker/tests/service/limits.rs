use windlass_proto::{
    common::v1::{AttemptState, EndReason, LogStream, Output, ResourceSpec},
    worker::v1::{TaskArg, task_arg::Value},
};

use crate::worker::Stage;

#[tokio::test]
async fn more_memory_than_allowed_is_oom_with_limit_and_peak() {
    let stage = Stage::new();
    let code = "import subprocess, sys\n\
                def go():\n    \
                    child = 'x = bytearray(150 << 20); import time; time.sleep(1000)'\n    \
                    subprocess.run([sys.executable, '-c', child])\n";
    let mut task = stage.python("f:go", &[("f.py", code)]);
    task.resources =
        Some(ResourceSpec { memory_bytes: 100 << 20, cpu_millis: 1500, ..Default::default() });
    stage.daemon.submit(task);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Oom, "{end:#?}");
    let end = end.end.unwrap();
    assert_eq!(end.reason(), EndReason::Oom);
    assert!(end.message.contains("limit 100 MiB, peak 1"), "{}", end.message);
    assert!(end.usage.unwrap().peak_memory_bytes > 100 << 20);
}

#[tokio::test]
async fn within_its_limit_a_step_ends_well_and_knows_its_threads() {
    let stage = Stage::new();
    let mut task = stage.sh("echo $OMP_NUM_THREADS $MKL_NUM_THREADS");
    task.env = [("MKL_NUM_THREADS".to_owned(), "9".to_owned())].into();
    task.resources =
        Some(ResourceSpec { memory_bytes: 100 << 20, cpu_millis: 1500, ..Default::default() });
    stage.daemon.submit(task);

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded, "{end:#?}");
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"2 9\n");
}

#[tokio::test]
async fn a_list_of_values_is_a_directory_and_a_python_list() {
    let stage = Stage::new();
    let one = stage.store.put_bytes(b"[1]").unwrap();
    let two = stage.store.put_bytes(b"\x80\x05K\x07.").unwrap();
    let items = format!(
        "[{{\"digest\": \"{one}\", \"size_bytes\": 3, \"codec\": \"json\"}}, \
          {{\"digest\": \"{two}\", \"size_bytes\": 5, \"codec\": \"pickle\"}}]"
    );
    let list = stage.store.put_bytes(items.as_bytes()).unwrap().to_string();
    let list = Output { name: "parts".into(), digest: list, size_bytes: 0, codec: "list".into() };
    let mut shell = stage.sh("cd $WINDLASS_INPUTS/parts; ls; cat 0.json");
    shell.inputs = vec![list.clone()];
    let code = "def go(parts):\n    return parts\n";
    let mut python = stage.python("f:go", &[("f.py", code)]);
    python.inputs = vec![list.clone()];
    python.args = vec![TaskArg { name: "parts".into(), value: Some(Value::Output(list)) }];
    stage.daemon.submit(shell);
    let shell = stage.daemon.end(0).await;
    stage.daemon.submit(python);

    let python = stage.daemon.end(1).await;

    assert_eq!(stage.daemon.log(&shell, LogStream::Stdout), b"0.json\n1.pickle\n[1]");
    assert_eq!(python.state(), AttemptState::Succeeded, "{python:#?}");
    assert_eq!(stage.read(&python.outputs[0].digest), "[[1], 7]");
}

#[tokio::test]
async fn every_attempt_begins_with_a_fresh_directory() {
    let stage = Stage::new();
    for n in 0..2 {
        stage.daemon.submit(stage.sh("ls; echo here > made; exit 1"));
        let end = stage.daemon.end(n).await;
        assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"readme\n");
    }
}
