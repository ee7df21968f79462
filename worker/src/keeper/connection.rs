use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use super::protocol::{Command, Event, FrameError, News, put_frame, take_frame};

/// Most bytes waiting for a worker that does not read; then it is let go, to come back and ask.
const MAX_WAITING: usize = 16 << 20;

/// The keeper's end of the connection to its worker.
pub(super) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// It is watched for room to send.
    pub(super) waits_to_send: bool,
}

/// The worker is gone, or says what cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionLost {
    #[error("the worker closed the connection")]
    Closed,
    #[error("the worker does not read")]
    Stuck,
    #[error("failed to talk to the worker")]
    Io(#[from] io::Error),
    #[error("the worker said what cannot be understood")]
    Frame(#[from] FrameError),
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: Vec::new(), output: Vec::new(), waits_to_send: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Takes what has come, calling `take` for each command.
    pub(super) fn read(&mut self, block: &mut [u8]) -> Result<Vec<Command>, ConnectionLost> {
        let mut commands = Vec::new();
        loop {
            match self.stream.read(block) {
                Ok(0) => return Err(ConnectionLost::Closed),
                Ok(len) => self.input.extend_from_slice(&block[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            while let Some(command) = take_frame(&mut self.input)? {
                commands.push(command);
            }
            if self.input.is_empty() {
                break;
            }
        }
        Ok(commands)
    }

    /// Puts news into the queue; `flush` sends them.
    pub(super) fn put(&mut self, news: News) {
        put_frame(&Event { news: Some(news) }, &mut self.output);
    }

    /// Sends what is queued; `Ok(true)` where nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, ConnectionLost> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(ConnectionLost::Closed),
                Ok(len) => drop(self.output.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if self.output.len() > MAX_WAITING {
                        Err(ConnectionLost::Stuck)
                    } else {
                        Ok(false)
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
