use std::collections::HashSet;

use windlass_proto::{
    common::v1::MetricPoint,
    limits::{MAX_METRIC_NAMES, MAX_METRIC_POINTS},
};

use super::{EngineError, Proof, thread::Engine};
use crate::{
    fleet::SessionId,
    store::{attempts::AttemptKey, metrics},
};

/// What is known of an attempt's points.
#[derive(Default)]
pub(super) struct Extent {
    /// Highest sequence that is kept.
    last: u64,
    names: HashSet<String>,
}

impl Extent {
    /// The points that are new, ordered; an error where they would be too many.
    fn take(&mut self, points: &[MetricPoint]) -> (Vec<MetricPoint>, Option<EngineError>) {
        let mut new: Vec<MetricPoint> =
            points.iter().filter(|point| point.sequence > self.last).cloned().collect();
        new.sort_by_key(|point| point.sequence);
        new.dedup_by_key(|point| point.sequence);
        let limit = |what, limit| Some(EngineError::Limit { what, limit });
        for (place, point) in new.iter().enumerate() {
            let refused = if point.sequence > MAX_METRIC_POINTS {
                limit(
                    "metric points of an attempt",
                    usize::try_from(MAX_METRIC_POINTS).unwrap_or(0),
                )
            } else if !self.names.contains(&point.name) && self.names.len() == MAX_METRIC_NAMES {
                limit("names of metrics of an attempt", MAX_METRIC_NAMES)
            } else {
                None
            };
            if refused.is_some() {
                new.truncate(place);
                return (new, refused);
            }
            if !self.names.contains(&point.name) {
                self.names.insert(point.name.clone());
            }
            self.last = point.sequence;
        }
        (new, None)
    }
}

impl Engine {
    /// Adds points of a running attempt; returns the highest sequence that is kept.
    pub(super) fn add_metrics(
        &mut self,
        session: &SessionId,
        proof: &Proof,
        points: &[MetricPoint],
    ) -> Result<u64, EngineError> {
        let worker = self.fleet.worker(session).ok_or(EngineError::SessionFenced)?;
        let key = self.live_key(worker, proof).ok_or(EngineError::LeaseFenced)?;
        let (last, refused) = self.add_points(key, points)?;
        refused.map_or(Ok(last), Err)
    }

    /// Adds the points that came with an attempt's end; what is over the bounds is left out.
    pub(super) fn add_last_points(
        &mut self,
        key: AttemptKey,
        points: Vec<MetricPoint>,
    ) -> Result<(), EngineError> {
        if points.is_empty() {
            return Ok(());
        }
        let (last, refused) = self.add_points(key, &points)?;
        if let Some(error) = refused {
            tracing::warn!(run = %key.run, %error, last, "metric points left out");
        }
        Ok(())
    }

    fn add_points(
        &mut self,
        key: AttemptKey,
        points: &[MetricPoint],
    ) -> Result<(u64, Option<EngineError>), EngineError> {
        let now = self.clock.now();
        let live = self.runs.get_mut(&key.run).ok_or(EngineError::LeaseFenced)?;
        let held = live.live.get_mut(&key.step).ok_or(EngineError::LeaseFenced)?;
        if held.metrics.is_none() {
            let (last, names) = metrics::extent(self.writer.read(), key)?;
            held.metrics = Some(Extent { last, names });
        }
        let extent = held.metrics.get_or_insert_default();
        let (new, refused) = extent.take(points);
        let last = extent.last;
        if !new.is_empty() {
            metrics::insert(self.writer.tx()?, key, &new, now)?;
            live.dirty.push(key.step);
            self.batch.touch(key.run);
        }
        Ok((last, refused))
    }
}
