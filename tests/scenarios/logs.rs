use std::io::Read;
use std::time::{Duration, Instant};

use windlass_tests::{SOON, World, until};

/// A reader that stops reading slows nobody and holds little memory.
#[test]
fn a_stuck_follower_slows_nothing() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a: {run: 'echo up; head -c 60000000 /dev/zero | tr \\\\0 x'}\n",
    );
    let run = world.submit(&["p.yaml"]);
    let mut follower = world.start(["logs", &format!("{run}/a"), "-f"]);
    let mut first = [0; 3];
    follower.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"up\n");
    let start = Instant::now();
    world.w(["wait", &run]).exits(0);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let mut rest = Vec::new();
    follower.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 60_000_000, "the follower gets every byte once it reads");
    assert!(follower.wait().unwrap().success());
}

/// A follower goes on across a killed daemon, with no byte lost or doubled.
#[test]
fn following_survives_the_daemon() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a: {run: 'for i in $(seq 40); do echo line $i; sleep 0.05; done'}\n",
    );
    let run = world.submit(&["p.yaml"]);
    let mut follower = world.start(["logs", &format!("{run}/a"), "-f"]);
    until(SOON, "the first line", || {
        world.w(["logs", &format!("{run}/a")]).text().contains("line 1\n").then_some(())
    });
    windlass_tests::kill(world.daemon_pid());
    let mut all = String::new();
    follower.stdout.as_mut().unwrap().read_to_string(&mut all).unwrap();
    let expected: String = (1..=40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(all, expected);
    assert!(follower.wait().unwrap().success());
}
