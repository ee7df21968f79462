//! What all workers together have to offer for a need, and why it waits.

use windlass_core::{Resource, Resources, Timestamp};

use super::{
    Fleet, REMEMBERED_FOR, Seat,
    capacity::{amount, name, words},
};

/// A need that no worker can meet, however long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// `gpu: 64`.
    pub(crate) needed: String,
    /// `the most that any worker has is 0`.
    pub(crate) most: String,
}

impl Fleet {
    /// Why no worker that is known could ever meet `need`; `None` where one can, or where none is
    /// known.
    pub(crate) fn misfit(&self, need: &Resources, now: Timestamp) -> Option<Misfit> {
        let remembered = i64::try_from(REMEMBERED_FOR.as_micros()).unwrap_or(i64::MAX);
        let recent = |seat: &&Seat| seat.seen.0.saturating_add(remembered) >= now.0;
        let known = |seat: &&Seat| seat.session.is_some() || recent(seat);
        let known: Vec<&Seat> = self.seats.values().filter(known).collect();
        if known.is_empty() || known.iter().any(|seat| could(seat, need)) {
            return None;
        }
        Some(match scarce(&known, need) {
            Some((of, most)) => Misfit {
                needed: words(of, need.amount(of)),
                most: format!("the most that any worker has is {}", amount(of, most)),
            },
            None => {
                Misfit { needed: all(need), most: "no worker has all of that together".to_owned() }
            }
        })
    }

    /// Why a ready step with that need was not given to any worker yet.
    pub(crate) fn wait(&self, need: &Resources) -> String {
        let connected: Vec<&Seat> =
            self.seats.values().filter(|seat| seat.session.is_some()).collect();
        if connected.is_empty() {
            return "no worker is connected".to_owned();
        }
        let fitting: Vec<&Seat> =
            connected.iter().copied().filter(|seat| could(seat, need)).collect();
        if fitting.is_empty() {
            return match scarce(&connected, need) {
                Some((of, most)) => {
                    let needed = words(of, need.amount(of));
                    format!("no worker offers {needed} (the most is {})", amount(of, most))
                }
                None => format!("no worker offers {} together", all(need)),
            };
        }
        let mut working = fitting.iter().filter(|seat| !seat.draining).peekable();
        if working.peek().is_none() {
            return "every worker that could run it is being drained".to_owned();
        }
        // Of the worker that lacks the least: one that has everything free is about to take it.
        let lacking = working.map(|seat| {
            let free = seat.free();
            let need = need.on(seat.capacity());
            let of = need.lacking(&free).map(name).map(str::to_owned);
            (of, free)
        });
        let shown = lacking.min_by_key(|(of, _)| of.is_some());
        match shown {
            Some((Some(of), free)) => not_free(need, &of, &free),
            Some((None, _)) | None => "waits for a free slot".to_owned(),
        }
    }
}

fn not_free(need: &Resources, of: &str, free: &Resources) -> String {
    let of = need.kinds().find(|kind| name(*kind) == of);
    match of {
        // What a step takes that says nothing is a slot, whatever that is in cores.
        None | Some(Resource::Slots) => "waits for a free slot".to_owned(),
        Some(Resource::Cpu) if need.cpu_millis == 0 => "waits for a free slot".to_owned(),
        Some(of) => {
            let (needed, left) = (words(of, need.amount(of)), amount(of, free.amount(of)));
            format!("waits for {needed} ({left} free)")
        }
    }
}

/// True where the worker could meet the need with nothing else to do.
fn could(seat: &Seat, need: &Resources) -> bool {
    need.on(seat.capacity()).fits(seat.capacity())
}

/// The first thing that no worker has enough of, with the most that one has.
fn scarce<'a>(seats: &[&Seat], need: &'a Resources) -> Option<(Resource<'a>, u64)> {
    let most = |of| seats.iter().map(|seat| seat.capacity().amount(of)).max().unwrap_or(0);
    need.kinds().map(|of| (of, most(of))).find(|(of, most)| need.amount(*of) > *most)
}

