/// Longest line that is kept together; a longer one is told in pieces.
const MAX_LINE: usize = 64 << 10;

/// Cuts what a stream brings into lines.
#[derive(Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Gives `line` each line that is complete now, its newline included.
    pub(crate) fn feed<E>(
        &mut self,
        data: &[u8],
        mut line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let complete = piece.ends_with(b"\n");
            if complete && self.partial.is_empty() {
                line(piece)?;
                continue;
            }
            self.partial.extend_from_slice(piece);
            if complete || self.partial.len() >= MAX_LINE {
                line(&self.partial)?;
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// The beginning of a line that is not complete yet.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// The last line, where it has no newline.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| std::mem::take(&mut self.partial))
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, MAX_LINE};

    #[test]
    fn lines_come_whole_and_none_is_lost() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["one\ntw", "o\n", "", "\nthr", "ee"] {
            lines
                .feed(piece.as_bytes(), |line| {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                    Ok::<_, ()>(())
                })
                .unwrap();
        }
        assert_eq!(seen, ["one\n", "two\n", "\n"]);
        assert_eq!(lines.partial(), b"three");
        assert_eq!(lines.finish(), Some(b"three".to_vec()));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn an_endless_line_is_told_in_pieces() {
        let mut lines = Lines::default();
        let mut told = 0;
        for _ in 0..10 {
            let feed = lines.feed(&[b'x'; 10 << 10], |line| {
                told += line.len();
                Ok::<_, ()>(())
            });
            feed.unwrap();
        }
        assert!(told >= MAX_LINE && lines.partial().len() < MAX_LINE);
    }
}
