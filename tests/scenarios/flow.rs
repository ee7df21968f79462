//! Flow goes on as if nothing had happened, whenever the daemon dies.

use std::time::Duration;

use serde_json::Value;
use windlass_tests::{SOON, World, kill, step, until};

/// Kills the daemon; the next command starts another.
fn kill_daemon(world: &World) {
    let pid = world.daemon_pid();
    kill(pid);
    until(SOON, "the daemon's end", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

fn words(run: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = run["steps"].as_array().unwrap();
    steps.iter().map(|step| (text(&step["step"]), text(&step["state"]))).collect()
}

fn ended(world: &World, run: &str) -> Value {
    world.w(["wait", run]);
    world.show(run)
}

/// Each instance, iteration and inner step writes a line, so that what ran twice is seen.
fn lines(world: &World, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(world.top().join(name)).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_fan_out_of_pipelines_survives_kills_between_its_instances() {
    let mut world = World::new();
    world.set("RAN", world.top().join("ran").to_string_lossy());
    world
        .put(
            "inner.yaml",
            "version: 1\nparams: {x: 0}\nsteps:\n\
             \x20 a: {run: 'sleep 0.05; echo \"y=$((WINDLASS_PARAM_x * 2))\" >> $WINDLASS_OUT'}\n\
             \x20 b: {run: 'echo b$WINDLASS_PARAM_x >> $RAN'}\n",
        )
        .put(
            "p.yaml",
            "version: 1\nsteps:\n\
             \x20 list: {run: 'echo \"xs=[$(seq -s, 12)]\" >> $WINDLASS_OUT'}\n\
             \x20 all: {pipeline: inner.yaml, foreach: '${{ outputs.xs }}', as: x, max_parallel: 3, \
             out: {ys: '${{ steps.a.outputs.y }}'}}\n\
             \x20 end: {run: 'cat $WINDLASS_INPUTS/ys.json'}\n",
        );
    let run = world.submit(&["p.yaml"]);
    for _ in 0..5 {
        let before = lines(&world, "ran").len();
        kill_daemon(&world);
        until(SOON, "another instance", || {
            world.w(["ls", "--limit", "1"]);
            (lines(&world, "ran").len() > before || lines(&world, "ran").len() == 12).then_some(())
        });
    }
    let seen = ended(&world, &run);
    assert_eq!(seen["state"], "succeeded", "{seen}");
    let told = world.w(["logs", &format!("{run}/end")]).exits(0).text();
    assert_eq!(told, "[2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]");
    assert_eq!(lines(&world, "ran").len(), 12, "each ran once");
    assert_eq!(words(&seen).len(), 3 + 12 * 3);
    assert_eq!(step(&seen, "all[11]/a")["outputs"]["y"]["codec"], "json");
}

#[test]
fn an_expansion_that_is_cut_short_is_whole_or_not_there() {
    let world = World::new();
    let items: Vec<String> = (0..2000).map(|i| i.to_string()).collect();
    world.put(
        "p.yaml",
        format!(
            "version: 1\nsteps:\n  a: {{run: 'true', foreach: [{}], as: x}}\n  b: {{run: 'true'}}\n",
            items.join(", ")
        ),
    );
    let run = world.submit(&["p.yaml"]);
    for _ in 0..6 {
        kill_daemon(&world);
        let seen = world.show(&run);
        let made = words(&seen).iter().filter(|(name, _)| name.starts_with("a[")).count();
        assert!(made == 0 || made == 2000, "{made} instances");
    }
    world.w(["cancel", "--now", &run]).exits(0);
    let seen = ended(&world, &run);
    assert_eq!(seen["state"], "cancelled");
}

#[test]
fn a_loop_survives_kills_between_its_iterations() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  climb:\n    run: |\n      \
         n=$(cat \"$WINDLASS_INPUTS\"/n* 2>/dev/null || echo 0)\n      sleep 0.05\n      \
         echo \"n=$((n + 1))\" >> \"$WINDLASS_OUT\"\n    \
         loop: {until: '${{ outputs.n >= 8 }}', max: 20}\n",
    );
    let run = world.submit(&["p.yaml"]);
    for made in [2, 4, 6] {
        until(SOON, "the next iteration", || (words(&world.show(&run)).len() > made).then_some(()));
        kill_daemon(&world);
    }
    let seen = ended(&world, &run);
    assert_eq!(seen["state"], "succeeded", "{seen}");
    assert_eq!(words(&seen).len(), 1 + 8);
    let n = world.w(["outputs", "get", &format!("{run}/climb"), "n"]).exits(0).json();
    assert_eq!(n, 8);
}

#[test]
fn a_backoff_survives_the_daemon() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a:\n    run: 'test $WINDLASS_ATTEMPT = 2'\n    \
         retry: {times: 3, backoff: 2s}\n",
    );
    let run = world.submit(&["p.yaml"]);
    until(SOON, "the wait", || {
        (step(&world.show(&run), "a")["state"] == "backing_off").then_some(())
    });
    kill_daemon(&world);
    let seen = ended(&world, &run);
    assert_eq!(seen["state"], "succeeded", "{seen}");
    let attempts = step(&seen, "a")["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
}

#[test]
fn a_run_that_waits_for_another_survives_the_daemon() {
    let mut world = World::new();
    world.set("GATE", world.top().join("gate").to_string_lossy());
    world.put(
        "p.yaml",
        "version: 1\nconcurrency: {key: one, limit: 1}\nsteps:\n  \
         a: {run: 'while [ ! -e $GATE ]; do sleep 0.05; done'}\n",
    );
    let first = world.submit(&["p.yaml"]);
    let second = world.submit(&["p.yaml"]);
    until(SOON, "the first", || (world.show(&first)["state"] == "running").then_some(()));
    kill_daemon(&world);
    assert_eq!(world.show(&second)["state"], "queued");
    let page = world.w(["show", &second]).exits(0).text();
    assert!(page.contains("concurrency"), "{page}");
    std::fs::write(world.top().join("gate"), "").unwrap();
    assert_eq!(ended(&world, &second)["state"], "succeeded");
    let end = |run: &Value| run["end_time"].as_str().unwrap().to_owned();
    let begin = |run: &Value| run["start_time"].as_str().unwrap().to_owned();
    assert!(end(&world.show(&first)) <= begin(&world.show(&second)));
}

/// What a step may take of memory is enforced and told.
#[test]
fn a_step_over_its_limit_of_memory_is_ended_as_oom() {
    let world = World::new();
    world.put("f.py", "def eat():\n    data = bytearray(300 << 20)\n    return len(data)\n").put(
        "p.yaml",
        "version: 1\nsteps:\n  eat: {python: 'f:eat', resources: {memory: 100MiB}}\n",
    );
    let seen = world.w(["run", "p.yaml", "--json"]).exits(1).json();
    let attempt = &step(&seen, "eat")["attempts"][0];
    assert_eq!(attempt["state"], "oom", "{seen}");
    let told = world.w(["explain", "@last"]).text();
    assert!(told.contains("100 MiB"), "{told}");
}

/// A value that is no JSON comes out of a fan-out as a list of such values.
#[test]
fn objects_of_instances_are_a_list_downstream() {
    let world = World::new();
    world
        .put(
            "f.py",
            "class Box:\n    def __init__(self, n): self.n = n\n\
             def box(x): return Box(x)\n\
             def total(boxes): return sum(b.n for b in boxes)\n\
             def largest(boxes): return max(boxes, key=lambda b: b.n)\n\
             def show(best): return best.n\n",
        )
        .put(
            "p.yaml",
            "version: 1\nsteps:\n\
             \x20 box: {python: 'f:box', foreach: [3, 9, 4], as: x, out: boxes}\n\
             \x20 total: {python: 'f:total', out: sum}\n\
             \x20 again: {python: 'f:box', foreach: [3, 9, 4], as: x, out: best, reduce: 'f:largest'}\n\
             \x20 show: {python: 'f:show', out: n}\n",
        );
    let seen = world.run(&["p.yaml"]);
    assert_eq!(step(&seen, "box")["outputs"]["boxes"]["codec"], "list");
    assert_eq!(world.w(["outputs", "get", "@last/total", "sum"]).exits(0).json(), 16);
    assert_eq!(world.w(["outputs", "get", "@last/show", "n"]).exits(0).json(), 9);
    assert_eq!(step(&seen, "again")["attempts"].as_array().unwrap().len(), 1, "the reducer's");
}

/// Time limits of the whole run.
#[test]
fn a_run_that_takes_too_long_is_stopped_and_has_failed() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\ntimeout: 500ms\nsteps:\n  a: {run: sleep 60}\n  b: {run: 'true'}\n",
    );
    let begin = std::time::Instant::now();
    let seen = world.w(["run", "p.yaml", "--json"]).exits(1).json();
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert_eq!(seen["state"], "failed");
    assert!(seen["reason"].as_str().unwrap().contains("took longer"), "{}", seen["reason"]);
}
