use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use windlass_proto::{
    api::v1::{self, WatchRunResponse, run::State, step::State as StepState},
    common::v1::LogStream,
};

use super::{
    desk::{Desk, LogOf},
    keys::Wish,
    view,
};
use crate::{
    follow::Item,
    tests::{run, step},
};

/// Two runs, the first of which goes on.
fn desk() -> Desk {
    let mut desk = Desk::new(false, None);
    let mut going = run("calm-fox", State::Running, vec![]);
    going.end_time = None;
    desk.listed(vec![going.clone(), run("red-hen", State::Succeeded, vec![])]);
    let mut train = step("train", (1_000, 4_000), 0);
    train.state = StepState::Running.into();
    train.attempts[0].end = None;
    let mut wait = step("publish", (0, 0), 0);
    wait.attempts.clear();
    wait.state = StepState::Pending.into();
    wait.reason = "waits for train".into();
    let steps = vec![step("load", (0, 1_000), 0), train, wait];
    desk.changed(WatchRunResponse { sequence: 1, run: Some(going), steps });
    desk
}

fn print(desk: &mut Desk, text: &'static str) {
    desk.printed(Item::Chunk { stream: LogStream::Stdout, data: text.into(), time: None });
}

fn press(desk: &mut Desk, code: KeyCode) -> Option<Wish> {
    desk.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn picture(desk: &Desk, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = "2026-11-23T11:00:08.000Z".parse().unwrap();
    terminal.draw(|frame| view::draw(frame, desk, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

#[test]
fn runs_steps_and_log_fit_an_old_terminal() {
    let mut desk = desk();
    print(&mut desk, "epoch 1\n\x1b[31mepoch\x1b[0m 2\nhalf");
    let expected = "\
┌▸Runs ──────────────────┐┌ calm-fox ▶ running 8.0 s ──────────────────────────┐
│▶ calm-fox         8.0 s││✓ load           1.0 s  ███▍                        │
│✓ red-hen          4.0 s││▶ train          7.0 s     ███████████████████████▋ │
│                        ││○ publish               waits for train             │
│                        │└────────────────────────────────────────────────────┘
│                        │┌ train ─────────────────────────────────────────────┐
│                        ││epoch 1                                             │
│                        ││epoch 2                                             │
│                        ││half                                                │
└────────────────────────┘└────────────────────────────────────────────────────┘
 ↑↓ choose  tab next pane  f follow  c cancel  / filter  q quit
";
    let shown = picture(&desk, (80, 24));
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 24);
    let short: Vec<_> = lines[..9].iter().chain(&lines[22..]).copied().collect();
    let expected: Vec<_> = expected.lines().collect();
    assert_eq!(short, expected, "{shown}");
    for size in [(20, 5), (1, 1), (300, 100)] {
        picture(&desk, size);
    }
}

#[test]
fn keys_choose_runs_and_steps_and_the_log_follows() {
    let mut desk = desk();
    let run = desk.chosen().unwrap().to_owned();
    assert!(run.ends_with("calm-fox"));
    let log = |step: &str| Some(LogOf { run: run.clone(), step: step.into(), attempt: 1 });
    assert_eq!(desk.wanted_log(), log("train"), "what runs is shown first");
    press(&mut desk, KeyCode::Tab);
    press(&mut desk, KeyCode::Up);
    assert_eq!(desk.wanted_log(), log("load"));
    press(&mut desk, KeyCode::End);
    assert_eq!(desk.wanted_log(), None, "what has not begun has no log");
    press(&mut desk, KeyCode::BackTab);
    press(&mut desk, KeyCode::Down);
    assert!(desk.chosen().unwrap().ends_with("red-hen"));
    press(&mut desk, KeyCode::Char('/'));
    "RUNNI".chars().for_each(|c| drop(press(&mut desk, KeyCode::Char(c))));
    assert_eq!(desk.chosen(), Some(run.as_str()));
    assert!(picture(&desk, (80, 24)).contains(" /RUNNI▏"));
    press(&mut desk, KeyCode::Esc);
    assert_eq!(desk.visible().len(), 2);
}

#[test]
fn a_log_that_is_read_stays_where_it_is() {
    let mut desk = desk();
    "abcdefghijklmnopqrstuvwxyz".chars().for_each(|c| {
        let line = format!("line {c}\n").into_bytes();
        desk.printed(Item::Chunk { stream: LogStream::Stdout, data: line.into(), time: None });
    });
    press(&mut desk, KeyCode::BackTab);
    press(&mut desk, KeyCode::PageUp);
    let before = picture(&desk, (80, 24));
    assert!(before.contains("line p") && !before.contains("line z"), "{before}");
    print(&mut desk, "more\n");
    let log = |picture: &str| picture.lines().skip(7).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(log(&picture(&desk, (80, 24))), log(&before));
    press(&mut desk, KeyCode::Char('f'));
    assert!(picture(&desk, (80, 24)).contains("more"));
}

#[test]
fn cancelling_is_asked_about_and_only_of_what_goes_on() {
    let mut desk = desk();
    press(&mut desk, KeyCode::Char('c'));
    assert!(picture(&desk, (80, 24)).contains("cancel calm-fox? y: yes"));
    assert_eq!(press(&mut desk, KeyCode::Char('n')), None);
    press(&mut desk, KeyCode::Char('c'));
    let run = desk.chosen().unwrap().to_owned();
    assert_eq!(press(&mut desk, KeyCode::Char('y')), Some(Wish::Cancel(run)));
    press(&mut desk, KeyCode::Down);
    press(&mut desk, KeyCode::Char('c'));
    assert!(picture(&desk, (80, 24)).contains("the run has ended"));
    assert_eq!(press(&mut desk, KeyCode::Char('q')), Some(Wish::Quit));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(desk.key(interrupt), Some(Wish::Quit));
}

#[test]
fn a_run_that_is_named_is_there_though_it_is_old() {
    let old = run("old-owl", State::Succeeded, vec![]);
    let mut desk = Desk::new(false, Some(old.clone()));
    desk.listed(vec![run("new", State::Queued, vec![])]);
    assert_eq!(desk.chosen(), Some(old.run_id.as_str()));
    assert_eq!(desk.visible().last().map(|run: &&v1::Run| run.name.as_str()), Some("old-owl"));
}
