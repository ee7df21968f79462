use std::{fs::OpenOptions, io::Write, path::PathBuf};

use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::answer,
    error::{CliError, Exit},
    project::Project,
    reference, render,
    settings::Settings,
    starter,
    submission::upload,
};

/// Write a commented pipeline file from the functions of a module, to start from
#[derive(clap::Args)]
#[command(after_help = "Examples:
  windlass init functions                  # every function, in the order of the module
  windlass init src/train.py:load,train    # these two
  windlass init functions -o churn.yaml")]
pub(crate) struct Init {
    /// MODULE or FILE.py, with `:FUNCTION,…` for some of its functions
    #[arg(value_name = "MODULE[:FUNCTION,…]")]
    module: String,
    /// File to write
    #[arg(long, short, value_name = "FILE", default_value = "pipeline.yaml")]
    output: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let path = app.config.cwd.join(&self.output);
        let shown = self.output.display().to_string();
        if path.exists() && !self.force {
            let help = "write it elsewhere with -o FILE, or over it with --force";
            return Err(CliError::refused_with(format!("{shown} is there already"), help));
        }
        let (module, wanted) = match self.module.rsplit_once(':') {
            Some((module, names)) => (module, names.split(',').map(str::trim).collect()),
            None => (self.module.as_str(), Vec::new()),
        };
        let (module, functions) = functions(app, module).await?;
        let chosen = chosen(functions, &module, &wanted)?;
        let text = starter::text(&module, &self.output, &chosen);
        write(&path, &text, self.force).map_err(CliError::io(format!("cannot write {shown}")))?;
        let count = render::plural(chosen.len(), "step");
        let file = render::clean(&shown);
        if app.json {
            let steps: Vec<_> = chosen.iter().map(|function| function.name.as_str()).collect();
            app.print_json(&serde_json::json!({ "path": shown, "steps": steps }))?;
        } else {
            writeln!(app.out, "{file}: {count}")?;
            writeln!(app.err, "look at it, then: windlass check {file}   windlass run {file}")?;
        }
        Ok(Exit::Ok)
    }
}

/// The module as the pipeline names it, and its functions.
async fn functions(
    app: &App<'_>,
    module: &str,
) -> Result<(String, Vec<v1::FunctionInfo>), CliError> {
    // A module is found like a function in it.
    let project = Project::of_target(app.config, &format!("{module}:f"))?;
    let v1::run_source::Target::Function(target) = &project.target else {
        return Err(CliError::refused(format!("{module} is no Python module")));
    };
    let module = target.trim_end_matches(":f").to_owned();
    let settings = Settings::load(app.config, &project.root)?;
    let (taken, link) = upload(app.config, &project, &settings).await?;
    let request =
        v1::DescribePipelineRequest { source: Some(taken.source), module: module.clone() };
    let found = answer(link.runs().describe_pipeline(request)).await?;
    Ok((module, found.functions))
}

fn chosen(
    functions: Vec<v1::FunctionInfo>,
    module: &str,
    wanted: &[&str],
) -> Result<Vec<v1::FunctionInfo>, CliError> {
    let chosen = if wanted.is_empty() {
        functions
    } else {
        let of = |name: &&str| {
            let found = functions.iter().find(|function| function.name == *name).cloned();
            found.ok_or_else(|| {
                let names = functions.iter().map(|function| function.name.as_str());
                reference::unknown(&format!("{module} has no function `{name}`"), name, names)
            })
        };
        wanted.iter().map(of).collect::<Result<_, _>>()?
    };
    let chosen: Vec<_> = chosen.into_iter().filter(starter::can_be_step).collect();
    if chosen.is_empty() {
        let help = "functions whose names begin with `_`, and methods, are left out";
        return Err(CliError::refused_with(format!("{module} defines no functions"), help));
    }
    Ok(chosen)
}

fn write(path: &std::path::Path, text: &str, force: bool) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).create(force).create_new(!force);
    options.open(path)?.write_all(text.as_bytes())
}
