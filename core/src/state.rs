/// Microseconds since the Unix epoch, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

macro_rules! states {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $code:literal $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($variant = $code,)* }

        impl $name {
            /// Every state, in the order of the lists people read.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word that users see.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The number that stands for it in the database and in the API.
            pub fn code(self) -> u8 {
                self as u8
            }

            /// The state of that number.
            pub fn from_code(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

states! {
    /// Where a run stands. The numbers are those of `windlass.api.v1.Run.State`.
    RunState:
    Queued = 1 "queued",
    Running = 2 "running",
    Cancelling = 3 "cancelling",
    Succeeded = 4 "succeeded",
    Failed = 5 "failed",
    Cancelled = 6 "cancelled",
}

states! {
    /// Where a step stands. The numbers are those of `windlass.api.v1.Step.State`.
    StepState:
    Pending = 1 "pending",
    Ready = 2 "ready",
    Running = 3 "running",
    BackingOff = 4 "backing_off",
    Succeeded = 5 "succeeded",
    Reused = 6 "reused",
    Failed = 7 "failed",
    Skipped = 8 "skipped",
    UpstreamFailed = 9 "upstream_failed",
    Cancelled = 10 "cancelled",
}

states! {
    /// Where an attempt stands. The numbers are those of `windlass.common.v1.AttemptState`.
    AttemptState:
    Leased = 1 "leased",
    Running = 2 "running",
    Succeeded = 3 "succeeded",
    Failed = 4 "failed",
    TimedOut = 5 "timed_out",
    Oom = 6 "oom",
    Lost = 7 "lost",
    Cancelled = 8 "cancelled",
}

impl RunState {
    /// True where nothing will change any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl StepState {
    /// True where nothing will change any more.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Ready | Self::Running | Self::BackingOff)
    }
}

impl AttemptState {
    /// True where nothing will change any more.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Leased | Self::Running)
    }
}
