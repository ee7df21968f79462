use windlass_proto::api::v1;

use crate::{
    app::App,
    connect::{Link, answer},
    error::{CliError, Exit},
};

/// Print the JSON Schema of the pipeline file, for editors
#[derive(clap::Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        let request = v1::GetPipelineSchemaRequest {};
        let schema = answer(link.runs().get_pipeline_schema(request)).await?.json_schema;
        writeln!(app.out, "{}", schema.trim_end())?;
        Ok(Exit::Ok)
    }
}
