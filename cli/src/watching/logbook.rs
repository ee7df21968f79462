use std::collections::VecDeque;

use windlass_proto::common::v1::LogStream;

use crate::{
    follow::{Item, Lines},
    render,
};

/// Most lines of a log that are kept, and characters of one.
const MAX_LINES: usize = 2_000;
const MAX_CHARS: usize = 1_000;

/// The last lines of a log.
#[derive(Default)]
pub(super) struct Logbook {
    lines: VecDeque<Entry>,
    stdout: Lines,
    other: Lines,
}

/// A line, and whether it came on stdout.
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) stdout: bool,
}

impl Logbook {
    pub(super) fn take_in(&mut self, item: Item) {
        match item {
            Item::Chunk { stream, data, .. } => {
                let stdout = stream == LogStream::Stdout;
                let Self { lines, stdout: out, other } = self;
                let cutter = if stdout { out } else { other };
                let fed = cutter.feed(&data, |line| {
                    push(lines, line, stdout);
                    Ok::<_, std::convert::Infallible>(())
                });
                match fed {
                    Ok(()) => {}
                    Err(never) => match never {},
                }
            }
            Item::Gap { length, reason } => {
                let text = format!("… {length} bytes are lost: {reason}");
                push(&mut self.lines, text.as_bytes(), false);
            }
        }
    }

    /// The lines `skip` from the end that fit into `height`, the oldest first.
    pub(super) fn window(&self, height: usize, skip: usize) -> impl Iterator<Item = &Entry> {
        let to = self.lines.len().saturating_sub(skip);
        let from = to.saturating_sub(height);
        self.lines.range(from..to)
    }

    /// The beginnings of lines that are not complete yet.
    pub(super) fn partial(&self) -> Option<Entry> {
        let (bytes, stdout) = match (self.stdout.partial(), self.other.partial()) {
            ([], []) => return None,
            ([], other) => (other, false),
            (out, _) => (out, true),
        };
        Some(Entry { text: shown(bytes), stdout })
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

fn push(lines: &mut VecDeque<Entry>, line: &[u8], stdout: bool) {
    if lines.len() >= MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(Entry { text: shown(line), stdout });
}

fn shown(line: &[u8]) -> String {
    let text = render::bare_line(line);
    match text.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use windlass_proto::common::v1::LogStream;

    use super::{Item, Logbook, MAX_LINES};

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut book = Logbook::default();
        for at in 0..MAX_LINES + 5 {
            let data = format!("line {at}\nx").into_bytes()[usize::from(at > 0)..].to_vec();
            let data = if at == 0 { data } else { [b"x\nl".to_vec(), data].concat() };
            book.take_in(Item::Chunk { stream: LogStream::Stdout, data: data.into(), time: None });
        }
        assert_eq!(book.len(), MAX_LINES);
        assert_eq!(book.window(3, 0).count(), 3);
        assert_eq!(book.partial().unwrap().text, "x");
    }
}
