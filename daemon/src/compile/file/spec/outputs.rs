use windlass_proto::common::v1::{MetricPick, OutputSpec};

use super::flow::bare;
use crate::compile::file::{
    forms::{MetricsFile, OutFile, PickFile},
    types::{CodecFile, PickFields},
};

/// Who gives outputs: what is after a name depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giver {
    Python,
    Pipeline,
    Other,
}

/// What `out` of a step says.
pub(super) fn outputs(out: OutFile, of: Giver) -> Vec<OutputSpec> {
    let output = |name, pick, codec| OutputSpec { name, pick, codec, expr: String::new() };
    let whole = |name| output(name, String::new(), String::new());
    match out {
        OutFile::Whole(name) => vec![whole(name)],
        OutFile::Items(names) => {
            let pick = |i| if of == Giver::Python { format!("[{i}]") } else { String::new() };
            let names = names.into_iter().enumerate();
            names.map(|(i, name)| output(name, pick(i), String::new())).collect()
        }
        OutFile::Parts(parts) => {
            let part = |(name, pick)| match pick {
                PickFile::Path(expr) if of == Giver::Pipeline => {
                    OutputSpec { expr: bare(&expr), ..whole(name) }
                }
                PickFile::Path(path) => output(name, path, String::new()),
                PickFile::Fields(PickFields { pick, codec }) => {
                    let codec = match codec {
                        None => "",
                        Some(CodecFile::Json) => "json",
                        Some(CodecFile::Pickle) => "pickle",
                    };
                    output(name, pick.unwrap_or_default(), codec.to_owned())
                }
            };
            parts.0.into_iter().map(part).collect()
        }
    }
}

/// What `metrics` of a step says.
pub(super) fn metrics(metrics: MetricsFile) -> Vec<MetricPick> {
    match metrics {
        MetricsFile::Names(names) => {
            let pick = |name: String| MetricPick { pick: format!(".{name}"), name };
            names.into_iter().map(pick).collect()
        }
        MetricsFile::Paths(paths) => {
            paths.0.into_iter().map(|(name, pick)| MetricPick { name, pick }).collect()
        }
    }
}
