use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use windlass_tests::{SOON, World, kill, step, until};

/// Well below the time after which a worker that says nothing is given up.
const CUT: Duration = Duration::from_secs(3);

/// How the line between the services is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Whole,
    /// Nothing comes through, and nobody is told.
    Silent,
    /// Connections break, and new ones break at once.
    Cut,
}

/// Stands where the daemon's socket was and passes everything on to it.
struct Relay {
    line: Mutex<Line>,
    changed: Condvar,
    open: Mutex<Vec<UnixStream>>,
    passed: Mutex<u64>,
}

impl Relay {
    /// Takes the place of the daemon's socket. Threads end with their connections.
    fn before(world: &World) -> Arc<Self> {
        let socket = world.home().join("run/daemon.sock");
        let real = world.home().join("run/behind.sock");
        std::fs::rename(&socket, &real).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let relay = Arc::new(Self {
            line: Mutex::new(Line::Whole),
            changed: Condvar::new(),
            open: Mutex::default(),
            passed: Mutex::default(),
        });
        let accepting = Arc::clone(&relay);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if *accepting.line.lock().unwrap() == Line::Cut {
                    continue;
                }
                let Ok(far) = UnixStream::connect(&real) else { break };
                let ends = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                accepting.open.lock().unwrap().extend(ends);
                let (back, forth) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                for (from, to) in [(near, far), (forth, back)] {
                    let relay = Arc::clone(&accepting);
                    thread::spawn(move || relay.pass_on(from, to));
                }
            }
        });
        relay
    }

    fn pass_on(&self, mut from: UnixStream, mut to: UnixStream) {
        let mut block = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut block) {
            let line = self.line.lock().unwrap();
            let line = self.changed.wait_while(line, |line| *line == Line::Silent).unwrap();
            drop(line);
            *self.passed.lock().unwrap() += 1;
            if to.write_all(&block[..read]).is_err() {
                break;
            }
        }
        // Either end may have gone before us.
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }

    fn set(&self, line: Line) {
        *self.line.lock().unwrap() = line;
        self.changed.notify_all();
        if line == Line::Cut {
            for stream in self.open.lock().unwrap().drain(..) {
                stream.shutdown(Shutdown::Both).ok();
            }
        }
    }

    fn passed(&self) -> u64 {
        *self.passed.lock().unwrap()
    }
}

/// A line that breaks, or falls silent, for less than a worker may be silent: the same attempt goes
/// on, its step ran once, and its log has every byte once.
#[test]
fn a_short_cut_costs_nothing() {
    for line in [Line::Cut, Line::Silent] {
        let mut world = World::new();
        let ran = world.top().join("ran");
        world.set("RAN", ran.to_string_lossy());
        let script = "for i in $(seq 60); do echo line $i; sleep 0.1; done; echo a >> $RAN";
        world.put("p.yaml", format!("version: 1\nsteps:\n  a: {{run: '{script}'}}\n"));
        world.daemon_pid();
        let old = until(SOON, "the worker", || world.services("worker").first().copied());
        let relay = Relay::before(&world);
        // The next worker has nothing but the relay.
        kill(old);
        let run = world.submit(&["p.yaml"]);
        let path = format!("{run}/a");
        until(SOON, "the first line", || {
            world.w(["logs", &path]).text().contains("line 1\n").then_some(())
        });
        relay.set(line);
        let (begin, before) = (Instant::now(), relay.passed());
        until(CUT * 2, "the end of the cut", || (begin.elapsed() >= CUT).then_some(()));
        assert!(relay.passed() <= before + 2, "the line was cut");
        relay.set(Line::Whole);

        world.w(["wait", &run]).exits(0);
        let shown = world.show(&run);
        assert_eq!(step(&shown, "a")["attempts"].as_array().unwrap().len(), 1, "{shown:#}");
        assert_eq!(std::fs::read_to_string(&ran).unwrap(), "a\n");
        let lines: String = (1..=60).map(|i| format!("line {i}\n")).collect();
        assert_eq!(world.w(["logs", &path]).exits(0).text(), lines);
    }
}
