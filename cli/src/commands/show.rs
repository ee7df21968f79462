use crate::{
    app::App,
    connect::Link,
    error::{CliError, Exit},
    reference::{self, Reference},
    render,
};

/// Show what is recorded of a run: code, parameters, steps, metrics, calls, files
#[derive(clap::Args)]
pub(crate) struct Show {
    /// Id, unique prefix or name of a run, `@last`, `@last-ok` or `@-2`; `RUN/STEP` for one step
    #[arg(default_value = "@last", value_name = "RUN[/STEP]")]
    run: Reference,
}

impl Show {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let mut run = reference::run(&link, &self.run.run).await?;
        if let Some(name) = &self.run.step {
            let only = reference::step(&run, name)?.clone();
            run.steps = vec![only];
        }
        if app.json {
            app.print_json(&render::run_json(&run, true))?;
        } else {
            let look = app.look();
            write!(app.out, "{}", render::page(&run, &look))?;
        }
        Ok(Exit::Ok)
    }
}
