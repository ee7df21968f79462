use std::io::Write;

use serde_json::json;
use windlass_proto::{
    api::v1,
    common::v1::{AttemptRef, LogStream},
};

use crate::{
    app::App,
    connect::Link,
    error::{CliError, Exit},
    follow::{Item, Model, Plain, Print, Pursuit, Tail, View, Wanted, Which},
    reference::{self, Reference},
    render,
};

/// Print what a step, or every step of a run, has printed
///
/// A step's bytes are printed exactly, its stdout to stdout and its stderr to stderr. The lines of
/// a whole run begin with their step.
#[derive(clap::Args)]
pub(crate) struct Logs {
    /// A run, or one of its steps
    #[arg(value_name = "RUN[/STEP]")]
    run: Reference,
    /// Go on until the step or run has ended
    #[arg(long, short)]
    follow: bool,
    /// Another attempt than the last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Begin each line with the time of the block that it came in
    #[arg(long)]
    times: bool,
}

impl Logs {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        if self.attempt.is_some() && self.run.step.is_none() {
            return Err(CliError::refused("--attempt needs a step: write RUN/STEP"));
        }
        let link = Link::open(app.config).await?;
        let run = reference::run(&link, &self.run.run).await?;
        let json = app.json;
        let mut view: Box<dyn View + '_> = match self.run.step {
            _ if json => Box::new(JsonLines { out: app.out, err: app.err }),
            Some(_) if !self.times => Box::new(Exact { out: app.out, err: app.err }),
            _ => Box::new(Plain::of_logs(app, self.times)),
        };
        match (&self.run.step, self.attempt) {
            (Some(name), attempt) => {
                let step = reference::step(&run, name)?.clone();
                if attempt.is_none() && self.follow {
                    return pursue(&link, run, Which::Step(step.step), &mut *view).await;
                }
                let attempt = chosen(&step, attempt)?;
                let only = v1::Run { steps: vec![step], ..run };
                if attempt > 0 {
                    print(&link, &Model::new(only), 0, (attempt, self.follow), &mut *view).await?;
                }
            }
            (None, _) if self.follow => return pursue(&link, run, Which::Latest, &mut *view).await,
            (None, _) => {
                let model = Model::new(run);
                for at in 0..model.run.steps.len() {
                    let attempt = chosen(&model.run.steps[at], None)?;
                    if attempt > 0 {
                        print(&link, &model, at, (attempt, false), &mut *view).await?;
                    }
                }
            }
        }
        Ok(Exit::Ok)
    }
}

/// The attempt of that number, or the last; 0 where none has begun.
fn chosen(step: &v1::Step, wanted: Option<u32>) -> Result<u32, CliError> {
    let last = step.attempts.last().map_or(0, |attempt| attempt.attempt);
    match wanted {
        Some(number) if !step.attempts.iter().any(|attempt| attempt.attempt == number) => {
            let there = render::plural(step.attempts.len(), "attempt");
            Err(CliError::refused(format!("{} has no attempt {number}, it has {there}", step.step)))
        }
        wanted => Ok(wanted.unwrap_or(last)),
    }
}

async fn pursue(
    link: &Link,
    run: v1::Run,
    which: Which,
    view: &mut dyn View,
) -> Result<Exit, CliError> {
    // The watch tells every step anew.
    let mut pursuit = Pursuit::begin(link, v1::Run { steps: Vec::new(), ..run }, which);
    while !pursuit.advance(view).await? {}
    Ok(Exit::Ok)
}

/// Prints the log of one attempt (its number, and whether to wait for its end).
async fn print(
    link: &Link,
    model: &Model,
    at: usize,
    (attempt, follow): (u32, bool),
    view: &mut dyn View,
) -> Result<(), CliError> {
    let step = model.name(at).to_owned();
    let wanted = Wanted {
        attempt: AttemptRef { run_id: model.run.run_id.clone(), step, attempt },
        stream: LogStream::Unspecified,
        follow,
        revive: true,
    };
    let mut tail = Tail::open(link, wanted);
    while let Some(item) = tail.next().await {
        match item? {
            Item::Chunk { stream, data, time } => {
                view.printed(model, at, Print { stream, data: &data, time })?
            }
            Item::Gap { length, reason, .. } => {
                view.note(&format!("{length} bytes are lost: {reason}"))?;
            }
        }
    }
    view.silent(model, at)
}

/// The bytes of one step as they are.
struct Exact<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl View for Exact<'_> {
    fn printed(&mut self, _: &Model, _: usize, print: Print<'_>) -> Result<(), CliError> {
        let out = match print.stream {
            LogStream::Stderr => &mut *self.err,
            LogStream::Stdout => &mut *self.out,
            // Ours, not the step's.
            LogStream::System | LogStream::Unspecified => return Ok(()),
        };
        out.write_all(print.data)?;
        Ok(out.flush()?)
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.err, "windlass: {}", render::clean(text))?)
    }

    fn ask(&mut self, _: Option<&str>) -> Result<(), CliError> {
        Ok(())
    }
}

/// One JSON object for each piece of a log, in the order in which they came.
struct JsonLines<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl View for JsonLines<'_> {
    fn printed(&mut self, model: &Model, step: usize, print: Print<'_>) -> Result<(), CliError> {
        let stream = print.stream.as_str_name().trim_start_matches("LOG_STREAM_").to_lowercase();
        let text = String::from_utf8_lossy(print.data);
        let time = render::time_text(print.time.as_ref());
        let piece =
            json!({ "step": model.name(step), "stream": stream, "time": time, "text": text });
        writeln!(self.out, "{piece}")?;
        Ok(self.out.flush()?)
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.err, "windlass: {}", render::clean(text))?)
    }

    fn ask(&mut self, _: Option<&str>) -> Result<(), CliError> {
        Ok(())
    }
}
