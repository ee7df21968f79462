//! Runs by how well they did.

use prost::Message;
use tonic::Status;
use windlass_proto::api::v1::{RankRunsRequest, RankRunsResponse};
use windlass_proto::limits::is_metric_name;

use super::{MAX_PAGE_BYTES, RunsRpc, filter_labels};
use crate::{
    rpc::status::invalid,
    store::{
        details,
        listing::Filter,
        ranking::{Ranking, best},
    },
};

/// Runs in an answer where the caller does not say.
const DEFAULT_LIMIT: usize = 20;

/// Most runs in an answer.
const MAX_LIMIT: usize = 1_000;

impl RunsRpc {
    /// The best runs; fewer where they would be too many bytes.
    pub(super) async fn rank(&self, request: RankRunsRequest) -> Result<RankRunsResponse, Status> {
        let ranking = ranking(request)?;
        let read = self.readers.read(move |conn| {
            let (mut runs, mut bytes) = (Vec::new(), 0);
            for (row, value) in best(conn, &ranking)? {
                let mut run = details::of_row(conn, &row)?;
                run.environment_digests.clear();
                run.metrics = [(ranking.metric.clone(), value)].into();
                bytes += run.encoded_len();
                if bytes > MAX_PAGE_BYTES && !runs.is_empty() {
                    break;
                }
                runs.push(run);
            }
            Ok(runs)
        });
        Ok(RankRunsResponse { runs: read.await? })
    }
}

fn ranking(request: RankRunsRequest) -> Result<Ranking, Status> {
    let RankRunsRequest { metric, ascending, pipeline, labels, limit } = request;
    if !is_metric_name(&metric) {
        return Err(invalid("metric", "must be the name of a metric"));
    }
    let limit = match usize::try_from(limit) {
        Ok(0) => DEFAULT_LIMIT,
        Ok(limit) if limit <= MAX_LIMIT => limit,
        Ok(_) | Err(_) => return Err(invalid("limit", format!("must be from 0 to {MAX_LIMIT}"))),
    };
    let pipeline = Some(pipeline).filter(|pipeline| !pipeline.is_empty());
    let filter = Filter { pipeline, states: Vec::new(), labels: filter_labels(labels)? };
    Ok(Ranking { metric, ascending, filter, limit })
}
