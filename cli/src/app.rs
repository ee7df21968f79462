use std::io::Write;

use serde_json::Value;

use crate::{
    config::{Config, Surface},
    error::CliError,
    render::{ListStyle, Paint},
};

/// What a command works with: what it was started with, and the two places to write to.
pub(crate) struct App<'a> {
    pub(crate) config: &'a Config,
    /// Data.
    pub(crate) out: &'a mut dyn Write,
    /// Everything else.
    pub(crate) err: &'a mut dyn Write,
    /// Answers are for scripts.
    pub(crate) json: bool,
}

impl App<'_> {
    /// Writes an answer for scripts, indented where a person looks.
    pub(crate) fn print_json(&mut self, value: &Value) -> Result<(), CliError> {
        let text = if self.config.stdout.terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(std::io::Error::other)?;
        Ok(writeln!(self.out, "{text}")?)
    }

    /// How pages on stdout look.
    pub(crate) fn look(&self) -> ListStyle {
        let Surface { terminal, width, .. } = self.config.stdout;
        let width = terminal.then_some(width);
        ListStyle { paint: self.paint(), width, now: self.config.now }
    }

    /// Colours of stdout.
    pub(crate) fn paint(&self) -> Paint {
        Paint { on: self.config.stdout.colour }
    }

    /// Colours of stderr.
    pub(crate) fn err_paint(&self) -> Paint {
        Paint { on: self.config.stderr.colour }
    }
}
