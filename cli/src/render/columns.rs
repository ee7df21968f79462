use unicode_width::UnicodeWidthStr;

use super::{Paint, Tint};

/// Blanks between two columns.
const GAP: usize = 2;

/// Least width to which a column is cut.
const MIN_CUT: usize = 8;

/// One field of a table: clean text and how it looks.
#[derive(Clone)]
pub(crate) struct Cell {
    text: String,
    tint: Tint,
    right: bool,
}

impl Cell {
    /// A field; whatever could steer the terminal is made harmless.
    pub(crate) fn new(tint: Tint, text: impl AsRef<str>) -> Self {
        Self { text: super::clean(text.as_ref()).into_owned(), tint, right: false }
    }

    /// A field without a colour.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(Tint::Plain, text)
    }

    /// The same, set flush right.
    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

/// Rows of fields below each other. Columns that are empty throughout are left out.
#[derive(Default)]
pub(crate) struct Columns {
    rows: Vec<Vec<Cell>>,
    /// Column that gives way where a line would be too long.
    pub(crate) cut: Option<usize>,
    pub(crate) indent: usize,
}

impl Columns {
    pub(crate) fn new(indent: usize, cut: Option<usize>) -> Self {
        Self { rows: Vec::new(), cut, indent }
    }

    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines, each ended by a newline, none wider than `width` where the cut column allows it.
    pub(crate) fn render(&self, paint: Paint, width: usize) -> String {
        let widths = self.widths(width);
        let mut out = String::new();
        for row in &self.rows {
            out.push_str(&self.line(row, &widths, paint));
            out.push('\n');
        }
        out
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widest = |at: usize| {
            let widths = self.rows.iter().filter_map(|row| row.get(at)).map(|c| c.text.width());
            widths.max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = (0..columns).map(widest).collect();
        let used = widths.iter().filter(|width| **width > 0).count();
        let total = self.indent + widths.iter().sum::<usize>() + GAP * used.saturating_sub(1);
        if let Some(cut) = self.cut.and_then(|at| widths.get_mut(at)) {
            *cut = cut.saturating_sub(total.saturating_sub(width)).max(MIN_CUT.min(*cut));
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut out = " ".repeat(self.indent);
        let mut blanks = 0;
        let mut first = true;
        for (cell, &width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
            blanks += if first { 0 } else { GAP };
            first = false;
            let text = shorten(&cell.text, width);
            let free = width.saturating_sub(text.width());
            if text.is_empty() {
                blanks += free;
                continue;
            }
            blanks += if cell.right { free } else { 0 };
            out.push_str(&" ".repeat(blanks));
            out.push_str(&paint.paint(cell.tint, &text));
            blanks = if cell.right { 0 } else { free };
        }
        out
    }
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `width` columns, ended by `…` where something is missing.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        let mut longer = out.clone();
        longer.push(c);
        if longer.width() + 1 > width {
            break;
        }
        out = longer;
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::{Cell, Columns, Paint, Tint, shorten};

    #[test]
    fn columns_line_up_and_empty_ones_vanish() {
        let mut table = Columns::new(2, None);
        table.push(vec![Cell::plain("a"), Cell::plain(""), Cell::plain("10").right()]);
        table.push(vec![Cell::plain("日本"), Cell::plain(""), Cell::plain("5").right()]);
        assert_eq!(table.render(Paint { on: false }, 80), "  a     10\n  日本   5\n");
    }

    #[test]
    fn the_cut_column_gives_way() {
        let mut table = Columns::new(0, Some(0));
        table.push(vec![Cell::plain("a long piece of text"), Cell::plain("end")]);
        assert_eq!(table.render(Paint { on: false }, 16), "a long pie…  end\n");
        assert_eq!(shorten("日本語", 5), "日本…");
    }

    #[test]
    fn colour_is_no_width() {
        let mut table = Columns::new(0, None);
        table.push(vec![Cell::new(Tint::Good, "ok"), Cell::plain("x")]);
        table.push(vec![Cell::new(Tint::Bad, "failed"), Cell::plain("y")]);
        let text = table.render(Paint { on: true }, 80);
        assert_eq!(text, "\x1b[32mok\x1b[0m      x\n\x1b[31mfailed\x1b[0m  y\n");
    }
}
