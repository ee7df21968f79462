use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::answer,
    error::{CliError, Exit},
    project::Project,
    render,
    secrets::{self, take_parameters},
    settings::Settings,
    submission::{Parameters, Substitution, upload},
};

/// Show what would run, with which values, and run nothing
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  windlass plan churn.yaml -p seed=7
  windlass plan churn.yaml --mocks mocks.yaml --json
  windlass plan churn.yaml --format dot | dot -Tsvg > churn.svg
  windlass plan churn.yaml --format mermaid")]
pub(crate) struct Plan {
    /// FILE.yaml, FILE.ipynb, MODULE:FUNCTION or FILE.py:FUNCTION
    pub(crate) target: String,
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    substitution: Substitution,
    /// How to show it: text to read, or the graph for Mermaid or Graphviz
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "json")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Mermaid,
    Dot,
}

impl Plan {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        let settings = Settings::load(app.config, &project.root)?;
        let mut params = self.parameters.read(app.config)?;
        let substitutes = self.substitution.read(app.config)?;
        let (taken, link) = upload(app.config, &project, &settings).await?;
        if let Some(asked) = secrets::asked(&link, &project, &taken.source).await? {
            // A plan needs no secret, and must not show one.
            let mut wrong = Vec::new();
            take_parameters(&asked, &mut params, &mut wrong);
            if !wrong.is_empty() {
                return Err(CliError::Refused(wrong));
            }
        }
        let request =
            v1::PlanRunRequest { source: Some(taken.source), params: Some(params), substitutes };
        let plan = answer(link.runs().plan_run(request)).await?.plan.unwrap_or_default();
        if app.json {
            app.print_json(&render::plan_json(&plan))?;
            return Ok(Exit::Ok);
        }
        let text = match self.format {
            Format::Text => render::plan_text(&plan, &app.look()),
            Format::Mermaid => render::plan_mermaid(&plan),
            Format::Dot => render::plan_dot(&plan),
        };
        write!(app.out, "{text}")?;
        Ok(Exit::Ok)
    }
}
