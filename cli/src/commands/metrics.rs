use serde_json::{Map, Value, json};
use windlass_proto::{
    api::v1,
    common::v1::{AttemptRef, MetricPoint},
};

use crate::{
    app::App,
    connect::Link,
    error::{CliError, Exit},
    reference::{self, Reference},
    render::{self, Cell, Columns, Tint},
};

/// Print the metrics that steps reported, point by point
#[derive(clap::Args)]
pub(crate) struct Metrics {
    /// A run, or one of its steps
    #[arg(value_name = "RUN[/STEP]")]
    run: Reference,
    /// Only the metric of this name
    name: Option<String>,
    /// Another attempt than the last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
}

impl Metrics {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let run = reference::run(&link, &self.run.run).await?;
        let mut series = Vec::new();
        for step in reference::steps(&run, &self.run)? {
            let last = step.attempts.last().map_or(0, |attempt| attempt.attempt);
            let attempt = self.attempt.unwrap_or(last);
            if step.attempts.iter().any(|known| known.attempt == attempt) {
                let points = self.points(&link, &run.run_id, &step.step, attempt).await?;
                series.push((step.step.as_str(), points));
            }
        }
        if app.json {
            app.print_json(
                &series.iter().flat_map(|(step, points)| entries(step, points)).collect(),
            )?;
            return Ok(Exit::Ok);
        }
        let mut table = Columns::new(0, None);
        for (step, points) in &series {
            for point in points {
                let time = render::time_text(point.time.as_ref()).unwrap_or_default();
                let at = point.step.map_or_else(String::new, |at| at.to_string());
                table.push(vec![
                    Cell::new(Tint::Faint, *step),
                    Cell::plain(&point.name),
                    Cell::plain(at).right(),
                    Cell::new(Tint::Strong, render::number(point.value)),
                    Cell::new(Tint::Faint, time),
                ]);
            }
        }
        let text = table.render(app.paint(), usize::MAX);
        Ok(write!(app.out, "{text}").map(|()| Exit::Ok)?)
    }

    async fn points(
        &self,
        link: &Link,
        run: &str,
        step: &str,
        attempt: u32,
    ) -> Result<Vec<MetricPoint>, CliError> {
        let attempt = AttemptRef { run_id: run.to_owned(), step: step.to_owned(), attempt };
        let request =
            v1::WatchMetricsRequest { attempt: Some(attempt), after_sequence: 0, follow: false };
        let mut pages = link.logs().watch_metrics(request).await?.into_inner();
        let mut points = Vec::new();
        while let Some(page) = pages.message().await? {
            let wanted =
                |point: &MetricPoint| self.name.as_ref().is_none_or(|name| *name == point.name);
            points.extend(page.points.into_iter().filter(wanted));
        }
        Ok(points)
    }
}

/// One entry a series: its step, its name, its points in the order in which they came.
fn entries(step: &str, points: &[MetricPoint]) -> Vec<Value> {
    let mut series: Map<String, Value> = Map::new();
    for point in points {
        let entry = json!({
            "value": point.value,
            "step": point.step,
            "time": render::time_text(point.time.as_ref()),
        });
        let known = series.entry(point.name.clone()).or_insert_with(|| Value::Array(vec![]));
        if let Value::Array(known) = known {
            known.push(entry);
        }
    }
    let entry = |(name, points)| json!({ "step": step, "name": name, "points": points });
    series.into_iter().map(entry).collect()
}
