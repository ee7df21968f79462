use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

/// Keys that may wait for the view.
const WAITING: usize = 64;

/// How long the reader waits for a key before it looks whether anybody still wants one.
const LOOK: Duration = Duration::from_millis(250);

/// What happens at the terminal, read by a thread of its own.
pub(super) struct Keyboard(mpsc::Receiver<Event>);

impl Keyboard {
    pub(super) fn open() -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        // Ends by itself soon after this is dropped, or when the terminal goes away.
        drop(tokio::task::spawn_blocking(move || read(&sender)));
        Self(events)
    }

    /// The next event; `None` where the terminal is gone. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

fn read(sender: &mpsc::Sender<Event>) {
    while !sender.is_closed() {
        match event::poll(LOOK) {
            Ok(false) => {}
            Ok(true) => {
                let Ok(event) = event::read() else { return };
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
