use std::{collections::HashMap, io::Write};

use prost_types::Timestamp;
use windlass_proto::common::v1::LogStream;

use super::{Model, Print, View, lines::Lines};
use crate::{
    app::App,
    config::Surface,
    error::CliError,
    render::{self, Paint, Tint},
};

/// Shows nothing but notes.
pub(crate) struct Quiet<'a> {
    pub(crate) err: &'a mut dyn Write,
}

impl View for Quiet<'_> {
    fn printed(&mut self, _: &Model, _: usize, _: Print<'_>) -> Result<(), CliError> {
        Ok(())
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        note(self.err, text)
    }

    fn ask(&mut self, question: Option<&str>) -> Result<(), CliError> {
        question.map_or(Ok(()), |question| note(self.err, question))
    }
}

/// Lines as they come, each with its step where there are several.
pub(crate) struct Plain<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    surfaces: [Surface; 2],
    /// Prefixes even the lines of a single step.
    always: bool,
    /// Begins each line with the time of its block.
    times: bool,
    lines: HashMap<(usize, bool), (Lines, Option<Timestamp>)>,
}

impl<'a> Plain<'a> {
    /// As `run` shows it: a single step's bytes are passed on as they are.
    pub(crate) fn of_run(app: &'a mut App<'_>) -> Self {
        let surfaces = [app.config.stdout, app.config.stderr];
        Self {
            out: app.out,
            err: app.err,
            surfaces,
            always: false,
            times: false,
            lines: HashMap::new(),
        }
    }

    /// As `logs` shows a whole run.
    pub(crate) fn of_logs(app: &'a mut App<'_>, times: bool) -> Self {
        Self { always: true, times, ..Self::of_run(app) }
    }

    fn line(
        &mut self,
        model: &Model,
        (step, stderr): (usize, bool),
        time: Option<&Timestamp>,
        line: &[u8],
    ) -> Result<(), CliError> {
        let surface = self.surfaces[usize::from(stderr)];
        let paint = Paint { on: surface.colour };
        let name = paint.paint(Tint::Busy, model.name(step));
        let out = if stderr { &mut *self.err } else { &mut *self.out };
        if self.times {
            let time = render::time_text(time).unwrap_or_else(|| "-".into());
            write!(out, "{} ", paint.paint(Tint::Faint, &time))?;
        }
        if surface.terminal {
            writeln!(out, "{name} | {}", render::log_line(line))?;
        } else {
            write!(out, "{name} | ")?;
            out.write_all(line)?;
            if !line.ends_with(b"\n") {
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

impl View for Plain<'_> {
    fn printed(&mut self, model: &Model, step: usize, print: Print<'_>) -> Result<(), CliError> {
        let stderr = print.stream != LogStream::Stdout;
        if self.always || model.run.steps.len() > 1 {
            let at = (step, stderr);
            let (mut lines, begun) = self.lines.remove(&at).unwrap_or_default();
            // A line is of the block that it began in.
            let mut time = begun.filter(|_| !lines.partial().is_empty()).or(print.time);
            lines.feed(print.data, |line| {
                self.line(model, at, time.as_ref(), line)?;
                time = print.time;
                Ok::<_, CliError>(())
            })?;
            self.lines.insert(at, (lines, time));
        } else {
            let out = if stderr { &mut *self.err } else { &mut *self.out };
            out.write_all(print.data)?;
        }
        self.out.flush()?;
        Ok(self.err.flush()?)
    }

    fn silent(&mut self, model: &Model, step: usize) -> Result<(), CliError> {
        for stderr in [false, true] {
            if let Some((mut lines, time)) = self.lines.remove(&(step, stderr))
                && let Some(rest) = lines.finish()
            {
                self.line(model, (step, stderr), time.as_ref(), &rest)?;
            }
        }
        self.out.flush()?;
        Ok(self.err.flush()?)
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        note(self.err, text)
    }

    fn ask(&mut self, question: Option<&str>) -> Result<(), CliError> {
        question.map_or(Ok(()), |question| note(self.err, question))
    }
}

fn note(err: &mut dyn Write, text: &str) -> Result<(), CliError> {
    writeln!(err, "windlass: {}", render::clean(text))?;
    Ok(err.flush()?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use windlass_proto::{api::v1, common::v1::LogStream};

    use super::{Model, Plain, Print, View};
    use crate::config::Surface;

    fn told(steps: &[&str], always: bool, prints: &[(usize, LogStream, &str)]) -> (String, String) {
        let step = |name: &&str| v1::Step { step: (*name).into(), ..Default::default() };
        let model =
            Model::new(v1::Run { steps: steps.iter().map(step).collect(), ..Default::default() });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let surfaces = [Surface::PLAIN, Surface::PLAIN];
        let lines = HashMap::new();
        let mut view =
            Plain { out: &mut out, err: &mut err, surfaces, always, times: false, lines };
        for &(step, stream, data) in prints {
            view.printed(&model, step, Print { stream, data: data.as_bytes(), time: at(0) })
                .unwrap();
        }
        for step in 0..steps.len() {
            view.silent(&model, step).unwrap();
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn a_line_has_the_time_of_the_block_in_which_it_began() {
        let steps = vec![v1::Step { step: "a".into(), ..Default::default() }];
        let model = Model::new(v1::Run { steps, ..Default::default() });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let surfaces = [Surface::PLAIN, Surface::PLAIN];
        let lines = HashMap::new();
        let (out_, err_) = (&mut out, &mut err);
        let mut view = Plain { out: out_, err: err_, surfaces, always: true, times: true, lines };
        for (seconds, data) in [(1, "one\ntw"), (2, "o\nthree\n"), (3, "four")] {
            let print =
                Print { stream: LogStream::Stdout, data: data.as_bytes(), time: at(seconds) };
            view.printed(&model, 0, print).unwrap();
        }
        view.silent(&model, 0).unwrap();
        let expected = [(1, "one"), (1, "two"), (2, "three"), (3, "four")]
            .map(|(s, line)| format!("1970-01-01T00:00:0{s}.000000Z a | {line}\n"))
            .concat();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_single_step_is_told_byte_for_byte() {
        let prints = [(0, LogStream::Stdout, "a\r\nb"), (0, LogStream::Stderr, "oops")];
        assert_eq!(told(&["a"], false, &prints), ("a\r\nb".into(), "oops".into()));
        assert_eq!(told(&["a"], true, &prints), ("a | a\r\na | b\n".into(), "a | oops\n".into()));
    }

    #[test]
    fn lines_of_several_steps_never_mix() {
        let prints = [
            (0, LogStream::Stdout, "half"),
            (1, LogStream::Stdout, "whole\n"),
            (0, LogStream::Stdout, " line\nrest"),
            (1, LogStream::System, "building\n"),
        ];
        let expected = "b | whole\na | half line\na | rest\n";
        assert_eq!(told(&["a", "b"], false, &prints), (expected.into(), "b | building\n".into()));
    }
}
