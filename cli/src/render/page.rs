use std::collections::HashMap;

use windlass_core::RunState;
use windlass_proto::{api::v1, common::v1 as common};

use super::{Cell, Columns, ListStyle, Tint, calls, clean, json, style, timeline, words};

/// Most calls, files and parameters listed of one run; `--json` has all.
const MAX_LINES: usize = 40;

/// A run as a page to read; `values` are the texts of small outputs by digest.
pub(crate) fn page(run: &v1::Run, values: &HashMap<String, String>, look: &ListStyle) -> String {
    let mut page = Page { out: String::new(), look };
    page.header(run);
    page.parameters(run);
    page.steps(run);
    page.metrics(run);
    page.calls(run);
    page.outputs(run, values);
    page.files(run);
    page.out
}

struct Page<'a> {
    out: String,
    look: &'a ListStyle,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn table(&mut self, title: &str, table: &Columns) {
        let title = self.look.paint.paint(Tint::Strong, title);
        self.line(&format!("\n{title}"));
        let width = self.look.width.unwrap_or(usize::MAX);
        self.out.push_str(&table.render(self.look.paint, width));
    }

    fn header(&mut self, run: &v1::Run) {
        let state = words::run_state(run);
        let (symbol, tint) = style::run_look(state);
        let paint = self.look.paint;
        let time = timeline::run_time(run, self.look.now).map(words::duration);
        let time = match (time, state) {
            (None, _) => String::new(),
            (Some(time), RunState::Running | RunState::Cancelling) => format!(" for {time}"),
            (Some(time), _) => format!(" in {time}"),
        };
        let name = paint.paint(Tint::Name, &clean(&run.name));
        let state = paint.paint(tint, &format!("{symbol} {}", state.word()));
        self.line(&format!("{name}  {state}{time}"));
        let mut facts = Columns::new(2, Some(1));
        let mut fact = |name: &str, value: String| {
            if !value.is_empty() {
                facts.push(vec![Cell::new(Tint::Faint, name), Cell::plain(value)]);
            }
        };
        fact("why", run.reason.clone());
        fact("pipeline", pipeline(run));
        fact("run", run.run_id.clone());
        fact("started", self.started(run));
        fact("code", code(run));
        fact("python", interpreters(run));
        fact("from", parent(run));
        let mut labels: Vec<_> = run.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        labels.sort();
        fact("labels", labels.join("  "));
        fact("note", run.note.clone());
        if run.priority != 0 {
            fact("priority", run.priority.to_string());
        }
        if run.substituted {
            fact("mocked", "some steps were mocked or patched: no results to build on".into());
        }
        let width = self.look.width.unwrap_or(usize::MAX);
        self.out.push_str(&facts.render(paint, width));
    }

    fn started(&self, run: &v1::Run) -> String {
        let time = run.start_time.as_ref().or(run.create_time.as_ref());
        let Some(time) = time.and_then(words::instant) else { return String::new() };
        let ago = words::ago(time, self.look.now);
        format!("{}, {ago}, by {}@{}", words::local(time), run.user, run.host)
    }

    fn parameters(&mut self, run: &v1::Run) {
        if run.params.is_empty() {
            return;
        }
        let mut table = Columns::new(2, Some(1));
        for param in run.params.iter().take(MAX_LINES) {
            let source = json::source(param.source());
            let tint = if source == "cli" { Tint::Busy } else { Tint::Faint };
            let cells =
                vec![Cell::plain(&param.name), Cell::plain(&param.json), Cell::new(tint, source)];
            table.push(cells);
        }
        self.table("Parameters", &table);
        self.more(run.params.len());
    }

    fn steps(&mut self, run: &v1::Run) {
        if !run.steps.is_empty() {
            let title = self.look.paint.paint(Tint::Strong, "Steps");
            self.line(&format!("\n{title}"));
            self.out.push_str(&super::steps::steps(run, self.look));
        }
    }

    fn metrics(&mut self, run: &v1::Run) {
        if run.metrics.is_empty() {
            return;
        }
        let mut table = Columns::new(2, None);
        let mut metrics: Vec<_> = run.metrics.iter().collect();
        metrics.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in metrics.iter().take(MAX_LINES) {
            let value = Cell::new(Tint::Strong, words::number(**value));
            table.push(vec![Cell::plain(name), value]);
        }
        self.table("Metrics", &table);
        self.more(metrics.len());
    }

    fn calls(&mut self, run: &v1::Run) {
        let calls = run.steps.iter().flat_map(|step| step.calls.iter().map(move |c| (step, c)));
        let calls: Vec<_> = calls.collect();
        if calls.is_empty() {
            return;
        }
        let mut table = Columns::new(2, Some(1));
        let several = run.steps.len() > 1;
        let folded = calls::folded(&calls);
        for call in folded.iter().take(MAX_LINES) {
            table.push(vec![
                Cell::new(Tint::Faint, if several { call.step.step.as_str() } else { "" }),
                Cell::plain(&call.text),
                Cell::plain(words::duration(words::seconds(call.seconds))).right(),
                Cell::new(Tint::Bad, call.error),
            ]);
        }
        self.table("Calls", &table);
        self.more(folded.len());
    }

    fn outputs(&mut self, run: &v1::Run, values: &HashMap<String, String>) {
        let mut table = Columns::new(2, Some(3));
        let several = run.steps.len() > 1;
        let of_step = |step: &'_ v1::Step| step.outputs.len();
        let count = run.steps.iter().map(of_step).sum();
        let outputs = run.steps.iter().flat_map(|step| step.outputs.iter().map(move |o| (step, o)));
        for (step, output) in outputs.take(MAX_LINES) {
            let bytes = words::bytes(u64::try_from(output.size_bytes).unwrap_or_default());
            let value = values.get(&output.digest).map_or("", |text| text.trim());
            table.push(vec![
                Cell::new(Tint::Faint, if several { step.step.as_str() } else { "" }),
                Cell::plain(&output.name),
                Cell::new(Tint::Faint, &output.codec),
                Cell::new(Tint::Strong, value),
                Cell::plain(bytes).right(),
            ]);
        }
        if count > 0 {
            self.table("Outputs", &table);
            self.more(count);
        }
    }

    fn files(&mut self, run: &v1::Run) {
        let mut table = Columns::new(2, Some(1));
        let several = run.steps.len() > 1;
        let mut count = 0;
        for step in &run.steps {
            let name = if several { step.step.as_str() } else { "" };
            for artifact in &step.artifacts {
                count += 1;
                if count <= MAX_LINES {
                    table.push(file_row(name, artifact));
                }
            }
        }
        if count > 0 {
            self.table("Files", &table);
            self.more(count);
        }
    }

    fn more(&mut self, count: usize) {
        if count > MAX_LINES {
            let text = format!("  … and {} more, see --json", count - MAX_LINES);
            let text = self.look.paint.paint(Tint::Faint, &text);
            self.line(&text);
        }
    }
}

