//! What a worker has to offer.

use std::{collections::BTreeMap, fs, path::Path};

/// Thousandths of a core.
const MILLIS: i64 = 1_000;

/// Files that say how much memory this process may take: cgroup v2, then v1.
const MEMORY_LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Where the driver of NVIDIA's devices lists them.
const GPUS: &str = "/proc/driver/nvidia/gpus";

/// Amounts by name: a slot and a core for each of `slots`, the machine's memory, its GPUs, and what
/// else it was told to offer, which wins.
pub(crate) fn offered(slots: u32, named: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let slots = i64::from(slots);
    let mut offered = BTreeMap::from([
        ("slots".to_owned(), slots),
        ("cpu".to_owned(), slots * MILLIS),
        ("gpu".to_owned(), gpus(Path::new(GPUS))),
    ]);
    if let Some(bytes) = memory() {
        offered.insert("memory".to_owned(), bytes);
    }
    offered.extend(named.iter().map(|(name, amount)| (name.clone(), *amount)));
    offered
}

/// Reads `NAME=AMOUNT`, as a worker is told what else it offers.
pub fn parse_offer(text: &str) -> Result<(String, i64), String> {
    let bad = || format!("`{text}` is no offer: write NAME=AMOUNT, for instance licence=2");
    let (name, amount) = text.split_once('=').ok_or_else(bad)?;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let amount: i64 = amount.parse().map_err(|_| bad())?;
    if name.is_empty() || !name.chars().all(word) || amount < 0 {
        return Err(bad());
    }
    Ok((name.to_owned(), amount))
}

fn memory() -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let all = line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)?;
    let limits = MEMORY_LIMITS.iter().filter_map(|path| fs::read_to_string(path).ok());
    let limits = limits.filter_map(|text| text.trim().parse::<i64>().ok());
    limits.chain([all]).min()
}

fn gpus(list: &Path) -> i64 {
    let count = fs::read_dir(list).map_or(0, |devices| devices.flatten().count());
    i64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_offered_and_what_was_told_wins() {
        let named = BTreeMap::from([("gpu".to_owned(), 4), ("licence".to_owned(), 1)]);
        let offered = offered(3, &named);
        let amount = |name: &str| offered.get(name).copied();
        assert_eq!((amount("slots"), amount("cpu")), (Some(3), Some(3_000)));
        assert_eq!((amount("gpu"), amount("licence")), (Some(4), Some(1)));
        assert!(amount("memory").unwrap() > 64 << 20);
    }

    #[test]
    fn offers_are_read() {
        assert_eq!(parse_offer("licence=2"), Ok(("licence".to_owned(), 2)));
        for bad in ["", "licence", "=1", "a b=1", "x=-1", "x=many"] {
            assert!(parse_offer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_counted() {
        let list = tempfile::tempdir().unwrap();
        assert_eq!(gpus(&list.path().join("none")), 0);
        fs::create_dir(list.path().join("0000:01:00.0")).unwrap();
        assert_eq!(gpus(list.path()), 1);
    }
}
