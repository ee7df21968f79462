use std::time::{Duration, Instant};

use windlass_proto::common::v1::{AttemptState, LogStream};

use crate::worker::{Stage, processes, until};

/// Processes of the stage's steps: their environment names a place in the home.
fn alive(stage: &Stage) -> usize {
    let marker = format!("WINDLASS_OUTPUTS={}", stage.home.work().display());
    processes(&marker).len()
}

#[tokio::test]
async fn nothing_that_a_step_started_outlives_it() {
    let stage = Stage::new();
    let strays = [
        "setsid sleep 1000 &",
        "(setsid sleep 1000 &) &",
        "nohup sleep 1000 >/dev/null 2>&1 &",
        "setsid nohup sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 &",
        "env -i setsid sleep 1000 >/dev/null 2>&1 &",
        "python3 -c 'import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n\
         os.execvp(\"sleep\", [\"sleep\", \"1000\"])'",
    ];
    for (n, stray) in (0..).zip(strays) {
        stage.daemon.submit(stage.sh(stray));
        let end = stage.daemon.end(n).await;
        assert_eq!(end.state(), AttemptState::Succeeded, "{stray}: {end:#?}");
        assert_eq!(alive(&stage), 0, "{stray}");
    }
}

#[tokio::test]
async fn strays_of_one_step_are_not_those_of_another() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("setsid sleep 1000 & setsid sleep 1000 & sleep 1000"));
    stage.daemon.running().await;
    until("the long step has its strays", || alive(&stage) >= 4);
    let before = alive(&stage);

    stage.daemon.submit(stage.sh("setsid sleep 1000 & true"));
    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded);
    assert_eq!(alive(&stage), before);
}

#[tokio::test]
async fn output_held_open_by_a_grandchild_does_not_hold_the_attempt() {
    let stage = Stage::new();
    let began = Instant::now();
    stage.daemon.submit(stage.sh("echo hi; setsid sleep 1000 & exit 0"));

    let end = stage.daemon.end(0).await;

    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"hi\n");
}

#[tokio::test]
async fn usage_is_that_of_the_whole_tree() {
    let stage = Stage::new();
    let code = "import subprocess, sys\n\
                p = subprocess.Popen([sys.executable, '-c', 'import time; b = bytearray(150 << 20); \
                t = time.process_time()\\nwhile time.process_time() - t < 0.5: pass'])\n\
                p.wait()\n";
    stage.daemon.submit(stage.command(&["python3", "-c", code]));

    let end = stage.daemon.end(0).await;

    let usage = end.end.unwrap().usage.unwrap();
    assert!(usage.peak_memory_bytes > 150 << 20, "{usage:?}");
    assert!(usage.peak_memory_bytes < 400 << 20, "{usage:?}");
    let cpu: Duration = usage.cpu_time.unwrap().try_into().unwrap();
    assert!((Duration::from_millis(450)..Duration::from_secs(3)).contains(&cpu), "{cpu:?}");
}

#[tokio::test]
async fn step_is_not_part_of_the_terminal_and_reads_nothing() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("cat; ps -o sid= -p $$ | tr -d ' '"));

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded, "{end:#?}");
    let session: u32 = String::from_utf8(stage.daemon.log(&end, LogStream::Stdout))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_ne!(session, stage.worker_pid());
}
