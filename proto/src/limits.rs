//! What one attempt may leave behind. Workers hold to it, so that the daemon has nothing to refuse.

/// Most outputs of an attempt.
pub const MAX_OUTPUTS: usize = 1_000;

/// Most artifacts that a report names; the change set has all of them.
pub const MAX_ARTIFACTS: usize = 100_000;

/// Most calls of an attempt that are recorded.
pub const MAX_CALLS: usize = 1_000;

/// Most names of metrics, and most points, of an attempt.
pub const MAX_METRIC_NAMES: usize = 1_000;
pub const MAX_METRIC_POINTS: u64 = 1_000_000;

/// Longest name of an output or metric, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// True for what may be an output's codec: a word, as in `tar.gz`.
pub fn is_codec(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    text.len() <= MAX_NAME_BYTES && text.chars().all(word)
}

/// True for what may be the name of a metric: short, and without control characters.
pub fn is_metric_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control)
}

/// True for what may be the name of an output: a file name.
pub fn is_output_name(text: &str) -> bool {
    let special = matches!(text, "" | "." | "..");
    !special && text.len() <= MAX_NAME_BYTES && !text.contains(['/', '\0'])
}
