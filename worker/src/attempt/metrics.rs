use std::{
    collections::HashSet,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use windlass_core::Timestamp;
use windlass_proto::{
    common::v1::MetricPoint,
    limits::{MAX_METRIC_NAMES, MAX_METRIC_POINTS, is_metric_name},
    timestamp,
};

use crate::step_file;

/// Most bytes of the metrics file read at once.
const BLOCK: usize = 256 << 10;

/// Longest line; a longer one is malformed.
const MAX_LINE: usize = 64 << 10;

/// Most complaints about one attempt's file; what is wrong with more is not told.
const MAX_ALL_COMPLAINTS: usize = 20;

/// Follows the file of metric lines. It starts at the beginning, so that the sequence numbers of
/// a worker that took over are those of the worker before.
pub(super) struct MetricsFile {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    rest: Vec<u8>,
    line: u64,
    sequence: u64,
    names: HashSet<String>,
    complaints: usize,
    /// Nothing more is read: it is no plain file, or there is too much of it.
    given_up: bool,
}

/// What was new in the file.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) points: Vec<MetricPoint>,
    /// One text for people for each line that is no metric, at most a few.
    pub(super) complaints: Vec<String>,
    /// There may be more.
    pub(super) more: bool,
}

/// Complaints per look at the file.
const MAX_COMPLAINTS: usize = 3;

#[derive(Deserialize)]
struct Line {
    name: String,
    value: f64,
    step: Option<i64>,
}

impl MetricsFile {
    pub(super) fn new(path: &Path) -> Self {
        let path = path.to_path_buf();
        Self {
            path,
            file: None,
            offset: 0,
            rest: Vec::new(),
            line: 0,
            sequence: 0,
            names: HashSet::new(),
            complaints: 0,
            given_up: false,
        }
    }

    /// Reads the next block of whole lines. At the `end` a last line needs no line break.
    pub(super) fn read(&mut self, now: Timestamp, end: bool) -> News {
        let mut news = News::default();
        if self.given_up {
            return news;
        }
        match self.next_block() {
            Ok(len) => news.more = len == BLOCK,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.give_up(&mut news, format!("$WINDLASS_METRICS cannot be read: {error}"));
                return news;
            }
        }
        let mut rest = std::mem::take(&mut self.rest);
        let mut start = 0;
        while let Some(len) = rest[start..].iter().position(|&byte| byte == b'\n') {
            self.take(&rest[start..start + len], now, &mut news);
            start += len + 1;
        }
        rest.drain(..start);
        if (end && !news.more) || rest.len() > MAX_LINE {
            self.take(&rest, now, &mut news);
            rest.clear();
        }
        self.rest = rest;
        news
    }

    fn next_block(&mut self) -> io::Result<usize> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(step_file::open(&self.path)?),
        };
        let old = self.rest.len();
        self.rest.resize(old + BLOCK, 0);
        let result = file.read_at(&mut self.rest[old..], self.offset);
        let len = *result.as_ref().unwrap_or(&0);
        self.rest.truncate(old + len);
        self.offset += u64::try_from(len).unwrap_or_default();
        result
    }

    fn take(&mut self, line: &[u8], now: Timestamp, news: &mut News) {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return;
        }
        match serde_json::from_slice::<Line>(line) {
            Ok(Line { name, value, step }) if is_metric_name(&name) && value.is_finite() => {
                self.add((name, value, step), now, news);
            }
            Ok(_) => self.complain(news, "has a bad name or value and was left out"),
            Err(error) => self.complain(news, &format!("is no metric and was left out: {error}")),
        }
    }

    fn add(
        &mut self,
        (name, value, step): (String, f64, Option<i64>),
        now: Timestamp,
        news: &mut News,
    ) {
        if self.given_up {
            return;
        }
        if self.sequence == MAX_METRIC_POINTS {
            let told = format!("$WINDLASS_METRICS: only the first {MAX_METRIC_POINTS} are kept");
            return self.give_up(news, told);
        }
        if !self.names.contains(&name) {
            if self.names.len() == MAX_METRIC_NAMES {
                let told = format!("is left out: more than {MAX_METRIC_NAMES} names of metrics");
                return self.complain(news, &told);
            }
            self.names.insert(name.clone());
        }
        self.sequence += 1;
        let (sequence, time) = (self.sequence, Some(timestamp(now)));
        news.points.push(MetricPoint { name, value, step, time, sequence });
    }

    fn complain(&mut self, news: &mut News, what: &str) {
        if news.complaints.len() < MAX_COMPLAINTS && self.complaints < MAX_ALL_COMPLAINTS {
            self.complaints += 1;
            news.complaints.push(format!("line {} of $WINDLASS_METRICS {what}", self.line));
        }
    }

    fn give_up(&mut self, news: &mut News, why: String) {
        self.given_up = true;
        news.more = false;
        news.complaints.push(why);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    #[test]
    fn reads_what_is_new_and_says_what_is_malformed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        let mut metrics = MetricsFile::new(&path);
        let now = Timestamp(0);
        assert!(metrics.read(now, false).points.is_empty());
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();

        file.write_all(b"{\"name\":\"loss\",\"value\":0.5,\"step\":1}\n{\"name\":\"lo").unwrap();
        let first = metrics.read(now, false);
        file.write_all(b"ss\",\"value\":0.25}\nnonsense\n{\"name\":\"acc\",\"value\":1}").unwrap();
        let second = metrics.read(now, false);
        let last = metrics.read(now, true);

        let seen = |news: &News| {
            news.points.iter().map(|p| (p.name.clone(), p.value, p.sequence)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&first), [("loss".to_owned(), 0.5, 1)]);
        assert_eq!(seen(&second), [("loss".to_owned(), 0.25, 2)]);
        assert!(second.complaints[0].starts_with("line 3 of $WINDLASS_METRICS"));
        assert_eq!(seen(&last), [("acc".to_owned(), 1.0, 3)]);
    }

    #[test]
    fn what_is_no_plain_file_or_too_much_is_given_up_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let mut metrics = MetricsFile::new(&path);
        assert_eq!(metrics.read(Timestamp(0), true).complaints.len(), 1);
        let again = metrics.read(Timestamp(0), true);
        assert!(again.complaints.is_empty() && !again.more);

        let path = dir.path().join("names");
        let lines: String = (0..MAX_METRIC_NAMES + 50)
            .map(|number| format!("{{\"name\": \"m{number}\", \"value\": 1}}\n"))
            .collect();
        std::fs::write(&path, lines + "{\"name\": \"a\\tb\", \"value\": 1}\n").unwrap();
        let mut metrics = MetricsFile::new(&path);
        let news = metrics.read(Timestamp(0), true);
        assert_eq!(news.points.len(), MAX_METRIC_NAMES);
        assert_eq!(news.complaints.len(), MAX_COMPLAINTS);
    }
}
