//! Says when the disk is too full for new runs.

use std::path::Path;

/// Free bytes below which no new run is taken, where that is less than [`MIN_FREE_SHARE`].
const MIN_FREE_BYTES: u64 = 512 << 20;

/// The same as a share of the whole file system, one part in so many.
const MIN_FREE_SHARE: u64 = 20;

/// Why new runs are refused: there is less than 512 MiB free, or less than 5 % where that is less.
/// Runs that are there go on.
pub(crate) fn read_only_reason(home: &Path) -> Option<String> {
    // A file system that cannot say how full it is refuses nobody.
    let found = rustix::fs::statvfs(home).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let whole = found.f_blocks.saturating_mul(found.f_frsize);
    refusal(free, whole).map(|least| {
        format!(
            "{} has {} MiB free, and new runs need {} MiB; delete runs (`windlass rm`) or files",
            home.display(),
            free >> 20,
            least >> 20
        )
    })
}

/// How much had to be free, where it is not.
fn refusal(free: u64, whole: u64) -> Option<u64> {
    let least = MIN_FREE_BYTES.min(whole / MIN_FREE_SHARE);
    (free < least).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_refuses_and_a_small_empty_one_does_not() {
        let gib = 1 << 30;
        assert_eq!(refusal(511 << 20, 100 * gib), Some(512 << 20));
        assert_eq!(refusal(513 << 20, 100 * gib), None);
        assert_eq!(refusal(60 << 20, gib), None);
        assert_eq!(refusal(40 << 20, gib), Some(gib / 20));
        assert_eq!(read_only_reason(Path::new("/nowhere")), None);
    }
}
