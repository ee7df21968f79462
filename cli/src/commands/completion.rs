use clap_complete::env::Shells;

use crate::{
    app::App,
    complete,
    error::{CliError, Exit},
    reference,
};

/// Print the shell's completion script: `source <(windlass completion bash)`
#[derive(clap::Args)]
pub(crate) struct Completion {
    /// bash, zsh, fish, elvish or powershell
    shell: String,
}

impl Completion {
    pub(crate) fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell).ok_or_else(|| {
            let message = format!("no completion for the shell `{}`", self.shell);
            let names: Vec<_> = shells.names().collect();
            reference::unknown(&message, &self.shell, names.into_iter())
        })?;
        let exe = app.config.exe.to_string_lossy();
        shell.write_registration(complete::VARIABLE, "windlass", "windlass", &exe, &mut app.out)?;
        Ok(Exit::Ok)
    }
}
