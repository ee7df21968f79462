use crate::{
    app::App,
    connect::Link,
    error::{CliError, Exit},
    explanation::Explanation,
    reference,
};

/// Tell why a run failed or waits, and what to do next
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// Id, unique prefix or name of a run, `@last`, `@last-ok` or `@-2`
    #[arg(default_value = "@last")]
    run: String,
}

impl Explain {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let run = reference::run(&link, &self.run).await?;
        let explanation = Explanation::of(&link, run).await?;
        if app.json {
            app.print_json(&explanation.json())?;
        } else {
            let look = app.look();
            write!(app.out, "{}", explanation.card(&look))?;
        }
        Ok(Exit::Ok)
    }
}
