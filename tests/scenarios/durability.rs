use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::Request;
use windlass_proto::api::v1::blob_service_client::BlobServiceClient;
use windlass_proto::api::v1::run_service_client::RunServiceClient;
use windlass_proto::api::v1::run_source::Target;
use windlass_proto::api::v1::{CreateRunRequest, RunSource, UploadBlobsRequest};
use windlass_proto::common::v1::{PipelineSpec, ShellAction, StepSpec, step_spec};
use windlass_tests::{SOON, World, alive, kill, step, until};

/// A small generator, so that a failure can be run again with the seed it printed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const RETRY: &str = "retry: {times: 3, backoff: 10ms, on: [lost]}";

fn steps() -> String {
    format!(
        "version: 1\nsteps:\n\
         \x20 a: {{run: 'echo a one; sleep 0.3; echo a two; echo a >> $RAN', {RETRY}}}\n\
         \x20 b: {{run: 'echo b > file; echo b >> $RAN', {RETRY}}}\n\
         \x20 c: {{run: 'cat file; for i in $(seq 200); do echo line $i; done; sleep 0.1; echo c >> $RAN', {RETRY}}}\n"
    )
}

/// True where the figures are wanted in full, as `just durability` does; that takes an hour.
#[expect(clippy::disallowed_methods, reason = "how thorough to be is the caller's choice")]
fn in_full() -> bool {
    std::env::var_os("WINDLASS_ALL_CRASH_POINTS").is_some()
}

/// A run that was acknowledged, and what its steps write to when they have run.
struct Acknowledged {
    run: String,
    ran: PathBuf,
}

/// Kills of daemon, worker and keeper at random moments under load: every acknowledged run is there
/// and ends well, each step ran once, and its logs have every byte once. Only where keepers are
/// killed may attempts be lost, and then they are tried again.
#[test]
fn random_kills_lose_nothing_and_double_nothing() {
    let mut world = World::new();
    world.put("p.yaml", steps());
    world.set("RAN", "/dev/null");
    world.run(&["p.yaml"]);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let safe = ["daemon", "worker"];
    let longer = if in_full() { 20 } else { 1 };
    let kept = kill_at_random(&mut world, &mut chance, &safe, Duration::from_secs(16) * longer);
    kept.iter().for_each(|run| ended_well(&world, run, false));
    let all = ["daemon", "worker", "keeper"];
    let bereft = kill_at_random(&mut world, &mut chance, &all, Duration::from_secs(8));
    bereft.iter().for_each(|run| ended_well(&world, run, true));
    let listed = world.w(["ls", "--limit", "100000", "--json"]).json();
    assert!(listed.as_array().unwrap().len() > kept.len() + bereft.len());
}

/// Most keepers killed in one test: each may cost an attempt, and a step is tried four times.
const MOST_KEEPERS: u32 = 3;

/// Submits runs and kills services for that long; the runs that were acknowledged.
fn kill_at_random(
    world: &mut World,
    chance: &mut Chance,
    services: &[&'static str],
    time: Duration,
) -> Vec<Acknowledged> {
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut kills: HashMap<_, u32> = services.iter().map(|what| (*what, 0)).collect();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let name = format!("ran-{}-{}", services.len(), acknowledged.len());
        let ran = world.top().join(name);
        world.set("RAN", ran.to_string_lossy());
        let answer = world.w(["submit", "p.yaml", "--json"]);
        if answer.code == 0 {
            let run = answer.json()["run_id"].as_str().unwrap().to_owned();
            acknowledged.push(Acknowledged { run, ran });
        }
        let what = services[usize::try_from(chance.below(services.len() as u64)).unwrap()];
        if what == "keeper" && kills[what] >= MOST_KEEPERS {
            continue;
        }
        for pid in world.services(what) {
            wait(Duration::from_millis(chance.below(400)));
            kill(pid);
            *kills.entry(what).or_default() += 1;
        }
    }
    assert!(kills.values().all(|kills| *kills > 0) && acknowledged.len() >= 5, "{kills:?}");
    acknowledged
}

