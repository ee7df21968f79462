use crate::{
    app::App,
    error::{CliError, Exit},
};

/// Print the version
#[derive(clap::Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(app: &mut App<'_>) -> Result<Exit, CliError> {
        let version = env!("CARGO_PKG_VERSION");
        if app.json {
            app.print_json(&serde_json::json!({ "version": version }))?;
        } else {
            writeln!(app.out, "windlass {version}")?;
        }
        Ok(Exit::Ok)
    }
}
