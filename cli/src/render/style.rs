use windlass_core::{RunState, StepState};

/// What a piece of text is, rather than how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tint {
    Plain,
    Faint,
    Strong,
    Good,
    Bad,
    Busy,
    Odd,
    Name,
}

/// Turns tints into colours, or leaves text alone.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) on: bool,
}

impl Paint {
    /// `text` in its colour. The text must be clean.
    pub(crate) fn paint(self, tint: Tint, text: &str) -> String {
        let code = match tint {
            Tint::Faint => "2",
            Tint::Strong => "1",
            Tint::Good => "32",
            Tint::Bad => "31",
            Tint::Busy => "36",
            Tint::Odd => "33",
            Tint::Name => "1;34",
            Tint::Plain => "",
        };
        if self.on && !code.is_empty() && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// How a run's state looks.
pub(crate) fn run_look(state: RunState) -> (&'static str, Tint) {
    match state {
        RunState::Queued => ("○", Tint::Faint),
        RunState::Running => ("▶", Tint::Busy),
        RunState::Cancelling => ("◌", Tint::Odd),
        RunState::Succeeded => ("✓", Tint::Good),
        RunState::Failed => ("✗", Tint::Bad),
        RunState::Cancelled => ("⊘", Tint::Odd),
    }
}

/// How a step's state looks.
pub(crate) fn step_look(state: StepState) -> (&'static str, Tint) {
    match state {
        StepState::Pending | StepState::Ready => ("○", Tint::Faint),
        StepState::Running => ("▶", Tint::Busy),
        StepState::BackingOff => ("↻", Tint::Odd),
        StepState::Succeeded => ("✓", Tint::Good),
        StepState::Reused => ("≡", Tint::Good),
        StepState::Failed => ("✗", Tint::Bad),
        StepState::Skipped => ("↷", Tint::Faint),
        StepState::UpstreamFailed => ("·", Tint::Faint),
        StepState::Cancelled => ("⊘", Tint::Odd),
    }
}
