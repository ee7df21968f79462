//! Large pipelines take no time. The figures are for release builds: run these with `--release`.
use std::time::{Duration, Instant};

use super::{Files, cli, file, plan};

fn best(files: &Files) -> Duration {
    let once = || {
        let start = Instant::now();
        assert_eq!(plan(&file("p.yaml"), &cli(&[]), files).steps.len(), 10_000);
        start.elapsed()
    };
    (0..7).map(|_| once()).min().unwrap_or_default()
}

fn ten_thousand(step: impl Fn(usize) -> String) -> Files {
    let steps: String = (0..10_000).map(step).collect();
    let code = "def go(x=None, y=None): ...\n";
    Files::of(&[("p.yaml", &format!("version: 1\nsteps:\n{steps}")), ("f.py", code)])
}

#[test]
#[ignore = "a measurement, for release builds"]
fn ten_thousand_steps_in_a_tenth_of_a_second() {
    let shell = ten_thousand(|i| format!("  s{i}: {{run: 'true'}}\n"));
    let python = ten_thousand(|i| {
        format!(
            "  s{i}: {{python: 'f:go', out: x, needs: [{}]}}\n",
            if i == 0 { String::new() } else { format!("s{}", i - 1) }
        )
    });
    let fan = ten_thousand(|i| {
        format!(
            "  s{i}: {{python: 'f:go', out: y{i}, needs: [{}]}}\n",
            if i == 0 { "" } else { "s0" }
        )
    });
    let took = [best(&shell), best(&python), best(&fan)];
    assert!(took[0] < Duration::from_millis(100), "{took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_millis(300)), "{took:?}");
    println!("{took:?}");
}

#[test]
fn ten_thousand_mistakes_are_refused_at_once() {
    let wrong = ten_thousand(|i| format!("  s{i}: {{run: 'true', needs: [t{i}]}}\n"));
    let start = Instant::now();
    assert_eq!(super::refused(&file("p.yaml"), &cli(&[]), &wrong).len(), 20);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
