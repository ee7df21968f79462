use std::time::{Duration, Instant};

use windlass_tests::{SOON, World, alive, step, until};

fn mark(what: &str) -> String {
    format!("{what}-{}-{:?}", std::process::id(), Instant::now()).replace([' ', '{', '}', ':'], "")
}

/// setsid, double fork and nohup children all end with their step, and none holds it open.
#[test]
fn nothing_a_step_starts_outlives_it() {
    let world = World::new();
    let mark = mark("stray");
    let one = format!(
        "setsid sh -c 'sleep 300; : {mark}' & nohup sh -c 'sleep 300; : {mark}' > /dev/null & \
         ( ( setsid sh -c 'sleep 300; : {mark}' ) & ) ; \
         env -i setsid sh -c 'sleep 300; : {mark}' & "
    );
    let steps: String =
        (0..25).map(|i| format!("  s{i}: {{run: \"{one}\", needs: []}}\n")).collect();
    world.put("p.yaml", format!("version: 1\nsteps:\n{steps}"));
    let start = Instant::now();
    assert_eq!(world.run(&["p.yaml"])["state"], "succeeded");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    until(Duration::from_secs(5), "the end of every stray", || {
        alive(&mark).is_empty().then_some(())
    });
}

/// Of 500 strays of every kind none is alive five seconds after the end of their steps.
#[test]
fn of_500_strays_none_is_left() {
    let world = World::new();
    // A length of sleep that nobody else has is their mark.
    let nanos = Instant::now().elapsed().subsec_nanos();
    let mark = format!("3{:07}.{nanos:09}", std::process::id());
    let one = format!(
        "setsid sleep {mark} & nohup sleep {mark} > /dev/null 2>&1 & ( ( setsid sleep {mark} ) & ) ; \
         env -i setsid sleep {mark} & sleep {mark} & "
    );
    let script = format!("for i in $(seq 25); do {one} done; true");
    let steps: String =
        (0..4).map(|i| format!("  s{i}: {{run: \"{script}\", needs: []}}\n")).collect();
    world.put("p.yaml", format!("version: 1\nsteps:\n{steps}"));
    assert_eq!(world.run(&["p.yaml"])["state"], "succeeded");
    until(Duration::from_secs(5), "the end of every stray", || {
        alive(&mark).is_empty().then_some(())
    });
}

/// A grandchild that keeps stdout open does not keep the attempt open.
#[test]
fn held_stdout_does_not_hold_the_step() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'sleep 60 & echo done'}\n");
    let start = Instant::now();
    world.run(&["p.yaml"]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(world.w(["logs", "@last/a"]).exits(0).text(), "done\n");
}

/// TERM first, so that a step may tidy up; KILL after the grace period for one that will not.
#[test]
fn cancel_asks_then_kills() {
    let world = World::new();
    let polite = "trap 'echo tidied; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    world.put("polite.yaml", format!("version: 1\nsteps:\n  a: {{run: \"{polite}\"}}\n"));
    world.put("deaf.yaml", format!("version: 1\nsteps:\n  a: {{run: \"{deaf}\"}}\n"));
    for (file, now, limit, log) in [
        ("polite.yaml", false, 2, "up\ntidied\n"),
        ("deaf.yaml", false, 9, "up\n"),
        ("deaf.yaml", true, 2, "up\n"),
    ] {
        let run = world.submit(&[file]);
        let path = format!("{run}/a");
        until(SOON, "the first line", || (world.w(["logs", &path]).text() == "up\n").then_some(()));
        let start = Instant::now();
        let args: &[&str] = if now { &["cancel", "--now", &run] } else { &["cancel", &run] };
        world.w(args).exits(0);
        world.w(["wait", &run]).exits(3);
        assert!(start.elapsed() < Duration::from_secs(limit), "{file}: {:?}", start.elapsed());
        assert_eq!(world.w(["logs", &path]).text(), log);
        let shown = world.show(&run);
        assert_eq!(step(&shown, "a")["attempts"][0]["state"], "cancelled", "{shown}");
        world.w(["cancel", &run]).exits(0);
        assert_eq!(world.show(&run)["state"], "cancelled", "terminal states never change");
    }
}

/// A step that ends when it is asked to is over within a second of the cancel.
#[test]
fn a_cancel_takes_a_second_at_most() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'echo up; sleep 300'}\n");
    let one = || {
        let run = world.submit(&["p.yaml"]);
        let path = format!("{run}/a");
        until(SOON, "the first line", || (world.w(["logs", &path]).text() == "up\n").then_some(()));
        let start = Instant::now();
        world.w(["cancel", &run]).exits(0);
        world.w(["wait", &run]).exits(3);
        start.elapsed()
    };
    let mut times: Vec<_> = (0..20).map(|_| one()).collect();
    times.sort();
    let p99 = times[(times.len() * 99).div_ceil(100) - 1];
    assert!(p99 <= Duration::from_secs(1), "{times:?}");
}

/// A child killed by a signal, memory and processor time of the whole tree.
#[test]
fn the_end_is_told_as_it_was() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\norder: graph\nsteps:\n\
         \x20 killed: {run: 'kill -SEGV $$'}\n\
         \x20 code: {run: 'exit 42'}\n\
         \x20 heavy: {run: 'head -c 100000000 /dev/zero | tail -c 100000000 | wc -c; (while :; do :; done) & sleep 0.7'}\n\
         \x20 absent: {run: [no-such-program-anywhere]}\n",
    );
    let run = world.w(["run", "p.yaml", "--json"]).exits(1).json();
    let attempt = |name| &step(&run, name)["attempts"][0];
    assert!([11.into(), "SIGSEGV".into()].contains(&attempt("killed")["signal"]), "{run}");
    assert_eq!(attempt("code")["exit_code"], 42);
    assert!(attempt("heavy")["peak_memory_bytes"].as_u64().unwrap() > 100_000_000, "{run}");
    assert!(attempt("heavy")["cpu_seconds"].as_f64().unwrap() > 0.3, "{run}");
    assert!(run.to_string().contains("no-such-program-anywhere"));
    assert_eq!(step(&run, "absent")["state"], "failed");
}

/// Retries are new attempts, each with its own directory and log; a time limit ends the tree.
#[test]
fn retries_and_time_limits() {
    let world = World::new();
    let mark = mark("late");
    world.put(
        "p.yaml",
        format!(
            "version: 1\norder: graph\nsteps:\n\
             \x20 again: {{run: 'echo try $WINDLASS_ATTEMPT; test ! -e left; : > left; test $WINDLASS_ATTEMPT = 3', \
             retry: {{times: 5, backoff: 20ms}}}}\n\
             \x20 late: {{run: 'setsid sh -c \"sleep 99; : {mark}\" & sleep 99', timeout: 300ms}}\n"
        ),
    );
    let run = world.w(["run", "p.yaml", "--json"]).exits(1).json();
    let tries = step(&run, "again")["attempts"].as_array().unwrap();
    let codes: Vec<_> = tries.iter().map(|t| t["exit_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [1, 1, 0]);
    assert_eq!(world.w(["logs", "@last/again", "--attempt", "2"]).text(), "try 2\n");
    assert_eq!(world.w(["logs", "@last/again"]).text(), "try 3\n");
    assert_eq!(step(&run, "late")["attempts"][0]["state"], "timed_out");
    until(Duration::from_secs(5), "the end of the tree", || alive(&mark).is_empty().then_some(()));
}
