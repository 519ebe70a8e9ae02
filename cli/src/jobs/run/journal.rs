//! What a run says: on the terminal or to the log of its scheduler, and into the state, where `logs` finds it.
//! Nothing goes either way with a secret in it.

use crate::jobs::config::secret::redacted;
use crate::jobs::state::{LineRow, State};
use crate::output::Output;
use seabed_engine::clock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Writes down what one run says.
pub struct Journal<'a> {
    state: Option<&'a State>,
    run: String,
    out: &'a Output,
    lines: AtomicU64,
    deaf: AtomicBool,
}

impl<'a> Journal<'a> {
    /// Of a run; without a state it is only said.
    pub fn new(state: Option<&'a State>, run: &str, out: &'a Output) -> Self {
        Journal { state, run: run.to_owned(), out, lines: AtomicU64::new(0), deaf: AtomicBool::new(false) }
    }

    fn keep(&self, level: &str, who: &str, text: &str) {
        let Some(state) = self.state else { return };
        let line = LineRow { at: clock::now().secs, level: level.to_owned(), who: who.to_owned(), text: text.to_owned() };
        let kept = state.say(&self.run, self.lines.fetch_add(1, Ordering::Relaxed), &line);
        // Said once: the run itself goes on.
        if let (Err(error), false) = (kept, self.deaf.swap(true, Ordering::Relaxed)) {
            self.out.warn(&format!("what this run says cannot be kept: {error}"));
        }
    }

    fn whole(who: &str, text: &str) -> String {
        if who.is_empty() { redacted(text) } else { format!("{who}: {}", redacted(text)) }
    }

    /// Part of the story.
    pub fn info(&self, who: &str, text: &str) {
        self.keep("info", who, text);
        self.out.say(&Self::whole(who, text));
    }

    /// Something that is no failure.
    pub fn warning(&self, who: &str, text: &str) {
        self.keep("warning", who, text);
        self.out.warn(&Self::whole(who, text));
    }

    /// A part of the run failed.
    pub fn error(&self, who: &str, text: &str) {
        self.keep("error", who, text);
        self.out.failed_item(&Self::whole(who, text), "run", who);
    }

    /// What somebody else wrote: kept, and shown to who asks for more.
    pub fn output(&self, who: &str, text: &str) {
        self.keep("output", who, text);
        if self.out.level >= 1 {
            self.out.say(&Self::whole(who, text));
        }
    }

    /// Only kept.
    pub fn quietly(&self, level: &str, who: &str, text: &str) {
        self.keep(level, who, text);
    }

    /// Its end, for a mail or a ping: the last lines that are no output of others.
    pub fn tail(&self, lines: usize) -> String {
        let Some(state) = self.state else { return String::new() };
        let from = self.lines.load(Ordering::Relaxed).saturating_sub(4 * lines as u64);
        let all = state.lines(&self.run, from).unwrap_or_default();
        let told: Vec<String> = all
            .iter()
            .filter(|line| line.level != "output")
            .map(|line| if line.who.is_empty() { line.text.clone() } else { format!("{}: {}", line.who, line.text) })
            .collect();
        told[told.len().saturating_sub(lines)..].join("\n")
    }
}
