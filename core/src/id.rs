use std::{fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// Names a run: a UUIDv7, so that ids sort by creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// Where a step stands in the plan of its run, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepIndex(pub u32);

/// Counts the tries of a step from 1 and fences the tries before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptNumber(pub u32);

/// Proves that a worker holds an attempt: 16 random bytes, new with every grant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub [u8; 16]);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Name of a worker, unique among the workers of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerName(pub Arc<str>);

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a step within its run: `train`, `train[3]`, `outer/train[3]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepPath(Arc<str>);

/// A text that is no step path.
#[derive(Debug, thiserror::Error)]
#[error("not a step path: {0:?}")]
pub struct InvalidStepPath(String);

/// Longest step name, and deepest nesting.
const MAX_NAME: usize = 64;
const MAX_DEPTH: usize = 8;

impl StepPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True where `name` may name a step: a letter or `_`, then letters, digits, `_` and `-`; at
    /// most 64 bytes of ASCII.
    pub fn is_name(name: &str) -> bool {
        name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    }

    fn is_segment(segment: &str) -> bool {
        match segment.split_once('[') {
            None => Self::is_name(segment),
            Some((name, rest)) => {
                let index = rest.strip_suffix(']').unwrap_or_default();
                let number = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
                Self::is_name(name) && number && index.len() <= 6
            }
        }
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StepPath {
    type Err = InvalidStepPath;

    fn from_str(text: &str) -> Result<Self, InvalidStepPath> {
        let good = text.split('/').count() <= MAX_DEPTH && text.split('/').all(Self::is_segment);
        if good {
            Ok(Self(text.into()))
        } else {
            Err(InvalidStepPath(text.chars().take(100).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StepPath;

    #[test]
    fn paths_of_steps() {
        for good in ["train", "train[3]", "outer/train[3]", "a-b_c", "_x", "all[3]/tune[1]"] {
            assert!(good.parse::<StepPath>().is_ok(), "{good}");
        }
        let deep = ["a"; 9].join("/");
        for bad in ["", "..", "a//b", "/a", "a/", "a[]", "a[-1]", "a[x]", "a b", "é", "9a", &deep]
        {
            assert!(bad.parse::<StepPath>().is_err(), "{bad}");
        }
    }
}