/// Asserts that a run ended well; some keeper was killed meanwhile where it is `bereft`.
fn ended_well(world: &World, Acknowledged { run, ran }: &Acknowledged, bereft: bool) {
    let ended = world.w(["wait", run]);
    let shown = world.show(run);
    assert_eq!(ended.code, 0, "{shown:#}\n{}", ended.stderr);
    for name in ["a", "b", "c"] {
        let tries = step(&shown, name)["attempts"].as_array().unwrap();
        let (last, before) = tries.split_last().unwrap();
        assert_eq!(last["state"], "succeeded", "{name} of {shown:#}");
        assert!(before.iter().all(|t| t["state"] == "lost"), "{name} of {shown:#}");
        assert!(before.is_empty() || bereft, "{name} of {shown:#}");
    }
    let mut lines: Vec<_> =
        std::fs::read_to_string(ran).unwrap().lines().map(String::from).collect();
    if bereft {
        // It may have been lost after its last line.
        lines.dedup();
    }
    assert_eq!(lines, ["a", "b", "c"], "each step ran once: {shown:#}");
    let lines: String = (1..=200).map(|i| format!("line {i}\n")).collect();
    assert_eq!(world.w(["logs", &format!("{run}/c")]).exits(0).text(), format!("b\n{lines}"));
    assert_eq!(world.w(["logs", &format!("{run}/a")]).exits(0).text(), "a one\na two\n");
}

/// A worker is killed while its order to start a step waits for a keeper that does nothing: taken
/// late or never, the step runs once. Where the keeper is killed too nobody can know, so it is lost.
#[test]
fn an_order_that_no_keeper_took_is_not_a_loss() {
    for (keeper_dies, states) in [(false, &["succeeded"][..]), (true, &["lost", "succeeded"])] {
        let mut world = World::new();
        let ran = world.top().join("ran");
        world.set("RAN", ran.to_string_lossy());
        world.put(
            "p.yaml",
            format!("version: 1\nsteps:\n  a: {{run: 'echo a >> $RAN', {RETRY}}}\n"),
        );
        world.w(["run", "p.yaml"]).exits(0);
        let keepers = world.services("keeper");
        keepers.iter().for_each(|pid| signal(*pid, Signal::STOP));
        let run = world.submit(&["p.yaml"]);
        until(SOON, "the note that it is started", || {
            let attempts = std::fs::read_dir(world.home().join("work/attempts")).unwrap();
            attempts.flatten().any(|entry| noted(&entry.path())).then_some(())
        });
        world.services("worker").into_iter().for_each(kill);
        let then = if keeper_dies { Signal::KILL } else { Signal::CONT };
        keepers.iter().for_each(|pid| signal(*pid, then));
        world.w(["wait", &run]).exits(0);
        let shown = world.show(&run);
        let tries = step(&shown, "a")["attempts"].as_array().unwrap();
        assert_eq!(tries.iter().map(|t| &t["state"]).collect::<Vec<_>>(), states, "{shown:#}");
        assert_eq!(std::fs::read_to_string(&ran).unwrap(), "a\na\n", "once in each run");
    }
}

/// True where the note of what is started is there in full, and is not that of an attempt which had
/// the directory before.
fn noted(dir: &Path) -> bool {
    let name = dir.file_name().unwrap().to_str().unwrap();
    let id = u128::from_str_radix(name, 16).unwrap().to_be_bytes();
    std::fs::read(dir.join("lease"))
        .is_ok_and(|note| note.ends_with(b"}") && note.windows(id.len()).any(|bytes| *bytes == id))
}

/// A home that is removed under its services and made anew: the old ones leave, and let the new ones
/// be.
#[test]
fn a_home_made_anew_is_not_fought_over() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'echo one; sleep 2; echo two'}\n");
    let old_run = world.submit(&["p.yaml"]);
    until(SOON, "the first line", || {
        (world.w(["logs", &format!("{old_run}/a")]).text() == "one\n").then_some(())
    });
    let services = || ["daemon", "worker", "keeper"].map(|what| world.services(what)).concat();
    let old = services();
    // What is mounted cannot be removed, so the home is moved out of the way.
    std::fs::rename(world.home(), world.top().join("gone")).unwrap();

    let run = world.run(&["p.yaml"]);
    until(Duration::from_secs(10), "the end of the old services", || {
        let now = services();
        old.iter().all(|pid| !now.contains(pid)).then_some(())
    });
    let new = services();
    assert_eq!(run["state"], "succeeded");
    assert_eq!(world.run(&["p.yaml"])["state"], "succeeded");
    assert_eq!(services(), new, "the new services stayed");
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a random moment is the point")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// The keeper dies: its attempts are lost, their trees are dead, and `retry` speaks.
#[test]
fn keeper_killed_means_lost_and_retried() {
    let world = World::new();
    let mark = format!("kept-{}-{}", std::process::id(), world.top().display()).replace('/', "_");
    world.put(
        "p.yaml",
        format!(
            "version: 1\nsteps:\n  a: {{run: 'echo up; (setsid sh -c \"sleep 300; : {mark}\" &) ; \
             test $WINDLASS_ATTEMPT = 2 || sleep 300', retry: {{times: 2, backoff: 10ms, on: [lost]}}}}\n"
        ),
    );
    let run = world.submit(&["p.yaml"]);
    until(SOON, "the start", || (!alive(&mark).is_empty()).then_some(()));
    let old = alive(&mark);
    world.services("keeper").into_iter().for_each(kill);
    let start = Instant::now();
    world.w(["wait", &run]).exits(0);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let shown = world.show(&run);
    let tries = step(&shown, "a")["attempts"].as_array().unwrap();
    let states: Vec<_> = tries.iter().map(|t| &t["state"]).collect();
    assert_eq!(states, ["lost", "succeeded"], "{shown:#}");
    until(Duration::from_secs(5), "the end of the old tree", || {
        old.iter().all(|pid| !alive(&mark).contains(pid)).then_some(())
    });
}

