use std::path::PathBuf;

use windlass_proto::{api::v1, common::v1::Artifact};

use crate::{
    app::App,
    connect::Link,
    download::{self, Destination},
    error::{CliError, Exit},
    reference::{self, Reference},
    render::{self, Cell, Columns, Tint},
};

/// List and fetch the files that steps wrote
#[derive(clap::Args)]
pub(crate) struct Artifacts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List the files that a run, or one of its steps, wrote
    Ls {
        /// A run, or one of its steps
        #[arg(value_name = "RUN[/STEP]")]
        run: Reference,
    },
    /// Fetch a file; where several steps wrote it, the last one wins
    Get {
        /// A run, or one of its steps
        #[arg(value_name = "RUN[/STEP]")]
        run: Reference,
        /// The file's path as listed
        path: String,
        /// Write to this file instead of to stdout
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Artifacts {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let link = Link::open(app.config).await?;
        match self.verb {
            Verb::Ls { run } => list(app, &link, &run).await,
            Verb::Get { run, path, output } => {
                let found = reference::run(&link, &run.run).await?;
                let artifact = last_written(&reference::steps(&found, &run)?, &path)?;
                if render::artifact_kind(artifact) == "symlink" {
                    let target = download::text(&link, &artifact.digest).await?;
                    let target = render::clean(&target).into_owned();
                    return Err(CliError::refused(format!("{path} is a link to {target}")));
                }
                let to = Destination::of(app.config, output, &path, artifact.executable);
                download::blob(app, &link, &artifact.digest, to).await
            }
        }
    }
}

async fn list(app: &mut App<'_>, link: &Link, reference: &Reference) -> Result<Exit, CliError> {
    let run = reference::run(link, &reference.run).await?;
    let steps = reference::steps(&run, reference)?;
    if app.json {
        app.print_json(&render::artifact_entries(steps).into())?;
        return Ok(Exit::Ok);
    }
    let mut table = Columns::new(0, None);
    for step in steps {
        for artifact in &step.artifacts {
            let kind = render::artifact_kind(artifact);
            let size = u64::try_from(artifact.size_bytes).unwrap_or_default();
            let size = if kind == "file" { render::bytes(size) } else { kind.to_owned() };
            let path = Cell::plain(&artifact.path);
            table.push(vec![Cell::new(Tint::Faint, &step.step), Cell::plain(size).right(), path]);
        }
    }
    let text = table.render(app.paint(), usize::MAX);
    Ok(write!(app.out, "{text}").map(|()| Exit::Ok)?)
}

/// The file as the last of the steps wrote it.
fn last_written<'r>(steps: &[&'r v1::Step], path: &str) -> Result<&'r Artifact, CliError> {
    let there = |artifact: &&Artifact| render::artifact_kind(artifact) != "deleted";
    let all = || steps.iter().flat_map(|step| &step.artifacts).filter(there);
    all().rfind(|artifact| artifact.path == path).ok_or_else(|| {
        let shown = render::clean(path);
        let paths: Vec<_> = all().map(|artifact| artifact.path.as_str()).collect();
        reference::unknown(&format!("no artifact `{shown}`"), path, paths.into_iter())
    })
}

#[cfg(test)]
mod tests {
    use windlass_proto::{
        api::v1::Step,
        common::v1::{Artifact, artifact::Kind},
    };

    use super::last_written;

    fn step(name: &str, kind: Kind, digest: &str) -> Step {
        let digest = digest.to_owned();
        let file =
            Artifact { path: "m.pkl".into(), kind: kind.into(), digest, ..Default::default() };
        Step { step: name.into(), artifacts: vec![file], ..Default::default() }
    }

    #[test]
    fn the_last_step_that_wrote_a_file_wins() {
        let steps =
            [step("a", Kind::File, "1"), step("b", Kind::File, "2"), step("c", Kind::Deleted, "")];
        let all: Vec<_> = steps.iter().collect();
        assert_eq!(last_written(&all, "m.pkl").unwrap().digest, "2");
        assert_eq!(last_written(&all[..1], "m.pkl").unwrap().digest, "1");
        assert!(last_written(&all[2..], "m.pkl").is_err());
        assert!(last_written(&all, "other").is_err());
    }
}
