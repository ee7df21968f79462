use windlass_core::WorkerName;

use super::{EngineError, WorkerView, thread::Engine};
use crate::{fleet::Seat, store::workers};

impl Engine {
    /// Every known worker, by name.
    pub(super) fn workers(&self) -> Vec<WorkerView> {
        let mut found: Vec<WorkerView> =
            self.fleet.seats.iter().map(|(name, seat)| self.view(name, seat)).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    fn view(&self, name: &WorkerName, seat: &Seat) -> WorkerView {
        let now = self.clock.monotonic();
        let session = seat.session.as_ref();
        WorkerView {
            name: name.clone(),
            record: seat.record.clone(),
            draining: seat.draining,
            silent_for: session.map(|session| now.saturating_sub(session.last_seen)),
            seen: seat.seen,
            running: seat.held().len(),
            capacity: seat.capacity().clone(),
            used: seat.used().clone(),
        }
    }

    /// Stops or resumes leases to a worker.
    pub(super) fn drain(
        &mut self,
        worker: &WorkerName,
        draining: bool,
    ) -> Result<WorkerView, EngineError> {
        let unknown = || EngineError::NoSuchWorker(worker.to_string());
        let seat = self.fleet.seats.get_mut(worker).ok_or_else(unknown)?;
        self.batch.workers = true;
        seat.draining = draining;
        workers::set_draining(self.writer.tx()?, &worker.0, draining)?;
        let seat = self.fleet.seats.get(worker).ok_or_else(unknown)?;
        Ok(self.view(worker, seat))
    }
}
