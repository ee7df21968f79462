use std::io::{self, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use crate::error::{CliError, Exit};

/// What Ctrl-C asks.
pub(super) const QUESTION: &str =
    "[d]etach and let it go on, or [c]ancel it? (Ctrl-C cancels, any other key goes back)";

/// What the user wants of a run that is being followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Put the question.
    Ask,
    /// Take the question back.
    Stay,
    /// Leave; the run goes on.
    Leave(Exit),
    Cancel {
        force: bool,
    },
}

/// Listens to signals, and to the answer to the question.
pub(super) struct Attention {
    interrupt: Signal,
    terminate: Signal,
    interactive: bool,
    cancelled: bool,
    question: Option<Question>,
}

struct Question {
    key: JoinHandle<Option<u8>>,
    _keys: SingleKeys,
}

impl Attention {
    pub(super) fn listen(interactive: bool) -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::io("cannot listen to signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            interactive,
            cancelled: false,
            question: None,
        })
    }

    /// The next wish. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Wish {
        let key = async {
            match &mut self.question {
                Some(question) => (&mut question.key).await.ok().flatten(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => self.interrupted(),
            _ = self.terminate.recv() => Wish::Leave(Exit::Terminated),
            key = key => self.answered(key),
        }
    }

    fn interrupted(&mut self) -> Wish {
        let asked = self.question.take().is_some();
        if !self.interactive || asked || self.cancelled {
            return self.cancel();
        }
        match SingleKeys::switch_on() {
            Ok(keys) => {
                let key = tokio::task::spawn_blocking(read_key);
                self.question = Some(Question { key, _keys: keys });
                Wish::Ask
            }
            Err(_) => self.cancel(),
        }
    }

    fn answered(&mut self, key: Option<u8>) -> Wish {
        self.question = None;
        match key {
            Some(b'd' | b'D') => Wish::Leave(Exit::Ok),
            Some(b'c' | b'C') => self.cancel(),
            _ => Wish::Stay,
        }
    }

    fn cancel(&mut self) -> Wish {
        let force = self.cancelled;
        self.cancelled = true;
        Wish::Cancel { force }
    }
}

fn read_key() -> Option<u8> {
    let mut key = [0];
    io::stdin().read(&mut key).ok().filter(|count| *count == 1).map(|_| key[0])
}

/// Lets the terminal pass on keys without Enter, until dropped.
struct SingleKeys(Termios);

impl SingleKeys {
    fn switch_on() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Now, &now)?;
        Ok(Self(before))
    }
}

impl Drop for SingleKeys {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone away.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}