/// Without leave to retry, a lost attempt fails the step, saying why.
#[test]
fn lost_without_retry_fails() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'echo up; sleep 300'}\n");
    let run = world.submit(&["p.yaml"]);
    until(SOON, "the first line", || {
        (world.w(["logs", &format!("{run}/a")]).text() == "up\n").then_some(())
    });
    world.services("keeper").into_iter().for_each(kill);
    world.w(["wait", &run]).exits(1);
    let shown = world.show(&run);
    assert_eq!(step(&shown, "a")["attempts"][0]["state"], "lost", "{shown:#}");
}

/// A graceful stop leaves steps running; the next daemon takes them back.
#[test]
fn stop_and_start_in_mid_step() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a: {run: 'echo one; sleep 1.5; echo two'}\n  b: {run: echo three}\n",
    );
    let run = world.submit(&["p.yaml"]);
    until(SOON, "the first line", || {
        (world.w(["logs", &format!("{run}/a")]).text() == "one\n").then_some(())
    });
    world.w(["daemon", "stop"]).exits(0);
    until(SOON, "the end of worker and daemon", || {
        (world.services("worker").is_empty() && world.services("daemon").is_empty()).then_some(())
    });
    world.w(["wait", &run]).exits(0);
    let shown = world.show(&run);
    assert_eq!(step(&shown, "a")["attempts"].as_array().unwrap().len(), 1, "{shown:#}");
    assert_eq!(world.w(["logs", &format!("{run}/a")]).text(), "one\ntwo\n");
}

/// The same request twice, also at once and across a restart, is one run.
#[tokio::test]
async fn repeated_requests_have_one_effect() {
    let world = World::new();
    let step = StepSpec {
        name: "a".into(),
        action: Some(step_spec::Action::Run(ShellAction { script: "true".into() })),
        ..StepSpec::default()
    };
    let spec = PipelineSpec { name: "twice".into(), steps: vec![step], ..PipelineSpec::default() };
    let channel = world.channel().await;
    let empty = UploadBlobsRequest {
        digest: blake3::hash(b"").to_hex().to_string(),
        ..UploadBlobsRequest::default()
    };
    let snapshot = empty.digest.clone();
    BlobServiceClient::new(channel.clone())
        .upload_blobs(tokio_stream::iter([empty]))
        .await
        .unwrap();
    let request = CreateRunRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        source: Some(RunSource {
            target: Some(Target::Spec(spec)),
            snapshot,
            ..RunSource::default()
        }),
        ..CreateRunRequest::default()
    };
    let mut client = RunServiceClient::new(channel);
    let mut other = client.clone();
    let (one, two) = tokio::join!(
        client.create_run(request.clone()),
        other.create_run(Request::new(request.clone()))
    );
    let (one, two) = (one.unwrap().into_inner(), two.unwrap().into_inner());
    assert_eq!(one.run.as_ref().unwrap().run_id, two.run.unwrap().run_id);
    assert!(one.replayed != two.replayed);

    kill(world.daemon_pid());
    let mut client = RunServiceClient::new(world.channel().await);
    let three = client.create_run(request).await.unwrap().into_inner();
    assert!(three.replayed);
    assert_eq!(three.run.unwrap().run_id, one.run.unwrap().run_id);
    assert_eq!(world.w(["ls", "--json"]).json().as_array().unwrap().len(), 1);
}

