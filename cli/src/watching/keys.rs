use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::desk::{Desk, Mode, Pane};

/// Steps of a scroll by a page.
const PAGE: isize = 10;

/// What a key asks of the outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    /// Cancel the run of this id.
    Cancel(String),
}

/// The keys, for the bottom line.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("↑↓", "choose"),
    ("tab", "next pane"),
    ("f", "follow"),
    ("c", "cancel"),
    ("/", "filter"),
    ("q", "quit"),
];

impl Desk {
    /// Takes in a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.touch();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Some(Wish::Quit);
        }
        match self.mode {
            Mode::Looking => self.looking(key.code),
            Mode::Filtering => {
                self.filtering(key.code);
                None
            }
            Mode::Asking => {
                self.mode = Mode::Looking;
                let yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
                self.chosen().filter(|_| yes).map(|run| Wish::Cancel(run.to_owned()))
            }
        }
    }

    fn looking(&mut self, code: KeyCode) -> Option<Wish> {
        self.note("");
        match code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Esc if self.filter.is_empty() => {}
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right => self.pane = self.pane.next(),
            KeyCode::BackTab | KeyCode::Left => self.pane = self.pane.previous(),
            KeyCode::Up | KeyCode::Char('k') => self.step_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step_by(1),
            KeyCode::PageUp => self.step_by(-PAGE),
            KeyCode::PageDown => self.step_by(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step_by(isize::MAX),
            KeyCode::Enter if self.pane == Pane::Runs => self.pane = Pane::Steps,
            KeyCode::Char('f') => self.toggle_following(),
            KeyCode::Char('/') => {
                self.mode = Mode::Filtering;
                self.pane = Pane::Runs;
            }
            KeyCode::Char('c') => match self.open_run() {
                Some(_) => self.mode = Mode::Asking,
                None => self.note("the run has ended"),
            },
            _ => {}
        }
        None
    }

    fn filtering(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Looking;
            }
            KeyCode::Enter | KeyCode::Tab => self.mode = Mode::Looking,
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
        self.choose_visible();
    }
}
