use std::{collections::HashMap, io, path::PathBuf};

use windlass_proto::api::v1::Substitutes;

use super::parameters::{pair, read_files};
use crate::{config::Config, error::CliError};

/// What stands in for steps.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Substitution {
    /// Do not execute the steps that this file names (`train: {outputs: {model: 1}}`,
    /// `{fail: message}`, `{sleep: 2s}`); YAML or JSON, may be given several times
    #[arg(long, value_name = "FILE")]
    mocks: Vec<PathBuf>,
    /// Execute nothing: steps that no --mocks names succeed at once, with nulls as outputs
    #[arg(long)]
    mock_all: bool,
    /// Call another function in a step's place
    #[arg(long = "patch", value_name = "STEP=MODULE:FUNCTION")]
    patches: Vec<String>,
}

impl Substitution {
    /// The substitutes, where there are any.
    pub(crate) fn read(&self, config: &Config) -> Result<Option<Substitutes>, CliError> {
        let mocks = read_files(&config.cwd, &self.mocks, "--mocks", &mut io::stdin())?;
        let mut patches = HashMap::new();
        for text in &self.patches {
            let patch = pair(text, "--patch").map_err(|_| shape(text))?;
            if !patch.text.split_once(':').is_some_and(|(m, f)| !m.is_empty() && !f.is_empty()) {
                return Err(shape(text));
            }
            if patches.insert(patch.name.clone(), patch.text).is_some() {
                return Err(CliError::refused(format!("--patch {}: given twice", patch.name)));
            }
        }
        let none = mocks.is_empty() && !self.mock_all && patches.is_empty();
        Ok((!none).then_some(Substitutes { mocks, mock_all: self.mock_all, patches }))
    }
}

fn shape(text: &str) -> CliError {
    CliError::refused(format!("--patch {text}: write --patch STEP=MODULE:FUNCTION"))
}
