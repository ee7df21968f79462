use windlass_proto::common::v1::{
    ForeachSpec, LoopSpec, MatrixAxis, MatrixSpec, RetrySpec, foreach_spec::Items,
    matrix_axis::Values, retry_spec::On,
};

use super::duration;
use crate::{
    compile::file::{
        forms::ItemsFile,
        named::Named,
        types::{LoopFile, OnMaxFile, RetryFile, RetryOnFile},
    },
    expr::Template,
};

/// Growth of the wait between tries where the file does not say it.
const DEFAULT_FACTOR: f64 = 2.0;

/// The expression without `${{ }}`; where it is not that simple, the text, which is refused later.
pub(super) fn bare(text: &str) -> String {
    Template::only(text).unwrap_or(text).to_owned()
}

/// What `foreach`, `matrix` and the keys beside them say.
pub(super) struct Fan {
    pub(super) foreach: Option<ItemsFile>,
    pub(super) item: Option<String>,
    pub(super) matrix: Option<Named<ItemsFile>>,
    pub(super) max_parallel: Option<u32>,
    pub(super) reduce: Option<String>,
}

impl Fan {
    /// `None` where the step has no instances.
    pub(super) fn spec(self) -> Option<ForeachSpec> {
        let items = match (self.foreach, self.matrix) {
            (Some(ItemsFile::Expr(text)), _) => Items::Expr(bare(&text)),
            (Some(ItemsFile::List(items)), _) => {
                Items::ListJson(serde_json::Value::Array(items).to_string())
            }
            (None, Some(matrix)) => {
                Items::Matrix(MatrixSpec { axes: matrix.0.into_iter().map(axis).collect() })
            }
            (None, None) => return None,
        };
        Some(ForeachSpec {
            items: Some(items),
            r#as: self.item.unwrap_or_default(),
            max_parallel: self.max_parallel.unwrap_or_default(),
            reduce: self.reduce.unwrap_or_default(),
        })
    }
}

fn axis((name, items): (String, ItemsFile)) -> MatrixAxis {
    let values = match items {
        ItemsFile::Expr(text) => Values::Expr(bare(&text)),
        ItemsFile::List(items) => Values::ListJson(serde_json::Value::Array(items).to_string()),
    };
    MatrixAxis { name, values: Some(values) }
}

/// What `loop` says.
pub(super) fn repeat(file: LoopFile) -> LoopSpec {
    LoopSpec {
        until: bare(&file.until.0),
        max: file.max,
        index: file.index.unwrap_or_default(),
        succeed_at_max: matches!(file.on_max, Some(OnMaxFile::Succeed)),
    }
}

/// What `retry` says.
pub(super) fn retry(retry: RetryFile) -> RetrySpec {
    let on = |on: RetryOnFile| match on {
        RetryOnFile::Exit => On::Exit,
        RetryOnFile::Timeout => On::Timeout,
        RetryOnFile::Oom => On::Oom,
        RetryOnFile::Lost => On::Lost,
    };
    RetrySpec {
        times: retry.times,
        backoff: retry.backoff.map(duration),
        factor: retry.factor.unwrap_or(DEFAULT_FACTOR),
        max: retry.max.map(duration),
        on: retry.on.into_iter().flatten().map(|end| on(end).into()).collect(),
    }
}
