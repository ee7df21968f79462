use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    process::Child,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};
use windlass_core::{Home, LeaseId};

use super::{End, Executor, Job, KeeperCommand, Progress};
use crate::keeper::{
    ExitRecord,
    protocol::{
        self, Event, LogDurable, News, Order, Release, Start, Stop, Variable, Welcome, put_frame,
        take_frame, to_bytes,
    },
};

/// Most orders on their way to the keeper.
const ORDERS: usize = 256;

/// Bytes read from the keeper at once.
const READ_BLOCK: usize = 16 << 10;

/// Runs jobs as processes of the keeper.
pub(crate) struct ProcessExecutor {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    /// The keeper that is connected, once stock of what it has was taken.
    keeper: watch::Receiver<Option<String>>,
}

pub(super) struct Shared {
    pub(super) home: Home,
    pub(super) attempts: PathBuf,
    pub(super) command: KeeperCommand,
    /// The keeper mounts in a user namespace of its own.
    pub(super) user_namespace: bool,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
pub(super) struct Jobs {
    pub(super) jobs: HashMap<LeaseId, Tracked>,
    releases: HashMap<LeaseId, oneshot::Sender<()>>,
}

pub(super) struct Tracked {
    pub(super) progress: watch::Sender<Progress>,
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
        let (connected, keeper) = watch::channel(None);
        let attempts = home.work().join("attempts");
        let shared = Arc::new(Shared {
            home: home.clone(),
            attempts,
            command,
            user_namespace,
            jobs: Mutex::default(),
        });
        let tending = shared.clone().tend(taken, connected);
        (Arc::new(Self { shared, orders, keeper }), tending)
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
            masks: job.masks,
            memory_bytes: job.memory.unwrap_or_default(),
        };
        self.order(Order::Start(start)).await;
        receiver
    }

    async fn keeper(&self) -> String {
        let mut keeper = self.keeper.clone();
        let known = keeper.wait_for(Option::is_some).await;
        known.ok().and_then(|id| id.clone()).unwrap_or_default()
    }

    async fn adopt(&self, lease: LeaseId) -> Option<watch::Receiver<Progress>> {
        self.keeper.clone().wait_for(Option::is_some).await.ok()?;
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
    pub(super) fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stays connected to a keeper, starting one where there is none.
    async fn tend(
        self: Arc<Self>,
        mut orders: mpsc::Receiver<Order>,
        connected: watch::Sender<Option<String>>,
    ) {
        let mut keeper: Option<Child> = None;
        loop {
            let (stream, input, welcome) = self.reach(&mut keeper).await;
            let id = welcome.id.clone();
            self.take_stock(welcome).await;
            connected.send_replace(Some(id));
            match self.converse(stream, input, &mut orders).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "lost the connection to the keeper"),
            }
            connected.send_replace(None);
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
                progress.masks = known.masks;
                progress.end = known.ended.as_ref().and_then(|ended| end_of(&ended.record));
            });
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
