//! What the keeper does on the worker's word.
use std::time::{Duration, Instant};

use rustix::process::getpid;

use super::{
    attempt::{Attempt, Phase, lease_name},
    exit_record::{ExitRecord, StopCause},
    protocol::{
        Ended, Known, LogDurable, News, Order, Release, Start, Started, Stop, VERSION, Welcome,
        to_path,
    },
    serve::{Keeper, PER_ATTEMPT},
};

impl Keeper {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Hello(_) => {
                let refused = self.refused.iter().map(|(lease, record)| refused(lease, record));
                let known = self.attempts.values_mut().map(Attempt::known);
                let attempts = known.chain(refused).collect();
                let pid = u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or_default();
                let id = self.id.clone();
                self.put(News::Welcome(Welcome { version: VERSION, pid, attempts, id }));
            }
            Order::Start(start) => self.start(start),
            Order::Stop(stop) => self.stop(&stop),
            Order::Release(release) => self.release(release),
            Order::LogDurable(durable) => self.log_durable(&durable),
        }
    }

    fn start(&mut self, start: Start) {
        let known =
            self.serials.contains_key(&start.lease) || self.refused.contains_key(&start.lease);
        if known || self.leaving_since.is_some() {
            return;
        }
        let (lease, dir) = (start.lease.clone(), to_path(&start.dir));
        let start_micros = (self.config.clock)().0;
        let mut attempt = match Attempt::start(start, &self.epoll, Instant::now(), start_micros) {
            Ok(attempt) => attempt,
            Err(message) => {
                let record = ExitRecord::not_started(lease_name(&lease), message, start_micros);
                let json = serde_json::to_vec(&record).unwrap_or_default();
                ExitRecord::write(&dir, &json).ok();
                self.refused.insert(lease.clone(), json.clone());
                return self.put(News::Ended(Ended { lease, record: json }));
            }
        };
        attempt.set_oom_baseline(self.oom_kills);
        let serial = self.next_serial;
        self.next_serial += 1;
        if let Phase::Running { pidfd, .. } = &attempt.phase {
            self.watch(pidfd, serial * PER_ATTEMPT);
        }
        for (spool, token) in attempt.spools.iter().zip(serial * PER_ATTEMPT + 1..) {
            spool.pipe().into_iter().for_each(|pipe| self.watch(pipe, token));
        }
        self.put(News::Started(attempt.started()));
        self.serials.insert(lease, serial);
        self.attempts.insert(serial, attempt);
    }

    fn stop(&mut self, stop: &Stop) {
        let Some(&serial) = self.serials.get(&stop.lease) else { return };
        self.begin_stop(serial, StopCause::Asked, Duration::from_millis(stop.grace_millis));
    }

    fn release(&mut self, release: Release) {
        if let Some(&serial) = self.serials.get(&release.lease) {
            if self.attempts.get(&serial).is_some_and(|attempt| !attempt.has_ended()) {
                return;
            }
            self.attempts.remove(&serial);
            self.serials.remove(&release.lease);
        }
        self.refused.remove(&release.lease);
        self.put(News::Released(release));
    }

    fn log_durable(&mut self, durable: &LogDurable) {
        let Some(&serial) = self.serials.get(&durable.lease) else { return };
        let stream = usize::from(durable.stream != 0);
        let Some(attempt) = self.attempts.get_mut(&serial) else { return };
        let spool = &mut attempt.spools[stream];
        let held = !spool.may_go_on();
        spool.durable(durable.offset);
        if held && spool.may_go_on() {
            self.pump(serial, stream);
        }
    }
}

/// How an attempt is told of that never had a process.
fn refused(lease: &[u8], record: &[u8]) -> Known {
    let lease = lease.to_vec();
    Known {
        started: Some(Started { lease: lease.clone(), pid: 0, start_micros: 0 }),
        stdout_bytes: 0,
        stderr_bytes: 0,
        ended: Some(Ended { lease, record: record.to_vec() }),
        masks: Vec::new(),
    }
}
