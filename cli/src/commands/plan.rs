use serde_json::Value;
use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::answer,
    error::{CliError, Exit},
    project::Project,
    render::{self, Cell, Columns, Tint},
    settings::Settings,
    submission::{Parameters, upload},
};

/// Show what would run, with which values, and run nothing
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// FILE.yaml, MODULE:FUNCTION or FILE.py:FUNCTION
    target: String,
    #[command(flatten)]
    parameters: Parameters,
}

impl Plan {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let project = Project::of_target(app.config, &self.target)?;
        let settings = Settings::load(app.config, &project.root)?;
        let params = self.parameters.read(app.config)?;
        let (taken, link) = upload(app.config, &project, &settings).await?;
        let request = v1::PlanRunRequest {
            source: Some(taken.source),
            params: Some(params),
            substitutes: None,
        };
        let plan = answer(link.runs().plan_run(request)).await?.plan.unwrap_or_default();
        let plan = render::plan(&plan);
        if app.json {
            app.print_json(&plan)?;
        } else {
            let width = app.look().width.unwrap_or(usize::MAX);
            write!(app.out, "{}", table(&plan).render(app.paint(), width))?;
        }
        Ok(Exit::Ok)
    }
}

/// The plan as a table, made from what scripts get.
fn table(plan: &Value) -> Columns {
    let mut table = Columns::new(0, Some(2));
    let heads = ["STEP", "AFTER", "ARGUMENT", "SOURCE"];
    table.push(heads.iter().map(|head| Cell::new(Tint::Faint, head)).collect());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for step in plan["steps"].as_array().into_iter().flatten() {
        let needs: Vec<_> = step["needs"].as_array().into_iter().flatten().map(text).collect();
        let first = [Cell::new(Tint::Name, text(&step["step"])), Cell::plain(needs.join(", "))];
        let mut args = step["args"].as_object().into_iter().flatten();
        let mut row = Vec::from(first);
        row.extend(args.next().map(arg).into_iter().flatten());
        table.push(row);
        for entry in args {
            let mut row = vec![Cell::plain(""), Cell::plain("")];
            row.extend(arg(entry));
            table.push(row);
        }
    }
    table
}

fn arg((name, entry): (&String, &Value)) -> [Cell; 2] {
    let value = match entry["from"].as_object() {
        Some(from) => {
            let part = |key: &str| from.get(key).and_then(Value::as_str).unwrap_or_default();
            format!("{} of {}", part("output"), part("step"))
        }
        None => entry["value"].to_string(),
    };
    let source = entry["source"].as_str().unwrap_or_default();
    [Cell::plain(format!("{name} = {value}")), Cell::new(Tint::Faint, source)]
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::render::Paint;
    use serde_json::json;

    #[test]
    fn a_plan_is_a_table() {
        let plan = json!({"steps": [
            {"step": "load", "needs": [], "args": {}},
            {"step": "train", "needs": ["load"], "args": {
                "rows": {"value": null, "source": "output", "from": {"step": "load", "output": "rows"}},
                "n": {"value": 4, "source": "pipeline"},
            }},
        ]});
        let expected = "\
STEP   AFTER  ARGUMENT             SOURCE
load
train  load   rows = rows of load  output
              n = 4                pipeline
";
        assert_eq!(table(&plan).render(Paint { on: false }, 80), expected);
    }
}
