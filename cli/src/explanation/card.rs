use windlass_core::RunState;
use windlass_proto::common::v1::EndReason;

use super::{Explanation, Failure};
use crate::render::{self, Cell, Columns, ListStyle, Tint, clean};

/// Longest line of a log on the card, in columns.
const MAX_LINE: usize = 160;

impl Explanation {
    /// One screen to read.
    pub(crate) fn card(&self, look: &ListStyle) -> String {
        let paint = look.paint;
        let state = render::run_state(&self.run);
        let (symbol, tint) = render::run_look(state);
        let name = paint.paint(Tint::Name, &clean(&self.run.name));
        let mut out =
            format!("{name}  {}", paint.paint(tint, &format!("{symbol} {}", state.word())));
        if !self.run.reason.trim().is_empty() {
            out += &format!("  {}", clean(self.run.reason.trim()));
        }
        out.push('\n');
        for failure in &self.failures {
            out += &self.failure(failure, look);
        }
        if self.more_failed > 0 {
            let more = render::plural(self.more_failed, "more failed step");
            out += &format!("\n… and {more}: windlass show {}\n", clean(&self.run.name));
        }
        out += &self.waits(look);
        if self.failures.is_empty() && self.waiting.is_empty() && self.run.reason.is_empty() {
            out += match state {
                RunState::Succeeded => "\nNothing failed.\n",
                RunState::Queued | RunState::Running | RunState::Cancelling => {
                    "\nNothing has failed, and nothing waits.\n"
                }
                RunState::Failed | RunState::Cancelled => "",
            };
        }
        out += &format!("\n{}\n", paint.paint(Tint::Strong, "What helps next"));
        for command in &self.next {
            out += &format!("  {}\n", clean(command));
        }
        out
    }

    fn failure(&self, failure: &Failure, look: &ListStyle) -> String {
        let paint = look.paint;
        let step = &failure.step;
        let attempt = step.attempts.last();
        let number = attempt.map_or(0, |attempt| attempt.attempt);
        let tries = if number > 1 { format!(", attempt {number}") } else { String::new() };
        let title = format!("✗ {}{tries}", clean(&step.step));
        let mut out = format!("\n{}\n", paint.paint(Tint::Bad, &title));
        for line in render::why(step).lines() {
            out += &format!("  {}\n", clean(line));
        }
        let end = attempt.and_then(|attempt| attempt.end.as_ref());
        if let Some(end) = end.filter(|end| end.reason() == EndReason::Oom) {
            let peak = end.usage.as_ref().map(|usage| render::bytes(usage.peak_memory_bytes));
            let limit = self.memory_limit(step).map(render::bytes);
            let limit = limit.map_or_else(String::new, |limit| format!(" of {limit} allowed"));
            out +=
                &format!("  used {}{limit}\n", peak.unwrap_or_else(|| "an unknown amount".into()));
        }
        if !failure.lines.is_empty() {
            out += &format!("  {}\n", paint.paint(Tint::Faint, "its last lines:"));
        }
        for line in &failure.lines {
            let width = look.width.unwrap_or(MAX_LINE).saturating_sub(4);
            let bar = paint.paint(Tint::Faint, "│");
            out += &format!("  {bar} {}\n", render::shorten(line, width));
        }
        out
    }

    fn waits(&self, look: &ListStyle) -> String {
        if self.waiting.is_empty() {
            return String::new();
        }
        let mut table = Columns::new(2, Some(2));
        for waiting in &self.waiting {
            let (symbol, tint) = render::step_look(waiting.state);
            table.push(vec![
                Cell::new(tint, symbol),
                Cell::plain(&waiting.step),
                Cell::plain(&waiting.why),
            ]);
        }
        let mut out = format!("\n{}\n", look.paint.paint(Tint::Strong, "What waits"));
        out += &table.render(look.paint, look.width.unwrap_or(usize::MAX));
        if self.more_waiting > 0 {
            out += &format!("  … and {}\n", render::plural(self.more_waiting, "more step"));
        }
        out
    }
}
