use std::{collections::HashSet, fs::File, os::unix::fs::FileExt, path::Path};

/// How much of a log's end is searched for names of files.
const TAIL: u64 = 64 << 10;

/// The last bytes of a log. What was freed of it reads as zeros, which name nothing.
pub(super) fn tail(path: &Path) -> Vec<u8> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let size = file.metadata().map_or(0, |meta| meta.len());
    let start = size.saturating_sub(TAIL);
    let mut bytes = vec![0; usize::try_from(size - start).unwrap_or_default()];
    let len = file.read_at(&mut bytes, start).unwrap_or_default();
    bytes.truncate(len);
    bytes
}

/// The file named in `log` that the snapshot left out, if there is one.
///
/// `left_out` holds paths that end with NUL; those of directories have a `/` before it.
pub(super) fn missing_file(log: &[u8], left_out: &[u8]) -> Option<String> {
    let paths: HashSet<&str> =
        left_out.split(|&byte| byte == 0).filter_map(|p| std::str::from_utf8(p).ok()).collect();
    let log = String::from_utf8_lossy(log);
    let quoted = log.split(['\'', '"', '`', '\n']);
    let plain = log.split(|c: char| c.is_whitespace() || "'\"`,;:()[]<>=".contains(c));
    // The last mention is the likeliest: it stands at the end of a traceback.
    let mut tokens = quoted.chain(plain).rev();
    tokens.find_map(|token| named(token.trim(), &paths))
}

/// The part of `token` that is a path left out: itself, what follows a `/` in it, or something
/// below a directory left out.
fn named(token: &str, paths: &HashSet<&str>) -> Option<String> {
    let token = token.strip_prefix("./").unwrap_or(token);
    let starts = std::iter::once(0).chain(token.match_indices('/').map(|(at, _)| at + 1));
    starts.map(|start| &token[start..]).filter(|path| !path.is_empty()).find_map(|path| {
        let directory = || {
            let mut ends = path.match_indices('/').map(|(at, _)| &path[..=at]);
            ends.any(|directory| paths.contains(directory))
        };
        (paths.contains(path) || directory()).then(|| path.to_owned())
    })
}

/// What people are told about it.
pub(super) fn advice(path: &str) -> String {
    format!(
        "`{path}` is not in the snapshot (git-ignored or too large); to have it there, add: \
         `files: [{path}]`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_left_out_and_nothing_else() {
        let left_out = b"data/d.csv\0cache/\0my file.txt\0";
        let table: [(&str, Option<&str>); 7] = [
            ("FileNotFoundError: [Errno 2] No such file: 'data/d.csv'", Some("data/d.csv")),
            ("cat: ./data/d.csv: No such file or directory", Some("data/d.csv")),
            ("open(/w/attempts/ab/cwd/data/d.csv)", Some("data/d.csv")),
            ("missing cache/deep/x.bin here", Some("cache/deep/x.bin")),
            ("no 'my file.txt'", Some("my file.txt")),
            ("data/d.csv.bak other/d.csv mycache/x", None),
            ("", None),
        ];
        for (log, path) in table {
            assert_eq!(missing_file(log.as_bytes(), left_out).as_deref(), path, "{log}");
        }
    }
}
