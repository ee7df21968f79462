use clap::builder::RangedU64ValueParser;
use windlass_core::RunState;
use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, answer},
    error::{CliError, Exit},
    reference, render,
    submission::pair,
};

/// Most runs asked for in one call.
const PAGE: usize = 1_000;

/// List runs, newest first
#[derive(clap::Args)]
pub(crate) struct Ls {
    /// Most runs listed
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    /// Only runs of this pipeline
    #[arg(long)]
    pipeline: Option<String>,
    /// Only runs in this state: queued, running, cancelling, succeeded, failed or cancelled
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Only runs with this label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

impl Ls {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let mut request = self.request()?;
        let link = Link::open(app.config).await?;
        let mut runs = Vec::new();
        while runs.len() < self.limit {
            let size = (self.limit - runs.len()).min(PAGE);
            request.page_size = i32::try_from(size).unwrap_or(i32::MAX);
            let page = answer(link.runs().list_runs(request.clone())).await?;
            runs.extend(page.runs);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        runs.truncate(self.limit);
        if app.json {
            app.print_json(&runs.iter().map(|run| render::run_json(run, false)).collect())?;
        } else if runs.is_empty() {
            writeln!(app.err, "no runs")?;
        } else {
            let look = app.look();
            write!(app.out, "{}", render::run_list(&runs, &look))?;
        }
        Ok(Exit::Ok)
    }

    fn request(&self) -> Result<v1::ListRunsRequest, CliError> {
        let states = self.states.iter().map(|word| state(word)).collect::<Result<_, _>>()?;
        let label = |text: &String| pair(text, "--label").map(|label| (label.name, label.text));
        Ok(v1::ListRunsRequest {
            page_size: 0,
            page_token: String::new(),
            pipeline: self.pipeline.clone().unwrap_or_default(),
            states,
            labels: self.labels.iter().map(label).collect::<Result<_, _>>()?,
        })
    }
}

/// The number of a run's state by its word.
fn state(word: &str) -> Result<i32, CliError> {
    let found = RunState::ALL.iter().find(|state| state.word() == word);
    found.map(|state| state.code().into()).ok_or_else(|| {
        let words = RunState::ALL.iter().map(|state| state.word());
        reference::unknown(&format!("no state `{word}`"), word, words)
    })
}

#[cfg(test)]
mod tests {
    use super::state;
    use crate::error::CliError;

    #[test]
    fn states_are_words() {
        assert_eq!(state("failed").unwrap(), 5);
        let Err(CliError::Refused(problems)) = state("faild") else { panic!() };
        assert_eq!(problems[0].help, "did you mean `failed`?");
    }
}