/// The daemon is killed at each of its first writes and syncs in turn, while it takes and runs one
/// run after the other; whatever a client was told is there afterwards, ran once, and the database
/// is whole.
#[test]
fn every_crash_point_of_the_daemon() {
    let all = in_full();
    let (writes, syncs, stride) = if all { (900, 100, 1) } else { (120, 24, 8) };
    let next = Mutex::new(Vec::new());
    let points = (1..=writes).map(|n| ("pwrite64", n)).chain((1..=syncs).map(|n| ("fdatasync", n)));
    next.lock().unwrap().extend(points.step_by(stride));
    let count = next.lock().unwrap().len();
    let (crashed, told) = std::thread::scope(|scope| {
        let lane = || {
            let (mut crashed, mut told) = (0, 0);
            let mut world = crash_world();
            for worked in 1.. {
                let Some((call, point)) = next.lock().unwrap().pop() else { break };
                if worked % POINTS_PER_HOME == 0 {
                    world = crash_world();
                }
                let (died, acknowledged) = crash_at(&world, call, point);
                crashed += usize::from(died);
                told += acknowledged;
            }
            (crashed, told)
        };
        let lanes: Vec<_> = (0..CRASH_LANES).map(|_| scope.spawn(lane)).collect();
        let sums = lanes.into_iter().map(|lane| lane.join().unwrap());
        sums.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    assert!(crashed * 10 >= count * 9, "only {crashed} of {count} points were reached");
    assert!(told >= crashed, "{told} submissions acknowledged over {crashed} crashes");
}

/// Homes in which crashes happen at the same time.
const CRASH_LANES: usize = 3;

/// Crashes that one home goes through.
const POINTS_PER_HOME: usize = 40;

/// Most runs submitted to reach a crash point.
const MOST_RUNS: usize = 60;

fn crash_world() -> World {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'echo x > f'}\n  b: {run: cat f}\n");
    world.run(&["p.yaml"]);
    world
}

/// Whether the daemon died at that point, and how many submissions had been acknowledged.
fn crash_at(world: &World, call: &str, point: u32) -> (bool, usize) {
    world.w(["daemon", "stop"]).exits(0);
    let windlass = world.command(["daemon"]);
    let inject = format!("inject={call}:signal=SIGKILL:when={point}");
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    strace.args(["-e", &format!("trace={call}"), "-e", &inject]);
    strace.arg(windlass.get_program()).arg("daemon").env("WINDLASS_HOME", world.home());
    strace.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut strace = strace.current_dir(world.project()).spawn().unwrap();
    let traced = until(SOON, "the daemon under strace", || {
        let status = world.w(["daemon", "status", "--json"]);
        let up = (status.code == 0).then(|| Some(status.json()["pid"].as_i64().unwrap()));
        up.or_else(|| strace.try_wait().unwrap().map(|_| None))
    });
    let lives =
        || traced.is_some_and(|pid| world.services("daemon").iter().any(|d| i64::from(*d) == pid));
    let mut acknowledged = Vec::new();
    for _ in 0..MOST_RUNS {
        let submitted = world.w(["submit", "p.yaml", "--json"]);
        if submitted.code == 0 {
            acknowledged.push(submitted.json()["run_id"].as_str().unwrap().to_owned());
        }
        if !lives() {
            break;
        }
    }
    let died = !lives();
    for run in &acknowledged {
        world.w(["wait", run]).exits(0);
        let shown = world.show(run);
        for name in ["a", "b"] {
            let tries = step(&shown, name)["attempts"].as_array().unwrap().len();
            assert_eq!(tries, 1, "{call} {point}: {shown:#}");
        }
        assert_eq!(world.w(["logs", &format!("{run}/b")]).text(), "x\n", "{call} {point}");
    }
    world.w(["daemon", "stop"]);
    strace.kill().ok();
    strace.wait().unwrap();
    assert_eq!(integrity(world), "ok", "{call} {point}");
    (died, acknowledged.len())
}

fn integrity(world: &World) -> Value {
    let script = "import sqlite3, sys, json; c = sqlite3.connect(sys.argv[1]); \
                  print(json.dumps(c.execute('PRAGMA integrity_check').fetchone()[0]))";
    let database = world.home().join("windlass.db");
    let done = std::process::Command::new("python3").args(["-c", script]).arg(database).output();
    serde_json::from_slice(&done.unwrap().stdout).unwrap()
}