fn file_row(step: &str, artifact: &common::Artifact) -> Vec<Cell> {
    let kind = json::kind(artifact);
    let size = if kind == "file" { size(artifact) } else { kind.to_owned() };
    vec![Cell::new(Tint::Faint, step), Cell::plain(&artifact.path), Cell::plain(size).right()]
}

fn size(artifact: &common::Artifact) -> String {
    words::bytes(u64::try_from(artifact.size_bytes).unwrap_or_default())
}

fn pipeline(run: &v1::Run) -> String {
    if run.target.is_empty() || run.target == run.pipeline {
        run.pipeline.clone()
    } else {
        format!("{} ({})", run.pipeline, run.target)
    }
}

fn code(run: &v1::Run) -> String {
    let mut parts = Vec::new();
    if let Some(git) = run.git.as_ref().filter(|git| !git.commit.is_empty()) {
        let commit = git.commit.get(..10).unwrap_or(&git.commit);
        let on = if git.branch.is_empty() { String::new() } else { format!(" on {}", git.branch) };
        parts.push(format!("{commit}{on}{}", if git.dirty { ", with changes" } else { "" }));
    }
    if !run.snapshot.is_empty() {
        parts.push(format!("snapshot {}", run.snapshot.get(..12).unwrap_or(&run.snapshot)));
    }
    parts.join(" · ")
}

/// `3.11.7, 98 packages`, once for each environment.
fn interpreters(run: &v1::Run) -> String {
    let attempts = run.steps.iter().filter_map(|step| step.attempts.last());
    let mut texts: Vec<String> = Vec::new();
    for environment in attempts.filter_map(|attempt| attempt.environment.as_ref()) {
        let version = environment.python.rsplit(' ').next().unwrap_or_default();
        let packages = words::plural(environment.packages.len(), "package");
        let text = format!("{version}, {packages}");
        if !version.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(" · ")
}

fn parent(run: &v1::Run) -> String {
    if run.parent_run_id.is_empty() {
        String::new()
    } else {
        format!("{} of {}", run.kind, run.parent_run_id)
    }
}
