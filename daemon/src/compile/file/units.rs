use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// Longest time that a file may name: a year.
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most cores that a step may ask for.
const MAX_CORES: f64 = 4096.0;

/// A time as `500ms`, `2s`, `1.5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Span(
    #[schemars(with = "String", regex(pattern = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"))]
    pub(super)  Duration,
);

/// Thousandths of a core.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Cpu(#[schemars(with = "f64", range(min = 0.001))] pub(super) u32);

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Memory(
    #[schemars(with = "String", regex(pattern = r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B$"))]
    pub(super)  u64,
);

/// A time as files write it.
pub(in crate::compile) fn span(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    let span = Duration::try_from_secs_f64(seconds).ok()?;
    (!span.is_zero() && span <= MAX_SPAN).then_some(span)
}

fn cpu(cores: f64) -> Option<u32> {
    let millis = (cores * 1000.0).round();
    let good = (1.0..=MAX_CORES * 1000.0).contains(&millis);
    // Through text, since it is exact and needs no cast.
    if good { format!("{millis:.0}").parse().ok() } else { None }
}

fn memory(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: f64 = match unit {
        "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = (number * factor).round();
    if (1.0..=1e15).contains(&bytes) { format!("{bytes:.0}").parse().ok() } else { None }
}

/// A number and its unit, with or without a blank between them.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

struct Unit<T> {
    expected: &'static str,
    text: fn(&str) -> Option<T>,
    number: fn(f64) -> Option<T>,
}

impl<T> Visitor<'_> for Unit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let value = (self.text)(text);
        value.ok_or_else(|| E::custom(format_args!("expected {}, got {text:?}", self.expected)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let value = (self.number)(number);
        value.ok_or_else(|| E::custom(format_args!("expected {}, got {number}", self.expected)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let small = u32::try_from(number).map_or(f64::INFINITY, f64::from);
        let value = (self.number)(small);
        value.ok_or_else(|| E::custom(format_args!("expected {}, got {number}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a time up to a year like 500ms, 2s, 5m or 1h";
        deserializer.deserialize_any(Unit { expected, text: span, number: |_| None }).map(Self)
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a number of cores like 2 or 0.5";
        deserializer.deserialize_any(Unit { expected, text: |_| None, number: cpu }).map(Self)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an amount of memory like 512MiB or 4GiB";
        deserializer.deserialize_any(Unit { expected, text: memory, number: |_| None }).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{cpu, memory, span};

    #[test]
    fn units_are_read_and_odd_ones_refused() {
        assert_eq!(span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(span("1.5m"), Some(Duration::from_secs(90)));
        assert_eq!(span("1h"), Some(Duration::from_secs(3600)));
        for bad in ["", "5", "s", "5 parsecs", "-1s", "0s", "1e9s", "999999h", "1.2.3s"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        assert_eq!((cpu(2.0), cpu(0.5), cpu(0.0), cpu(1e9)), (Some(2000), Some(500), None, None));
        assert_eq!(memory("4GiB"), Some(4 << 30));
        assert_eq!(memory("1.5 KB"), Some(1500));
        for bad in ["4", "4G", "GiB", "-1MB", "0B", "99999999TB"] {
            assert_eq!(memory(bad), None, "{bad}");
        }
    }
}