/// Everything that is needed, in words.
fn all(need: &Resources) -> String {
    let some = |of: &Resource<'_>| need.amount(*of) > 0 && *of != Resource::Slots;
    let words = need.kinds().filter(some).map(|of| words(of, need.amount(of)));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use uuid::Uuid;
    use windlass_core::{RunId, StepIndex, WorkerName};

    use super::*;
    use crate::{
        fleet::{Session, SessionId},
        store::records::WorkerRecord,
    };

    fn with(workers: &[&[(&str, i64)]]) -> Fleet {
        let mut fleet = Fleet::default();
        for (place, capacity) in workers.iter().enumerate() {
            let capacity = capacity.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
            let record = WorkerRecord { capacity: capacity.collect(), ..WorkerRecord::default() };
            let worker = WorkerName(format!("w{place}").into());
            fleet.seats.insert(worker.clone(), Seat::new(record, false, Timestamp(0)));
            fleet.open(&worker, Session::new(SessionId::new(), Duration::ZERO));
        }
        fleet
    }

    fn need(cpu_millis: u64, memory_bytes: u64, gpu: u64) -> Resources {
        Resources { slots: 1, cpu_millis, memory_bytes, gpu, ..Resources::default() }
    }

    #[test]
    fn what_can_never_run_is_told_with_the_most_there_is() {
        let fleet = with(&[&[("slots", 2), ("memory", 1 << 30)], &[("slots", 4), ("gpu", 1)]]);
        let misfit = |need: &Resources| {
            let found = fleet.misfit(need, Timestamp(0))?;
            Some(format!("{}; {}", found.needed, found.most))
        };
        assert_eq!(misfit(&need(4_000, 1 << 40, 1)), None, "its memory is not known");
        let most = "the most that any worker has is";
        assert_eq!(misfit(&need(0, 0, 64)), Some(format!("gpu: 64; {most} 1")));
        assert_eq!(misfit(&need(4_500, 0, 0)), Some(format!("cpu: 4.5; {most} 4")));
        let fleet = with(&[&[("slots", 4)], &[("slots", 1), ("gpu", 1)]]);
        let found = fleet.misfit(&need(2_000, 0, 1), Timestamp(0)).unwrap();
        assert_eq!(found.needed, "gpu: 1, cpu: 2");
        assert_eq!(fleet.wait(&need(2_000, 0, 1)), "no worker offers gpu: 1, cpu: 2 together");
        assert_eq!(fleet.wait(&need(0, 0, 64)), "no worker offers gpu: 64 (the most is 1)");
    }

    #[test]
    fn only_workers_of_late_count() {
        let mut fleet = with(&[&[("slots", 1)]]);
        let gpu = need(0, 0, 1);
        let later = Timestamp(2 * i64::try_from(REMEMBERED_FOR.as_micros()).unwrap());
        assert!(fleet.misfit(&gpu, later).is_some(), "it is connected");
        let session = fleet.seats.values().next().unwrap().session.as_ref().unwrap().id.clone();
        fleet.close(&session);
        assert!(fleet.misfit(&gpu, Timestamp(1)).is_some(), "it was here a moment ago");
        assert!(fleet.misfit(&gpu, later).is_none());
        assert_eq!(fleet.wait(&gpu), "no worker is connected");
    }

    #[test]
    fn what_is_held_is_what_others_wait_for() {
        let mut fleet = with(&[&[("slots", 2), ("memory", 4 << 30)]]);
        let (first, second) = (need(0, 3 << 30, 0), need(0, 2 << 30, 0));
        assert_eq!(fleet.wait(&second), "waits for a free slot", "nobody has asked yet");
        let seat = fleet.seats.values_mut().next().unwrap();
        let run = RunId(Uuid::from_u128(1));
        seat.hold((run, StepIndex(0)), Arc::new(first));
        assert_eq!(fleet.wait(&second), "waits for memory: 2 GiB (1 GiB free)");
        let seat = fleet.seats.values_mut().next().unwrap();
        seat.hold((run, StepIndex(1)), Arc::new(need(0, 0, 0)));
        assert_eq!(seat.free().slots, 0);
        assert_eq!(fleet.wait(&need(0, 0, 0)), "waits for a free slot");
        let seat = fleet.seats.values_mut().next().unwrap();
        seat.describe(WorkerRecord::default());
        assert_eq!((seat.free().slots, seat.used().slots), (0, 2), "it came back smaller");
        fleet.release_run(run);
        let seat = fleet.seats.values_mut().next().unwrap();
        assert_eq!((seat.free().slots, seat.used()), (1, &Resources::default()));
        seat.draining = true;
        assert_eq!(fleet.wait(&need(0, 0, 0)), "every worker that could run it is being drained");
    }
}
