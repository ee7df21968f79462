use std::collections::BTreeSet;

use serde_json::{Value, json};
use windlass_proto::api::v1;

use super::{Cell, Columns, ListStyle, Tint, json, words};

/// Most parameters that a ranking shows as columns; `--json` has all.
const MAX_PARAMS: usize = 8;

/// Longest value of a parameter in a ranking, in columns.
const MAX_VALUE: usize = 24;

/// Runs by a metric, the best first as given, with the parameters in which they differ.
pub(crate) fn ranking(runs: &[v1::Run], metric: &str, look: &ListStyle) -> String {
    let mut table = Columns::new(0, Some(1));
    let params = differing(runs);
    let several = runs.iter().any(|run| run.pipeline != runs[0].pipeline);
    let head = |text: &str| Cell::new(Tint::Faint, text);
    let mut heads = vec![head("#").right(), head("RUN"), head(metric).right()];
    heads.push(head(if several { "PIPELINE" } else { "" }));
    heads.extend(params.iter().take(MAX_PARAMS).map(|name| head(name).right()));
    table.push(heads);
    for (at, run) in runs.iter().enumerate() {
        let value = run.metrics.get(metric).map(|value| words::number(*value));
        let mut row = vec![
            Cell::new(Tint::Faint, (at + 1).to_string()).right(),
            Cell::new(Tint::Name, &run.name),
            Cell::new(Tint::Strong, value.unwrap_or_default()).right(),
            Cell::plain(if several { run.pipeline.as_str() } else { "" }),
        ];
        row.extend(params.iter().take(MAX_PARAMS).map(|name| {
            let param = run.params.iter().find(|param| param.name == *name);
            let text = param.map_or_else(|| "–".into(), |param| shown(&param.json));
            Cell::plain(super::shorten(&text, MAX_VALUE)).right()
        }));
        table.push(row);
    }
    table.render(look.paint, look.width.unwrap_or(usize::MAX))
}

/// A value as a cell shows it: texts without their quotes.
pub(crate) fn shown(text: &str) -> String {
    match json::value(text) {
        Value::String(text) => text,
        _ => text.to_owned(),
    }
}

/// The parameters that not all of the runs have alike, in order of their names.
fn differing(runs: &[v1::Run]) -> Vec<&str> {
    let names: BTreeSet<_> = runs.iter().flat_map(|run| &run.params).map(|p| &*p.name).collect();
    let of = |run: &v1::Run, name: &str| {
        run.params.iter().find(|param| param.name == name).map(|param| json::value(&param.json))
    };
    let differs = |name: &&str| {
        let mut values = runs.iter().map(|run| of(run, name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    names.into_iter().filter(differs).collect()
}

/// The entries of `best --json`.
pub(crate) fn ranking_json(runs: &[v1::Run], metric: &str) -> Value {
    let entry = |(at, run): (usize, &v1::Run)| {
        json!({
            "rank": at + 1,
            "run_id": run.run_id,
            "name": run.name,
            "pipeline": run.pipeline,
            "metric": metric,
            "value": run.metrics.get(metric),
            "metrics": run.metrics,
            "params": json::values(&run.params),
            "labels": json::sorted(&run.labels, |value| Value::from(value.as_str())),
        })
    };
    runs.iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use windlass_proto::api::v1;

    use super::{ListStyle, ranking};
    use crate::render::Paint;

    #[test]
    fn only_what_differs_is_a_column() {
        let run = |name: &str, value: f64, params: &[(&str, &str)]| v1::Run {
            name: name.into(),
            metrics: [("accuracy".to_owned(), value)].into(),
            params: params
                .iter()
                .map(|(name, json)| v1::Param {
                    name: (*name).into(),
                    json: (*json).into(),
                    source: 0,
                })
                .collect(),
            ..Default::default()
        };
        let runs = [
            run("calm-fox", 0.93, &[("lr", "0.1"), ("n", "5"), ("kind", "\"a\"")]),
            run("red-hen", 0.9, &[("lr", "0.25"), ("n", "5")]),
        ];
        let look = ListStyle { paint: Paint { on: false }, width: None, now: Default::default() };
        let expected = "\
#  RUN       accuracy  kind    lr
1  calm-fox      0.93     a   0.1
2  red-hen        0.9     –  0.25
";
        assert_eq!(ranking(&runs, "accuracy", &look), expected);
    }
}
