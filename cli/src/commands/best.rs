use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, answer},
    error::{CliError, Exit},
    render,
    submission::GROUP,
};

/// Rank succeeded runs by a metric, with the parameters in which they differ
#[derive(clap::Args)]
#[command(after_help = "Examples:
  windlass submit churn.yaml -p 'lr=[0.1, 0.2]' --sweep lr --group rates
  windlass best --metric accuracy --group rates
  windlass best --metric loss --min --pipeline churn")]
pub(crate) struct Best {
    /// Name of the metric
    #[arg(long, short)]
    metric: String,
    /// Only runs of this sweep
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only runs of this pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// The smallest value is the best
    #[arg(long)]
    min: bool,
    /// Most runs listed
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
}

impl Best {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let request = v1::RankRunsRequest {
            metric: self.metric.clone(),
            ascending: self.min,
            pipeline: self.pipeline.unwrap_or_default(),
            labels: self.group.iter().map(|group| (GROUP.to_owned(), group.clone())).collect(),
            limit: self.limit,
        };
        let runs = answer(link.runs().rank_runs(request)).await?.runs;
        if app.json {
            app.print_json(&render::ranking_json(&runs, &self.metric))?;
        } else if runs.is_empty() {
            let metric = render::clean(&self.metric);
            writeln!(app.err, "no succeeded run has the metric `{metric}`")?;
        } else {
            let look = app.look();
            write!(app.out, "{}", render::ranking(&runs, &self.metric, &look))?;
        }
        Ok(Exit::Ok)
    }
}
