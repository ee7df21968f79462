use std::{
    collections::HashMap,
    ffi::OsString,
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use windlass_core::{Home, LeaseId};

use super::{End, Executor, Job, Progress, orphans};
use crate::keeper::{
    ExitRecord,
    protocol::{
        self, Event, Hello, LogDurable, News, Order, Release, Start, Stop, VERSION, Variable,
        Welcome, put_frame, take_frame, to_bytes,
    },
};

/// Most orders on their way to the keeper.
const ORDERS: usize = 256;

/// How long a keeper may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Pauses between tries to reach or start a keeper.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_LAST: Duration = Duration::from_millis(500);

/// Bytes read from the keeper at once.
const READ_BLOCK: usize = 16 << 10;

/// How a keeper is started: the program and the words before `--dir WORK`.
#[derive(Clone, Debug)]
pub struct KeeperCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// Runs jobs as processes of the keeper.
pub(crate) struct ProcessExecutor {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    ready: watch::Receiver<bool>,
}

struct Shared {
    home: Home,
    attempts: PathBuf,
    command: KeeperCommand,
    /// The keeper mounts in a user namespace of its own.
    user_namespace: bool,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    jobs: HashMap<LeaseId, Tracked>,
    releases: HashMap<LeaseId, oneshot::Sender<()>>,
}

struct Tracked {
    progress: watch::Sender<Progress>,
    /// The keeper was told to start it, so it should know it.
    sent: bool,
}

/// The connection's state and its task; the caller runs the future for as long as it wants jobs.
impl ProcessExecutor {
    pub(crate) fn new(
        home: &Home,
        command: KeeperCommand,
        user_namespace: bool,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (orders, taken) = mpsc::channel(ORDERS);
        let (ready_tx, ready) = watch::channel(false);
        let attempts = home.work().join("attempts");
        let shared = Arc::new(Shared {
            home: home.clone(),
            attempts,
            command,
            user_namespace,
            jobs: Mutex::default(),
        });
        let tending = shared.clone().tend(taken, ready_tx);
        (Arc::new(Self { shared, orders, ready }), tending)
    }
}

#[tonic::async_trait]
impl Executor for ProcessExecutor {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn start(&self, job: Job) -> watch::Receiver<Progress> {
        let (progress, receiver) = watch::channel(Progress::default());
        let tracked = Tracked { progress, sent: false };
        self.shared.lock().jobs.insert(job.lease, tracked);
        let variable = |(name, value)| Variable { name: to_bytes(name), value: to_bytes(value) };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let start = Start {
            lease: job.lease.0.to_vec(),
            dir: to_bytes(job.dir),
            argv: job.argv.into_iter().map(to_bytes).collect(),
            env: job.env.into_iter().map(variable).collect(),
            cwd: to_bytes(job.cwd),
            overlay: job.overlay,
            timeout_millis: job.timeout.map_or(0, |limit| millis(limit).max(1)),
            grace_millis: millis(job.grace),
        };
        self.order(Order::Start(start)).await;
        receiver
    }

    async fn adopt(&self, lease: LeaseId) -> Option<watch::Receiver<Progress>> {
        self.ready.clone().wait_for(|ready| *ready).await.ok()?;
        Some(self.shared.lock().jobs.get(&lease)?.progress.subscribe())
    }

    async fn stop(&self, lease: LeaseId, grace: Duration) {
        let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.order(Order::Stop(Stop { lease: lease.0.to_vec(), grace_millis })).await;
    }

    fn log_durable(&self, lease: LeaseId, stream: usize, offset: u64) {
        let stream = u32::from(stream != 0);
        let order = Order::LogDurable(LogDurable { lease: lease.0.to_vec(), stream, offset });
        // Where there is no room the next one says it all.
        self.orders.try_send(order).ok();
    }

    async fn release(&self, lease: LeaseId) {
        let (done, released) = oneshot::channel();
        self.shared.lock().releases.insert(lease, done);
        self.order(Order::Release(Release { lease: lease.0.to_vec() })).await;
        // A keeper that goes away holds no directory either.
        released.await.ok();
        self.shared.lock().jobs.remove(&lease);
    }
}

impl ProcessExecutor {
    async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::debug!("no longer connected to a keeper");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stays connected to a keeper, starting one where there is none.
    async fn tend(self: Arc<Self>, mut orders: mpsc::Receiver<Order>, ready: watch::Sender<bool>) {
        let mut keeper: Option<Child> = None;
        loop {
            let (stream, input, welcome) = self.reach(&mut keeper).await;
            self.take_stock(welcome).await;
            ready.send_replace(true);
            match self.converse(stream, input, &mut orders).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "lost the connection to the keeper"),
            }
        }
    }

    /// Connects to the keeper that runs, or starts one. Tries until it succeeds.
    async fn reach(&self, keeper: &mut Option<Child>) -> (UnixStream, Vec<u8>, Welcome) {
        let mut pause = RETRY_FIRST;
        let mut complained: Option<Instant> = None;
        loop {
            let connected = match UnixStream::connect(self.home.keeper_socket()).await {
                Ok(stream) => Ok(stream),
                Err(_) => match self.start_keeper(keeper).await {
                    Ok(()) => UnixStream::connect(self.home.keeper_socket()).await,
                    Err(error) => Err(error),
                },
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

    /// Compares what the keeper has with what it should have.
    async fn take_stock(&self, welcome: Welcome) {
        let mut unknown: Vec<LeaseId> = {
            let jobs = self.lock();
            let live =
                jobs.jobs.iter().filter(|(_, t)| t.sent && t.progress.borrow().end.is_none());
            live.map(|(&lease, _)| lease).collect()
        };
        for known in welcome.attempts {
            let Some(started) = known.started else { continue };
            let Some(lease) = lease_of(&started.lease) else { continue };
            unknown.retain(|other| *other != lease);
            let new = || Tracked { progress: watch::Sender::new(Progress::default()), sent: true };
            self.lock().jobs.entry(lease).or_insert_with(new);
            self.update(lease, |progress| {
                progress.pid = started.pid;
                progress.start_micros = Some(started.start_micros);
                progress.sizes = [known.stdout_bytes, known.stderr_bytes];
                progress.end = known.ended.as_ref().and_then(|ended| end_of(&ended.record));
            });
        }
        if !unknown.is_empty() {
            self.kill_leftovers().await;
        }
        for lease in unknown {
            let record = ExitRecord::read(&self.attempts.join(lease.to_string()));
            let end = record.map_or(End::Lost, |record| End::Ended(Arc::new(record)));
            self.update(lease, |progress| progress.end = Some(end));
        }
        // Whoever waits for a release of the keeper before has it now.
        self.lock().releases.clear();
    }

    /// Notes what the keeper says about an attempt that is still of interest.
    fn update(&self, lease: LeaseId, change: impl FnOnce(&mut Progress)) {
        if let Some(tracked) = self.lock().jobs.get(&lease) {
            tracked.progress.send_modify(change);
        }
    }

    /// Carries orders and news until the connection breaks, or the executor was dropped.
    async fn converse(
        &self,
        mut stream: UnixStream,
        mut input: Vec<u8>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> io::Result<()> {
        let (mut read, mut write) = stream.split();
        let mut block = vec![0; READ_BLOCK];
        let mut output = Vec::new();
        loop {
            while let Some(event) = take_frame::<Event>(&mut input).map_err(io::Error::other)? {
                event.news.into_iter().for_each(|news| self.hear(news));
            }
            tokio::select! {
                order = orders.recv() => {
                    let Some(order) = order else { return Ok(()) };
                    self.say(order, &mut output);
                    while let Ok(order) = orders.try_recv() {
                        self.say(order, &mut output);
                    }
                    write.write_all(&output).await?;
                    output.clear();
                }
                len = read.read(&mut block) => match len? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    len => input.extend_from_slice(&block[..len]),
                }
            }
        }
    }

    fn say(&self, order: Order, output: &mut Vec<u8>) {
        if let Order::Start(start) = &order
            && let Some(lease) = lease_of(&start.lease)
            && let Some(tracked) = self.lock().jobs.get_mut(&lease)
        {
            tracked.sent = true;
        }
        put_frame(&protocol::Command { order: Some(order) }, output);
    }

    fn hear(&self, news: News) {
        match news {
            News::Welcome(_) => {}
            News::Started(started) => {
                let Some(lease) = lease_of(&started.lease) else { return };
                self.update(lease, |progress| {
                    progress.pid = started.pid;
                    progress.start_micros = Some(started.start_micros);
                });
            }
            News::Grew(grew) => {
                let Some(lease) = lease_of(&grew.lease) else { return };
                let stream = usize::from(grew.stream != 0);
                self.update(lease, |progress| progress.sizes[stream] = grew.size);
            }
            News::Ended(ended) => {
                let Some(lease) = lease_of(&ended.lease) else { return };
                self.update(lease, |progress| {
                    progress.end = end_of(&ended.record);
                    if let Some(End::Ended(record)) = &progress.end {
                        progress.sizes = [record.stdout_bytes, record.stderr_bytes];
                    }
                });
            }
            News::Released(release) => {
                if let Some(lease) = lease_of(&release.lease) {
                    self.lock().releases.remove(&lease).into_iter().for_each(|done| {
                        done.send(()).ok();
                    });
                }
            }
        }
    }
}

fn lease_of(bytes: &[u8]) -> Option<LeaseId> {
    bytes.try_into().ok().map(LeaseId)
}

/// A record that cannot be read counts as lost.
fn end_of(record: &[u8]) -> Option<End> {
    let record = serde_json::from_slice(record).map(|record| End::Ended(Arc::new(record)));
    Some(record.unwrap_or(End::Lost))
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
