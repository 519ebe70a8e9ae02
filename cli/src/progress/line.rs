//! One line of words that is never wider than it may be: what matters least is left out first.
//! It must never cut a figure in two, where anything else can go.

use unicode_width::UnicodeWidthChar;

/// A part of the line.
pub struct Part {
    /// Between it and what stands before it.
    glue: &'static str,
    text: String,
    /// What is needed least has the highest rank.
    rank: u8,
    /// It means nothing without the part before it.
    tied: bool,
}

/// The parts of a line, in the order in which they stand.
#[derive(Default)]
pub struct Line {
    parts: Vec<Part>,
}

impl Line {
    /// Adds a part.
    pub fn push(&mut self, rank: u8, glue: &'static str, text: impl Into<String>) {
        self.parts.push(Part { glue, text: text.into(), rank, tied: false });
    }

    /// Adds what belongs to the part before it, and matters less.
    pub fn tie(&mut self, rank: u8, glue: &'static str, text: impl Into<String>) {
        self.parts.push(Part { glue, text: text.into(), rank, tied: true });
    }

    /// The line, at most `width` columns wide.
    pub fn text(&self, width: Option<usize>) -> String {
        let Some(max) = width else { return self.joined(&vec![true; self.parts.len()]) };
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|at| self.parts[*at].rank);
        let mut taken = vec![false; self.parts.len()];
        for at in order {
            taken[at] = !self.parts[at].tied || at.checked_sub(1).is_some_and(|before| taken[before]);
            if columns(&self.joined(&taken)) > max {
                taken[at] = false;
            }
        }
        match self.parts.first() {
            // The rest means nothing without it.
            Some(first) if !taken[0] => cut(&first.text, max),
            _ => self.joined(&taken),
        }
    }

    fn joined(&self, taken: &[bool]) -> String {
        let mut text = String::new();
        for (part, _) in self.parts.iter().zip(taken).filter(|(_, taken)| **taken) {
            text.push_str(if text.is_empty() { "" } else { part.glue });
            text.push_str(&part.text);
        }
        text
    }
}

/// Columns that a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// What fits into `max` columns.
fn cut(text: &str, max: usize) -> String {
    let mut left = max;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_goes_first() {
        let mut line = Line::default();
        line.push(0, "", "backup");
        line.push(2, " ", "35 %");
        line.push(3, ", ", "0:21 left");
        line.push(5, ", ", "12,345 files");
        line.push(4, ", ", "1.2 GiB");
        line.tie(9, " of ", "3.4 GiB");
        assert_eq!(line.text(None), "backup 35 %, 0:21 left, 12,345 files, 1.2 GiB of 3.4 GiB");
        assert_eq!(line.text(Some(79)), line.text(None));
        assert_eq!(line.text(Some(50)), "backup 35 %, 0:21 left, 12,345 files, 1.2 GiB");
        assert_eq!(line.text(Some(40)), "backup 35 %, 0:21 left, 1.2 GiB");
        assert_eq!(line.text(Some(32)), "backup 35 %, 0:21 left, 1.2 GiB");
        // `35 % of 3.4 GiB` would be another thing.
        assert_eq!(line.text(Some(23)), "backup 35 %, 0:21 left");
        assert_eq!(line.text(Some(19)), "backup 35 %");
        assert_eq!(line.text(Some(4)), "back");
        for width in 0..80 {
            assert!(columns(&line.text(Some(width))) <= width, "{width}");
        }
    }

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!((columns("日本"), columns("e\u{301}"), columns("abc")), (4, 1, 3));
        assert_eq!(cut("日本語", 5), "日本");
    }
}
