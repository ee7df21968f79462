use std::sync::Arc;

use aho_corasick::automaton::StateID;

use super::{MASK, Masks};

/// A beginning of a wrapped form that is shorter than this is not waited for over a line break:
/// else the ends of every other line would come late.
const MIN_OVER_BREAK: usize = 3;

/// Masks a stream that comes in pieces, wherever they are cut.
///
/// Held back is what may be the beginning of a secret, and nothing else.
#[derive(Debug)]
pub(crate) struct Masker {
    masks: Arc<Masks>,
    exact: StateID,
    folded: StateID,
    held: Vec<u8>,
    /// What is masked of `held`, in order, without overlaps.
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    /// Its begin has left already, and `***` stands for it.
    told: bool,
}

impl Masker {
    pub(crate) fn new(masks: Arc<Masks>) -> Self {
        let (exact, folded) = (masks.exact.start(), masks.folded.start());
        Self { masks, exact, folded, held: Vec::new(), spans: Vec::new() }
    }

    /// Takes the next piece and adds to `out` what can go.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let from = self.held.len();
        self.held.extend_from_slice(piece);
        for at in from..self.held.len() {
            let byte = self.held[at];
            self.exact = self.masks.exact.step(self.exact, byte);
            let len = self.masks.exact.complete(self.exact);
            if len > 0 {
                self.cover((at + 1).saturating_sub(len), at + 1);
            }
            if !is_break(byte) {
                self.folded = self.masks.folded.step(self.folded, byte);
                let len = self.masks.folded.complete(self.folded);
                if len > 0 {
                    self.cover(self.back(at + 1, len), at + 1);
                }
            }
        }
        self.release(self.open_since(), out);
    }

    /// The stream is over: adds the rest.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(self.held.len(), out);
        (self.exact, self.folded) = (self.masks.exact.start(), self.masks.folded.start());
    }

    fn cover(&mut self, mut start: usize, end: usize) {
        let mut told = false;
        while let Some(last) = self.spans.last().filter(|last| last.end > start) {
            start = start.min(last.start);
            told |= last.told;
            self.spans.pop();
        }
        self.spans.push(Span { start, end, told });
    }

    /// Where the last `len` bytes before `end` begin, line breaks not counted.
    fn back(&self, end: usize, len: usize) -> usize {
        let bytes = self.held[..end].iter().enumerate().rev().filter(|(_, byte)| !is_break(**byte));
        bytes.take(len).last().map_or(end, |(at, _)| at)
    }

    /// From where on a secret may have begun that is not complete.
    fn open_since(&self) -> usize {
        let end = self.held.len();
        let exact = end.saturating_sub(self.masks.exact.open(self.exact));
        let len = self.masks.folded.open(self.folded);
        let breaks = self.held.last().is_some_and(|byte| is_break(*byte));
        if len == 0 || breaks && len < MIN_OVER_BREAK {
            return exact;
        }
        exact.min(self.back(end, len))
    }

    fn release(&mut self, until: usize, out: &mut Vec<u8>) {
        let mut at = 0;
        let mut rest = Vec::new();
        for span in std::mem::take(&mut self.spans) {
            if span.start >= until {
                rest.push(Span { start: span.start - until, end: span.end - until, ..span });
                continue;
            }
            out.extend_from_slice(&self.held[at..span.start]);
            if !span.told {
                out.extend_from_slice(MASK);
            }
            at = span.end.min(until);
            if span.end > until {
                rest.push(Span { start: 0, end: span.end - until, told: true });
            }
        }
        out.extend_from_slice(&self.held[at..until]);
        self.spans = rest;
        self.held.drain(..until);
    }
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
