use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{
    orphans,
    process::{Shared, Tracked},
};
use crate::keeper::protocol::{
    self, Event, Hello, News, Order, VERSION, Welcome, put_frame, take_frame,
};

/// How long a keeper may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Pauses between tries to reach or start a keeper.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_LAST: Duration = Duration::from_millis(500);

/// How a keeper is started: the program and the words before `--dir WORK`.
#[derive(Clone, Debug)]
pub struct KeeperCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl Shared {
    /// Connects to the keeper that runs, or starts one. Tries until it succeeds.
    pub(super) async fn reach(&self, keeper: &mut Option<Child>) -> (UnixStream, Vec<u8>, Welcome) {
        let mut pause = RETRY_FIRST;
        let mut complained: Option<Instant> = None;
        loop {
            let connected = match UnixStream::connect(self.home.keeper_socket()).await {
                Ok(stream) => Ok(stream),
                // Nobody listens: there is no keeper, and no other worker that could start one.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    match self.start_keeper(keeper).await {
                        Ok(()) => UnixStream::connect(self.home.keeper_socket()).await,
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            let greeted = match connected {
                Ok(stream) => timeout(HELLO_WAIT, greet(stream)).await.unwrap_or_else(|_| {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "the keeper says nothing"))
                }),
                Err(error) => Err(error),
            };
            match greeted {
                Ok(greeted) => return greeted,
                Err(error) if complained.is_none_or(|at| at.elapsed() > HELLO_WAIT) => {
                    complained = Some(Instant::now());
                    tracing::warn!(%error, "failed to reach the keeper");
                }
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    /// Kills what a dead keeper left, then starts a new one.
    async fn start_keeper(&self, keeper: &mut Option<Child>) -> io::Result<()> {
        if let Some(child) = keeper {
            child.try_wait()?;
        }
        self.kill_leftovers().await;
        let socket = self.home.keeper_socket();
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&socket)?;
        let logs = self.home.logs();
        std::fs::create_dir_all(&logs)?;
        let log = OpenOptions::new().create(true).append(true).open(logs.join("keeper.log"))?;
        let child = Command::new(&self.command.program)
            .args(&self.command.args)
            .args(self.user_namespace.then_some("--user-namespace"))
            .arg("--dir")
            .arg(self.home.work())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()?;
        *keeper = Some(child);
        Ok(())
    }

    async fn kill_leftovers(&self) {
        let has_attempts =
            std::fs::read_dir(&self.attempts).is_ok_and(|mut entries| entries.next().is_some());
        if !has_attempts {
            return;
        }
        let running = |t: &Tracked| {
            let progress = t.progress.borrow();
            (progress.end.is_none() && progress.pid != 0).then_some(progress.pid)
        };
        let mains: Vec<u32> = self.lock().jobs.values().filter_map(running).collect();
        let attempts = self.attempts.clone();
        let killed = tokio::task::spawn_blocking(move || orphans::kill_all(&attempts, &mains));
        if !matches!(killed.await, Ok(true)) {
            tracing::error!("processes of a dead keeper's attempts could not be killed");
        }
    }
}

async fn greet(mut stream: UnixStream) -> io::Result<(UnixStream, Vec<u8>, Welcome)> {
    let mut frame = Vec::new();
    let hello = Order::Hello(Hello { version: VERSION });
    put_frame(&protocol::Command { order: Some(hello) }, &mut frame);
    stream.write_all(&frame).await?;
    let mut input = Vec::new();
    loop {
        if let Some(event) = take_frame::<Event>(&mut input).map_err(io::Error::other)? {
            // News about attempts may stand before it; the welcome says all of that too.
            if let Some(News::Welcome(welcome)) = event.news {
                return Ok((stream, input, welcome));
            }
        } else if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
