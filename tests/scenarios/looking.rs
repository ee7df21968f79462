use std::process::Command;

use windlass_tests::{SOON, World, until};

/// A terminal of 80 columns and 24 lines in which `windlass ARGS` runs; gone when dropped.
struct Screen<'w> {
    world: &'w World,
}

impl<'w> Screen<'w> {
    fn open(world: &'w World, args: &[&str]) -> Self {
        let screen = Self { world };
        let inner = world.command(args);
        let mut tmux = screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80"]);
        tmux.args(["-y", "24", "env", "-i"]);
        for (name, value) in inner.get_envs() {
            let Some(value) = value else { continue };
            let mut pair = name.to_owned();
            pair.push("=");
            pair.push(value);
            tmux.arg(pair);
        }
        tmux.args([
            "TERM=screen",
            "LC_ALL=C.UTF-8",
            "sh",
            "-c",
            "\"$0\" \"$@\"; echo left $?; cat",
        ]);
        tmux.arg(inner.get_program()).args(inner.get_args());
        tmux.current_dir(world.project()).env("LC_ALL", "C.UTF-8");
        assert!(tmux.status().unwrap().success());
        screen
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-u").arg("-S").arg(self.world.top().join("tmux")).args(args);
        tmux
    }

    fn shown(&self) -> String {
        let out = self.tmux(&["capture-pane", "-p"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Waits until the screen holds `text`, and returns it.
    fn shows(&self, text: &str) -> String {
        let found = |shown: String| shown.contains(text).then_some(shown);
        until(SOON, &format!("`{text}` on the screen"), || found(self.shown()))
    }

    fn press(&self, keys: &[&str]) {
        assert!(self.tmux(&["send-keys"]).args(keys).status().unwrap().success());
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]).status().ok();
    }
}

/// The live view shows what goes on, cancels after a question, and gives the terminal back.
#[test]
fn the_live_view_fits_an_old_terminal() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  one: {run: 'echo first'}\n  two: {run: 'echo second; sleep 99'}\n  \
         three: {run: 'true'}\n",
    );
    let run = world.submit(&["p.yaml"]);
    let screen = Screen::open(&world, &["watch"]);
    let shown = screen.shows("second");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 24, "{shown}");
    for text in ["▶ two", "✓ one", "○ three", "Runs", "↑↓ choose", "q quit"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    screen.press(&["Tab", "Up"]);
    screen.shows("first");
    screen.press(&["c"]);
    screen.shows("y: yes");
    screen.press(&["y"]);
    screen.shows("⊘ cancelled");
    world.w(["wait", &run]).exits(3);
    screen.press(&["q"]);
    let after = screen.shows("left 0");
    assert!(!after.contains("Runs"), "the screen is as it was: {after}");
}

/// What `init` writes is a pipeline as it stands, whatever the functions take.
#[test]
fn a_starter_passes_its_own_check() {
    let world = World::new();
    world.put(
        "src/churn.py",
        "def load(path: str, sep=','):\n    \"\"\"Load: the 'rows' # here\"\"\"\n    return [1, 2]\n\n\
         async def train(df, *rest, n: int = 100, **more): return {'model': 1}\n\n\
         def judge(model, goal: float, when=print): return {'accuracy': 1.0}\n",
    );
    world.w(["init", "src/churn.py"]).exits(0);
    world.w(["check", "pipeline.yaml"]).exits(0);
    let run = world.run(&["pipeline.yaml", "-p", "path=x", "-p", "goal=1"]);
    assert_eq!((&run["state"], &run["metrics"]["accuracy"]), (&"succeeded".into(), &1.0.into()));
    world.w(["init", "src/churn.py"]).refused(&["pipeline.yaml is there already", "--force"]);
    world.w(["init", "src/churn.py:trian", "--force"]).refused(&["did you mean `train`?"]);
    world.w(["init", "churnn", "--force"]).refused(&["churnn"]);
}
