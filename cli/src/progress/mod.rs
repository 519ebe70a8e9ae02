//! What is shown while an operation runs: a bar on a terminal, status lines as JSON, nothing in a pipe or a cron job.
//! It must never show a percentage that nobody knows, nor cost the operation time: workers leave their counts and go on.
//! It obeys the engine's `Observer`, called from many threads, and SEABED_PROGRESS_FPS.

pub mod board;
pub mod estimate;
pub mod line;
pub mod reporter;
pub mod screen;

use crate::exit::{Fail, plain, without_number};
use crate::output::Output;
use crate::signals;
use crate::size;
use board::Running;
use estimate::History;
use reporter::Mode;
use seabed_engine::error::{Error, SourceError};
use seabed_engine::observe::{Action, Observer, Progress};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bars a second, where nobody says how many.
const FPS_BAR: f64 = 10.0;
/// More than an eye or a log can use.
const FPS_MAX: f64 = 60.0;
/// Status messages a second: a log keeps every one.
const FPS_STATUS: f64 = 1.0;
/// The variable that says otherwise.
const FPS: &str = "SEABED_PROGRESS_FPS";

/// How progress is told by this run: as `SEABED_PROGRESS_FPS` says, else on a terminal and as JSON.
pub fn mode(json: bool, quiet: bool) -> Result<Mode, Fail> {
    let wrong = |text: &str| {
        Fail::config(format!("{FPS} is `{text}`: no number from 0 on")).hint("say how often a second: 10, 0.1, or 0 for never; or unset it")
    };
    let asked = match std::env::var_os(FPS) {
        None => None,
        Some(text) => {
            let text = text.to_string_lossy();
            Some(text.trim().parse::<f64>().ok().filter(|fps| fps.is_finite() && *fps >= 0.0).ok_or_else(|| wrong(&text))?)
        }
    };
    let every = |fps: f64| Duration::from_secs_f64((1.0 / fps.min(FPS_MAX)).min(86_400.0));
    Ok(match asked {
        _ if quiet => Mode::Nothing,
        Some(0.0) => Mode::Nothing,
        _ if json => Mode::Json(every(asked.unwrap_or(FPS_STATUS))),
        _ if screen::can_draw() => Mode::Bar(every(asked.unwrap_or(FPS_BAR))),
        Some(fps) => Mode::Lines(every(fps)),
        None => Mode::Nothing,
    })
}

/// How an item is spoken of.
fn word(action: Action) -> &'static str {
    match action {
        Action::New => "new",
        Action::Changed => "modified",
        Action::Unchanged => "unchanged",
        Action::Restored => "restored",
        Action::Updated => "updated",
        Action::Skipped => "skipped",
        Action::Deleted => "deleted",
    }
}

/// How an operation is listened to.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// What the last run met.
    pub history: Option<History>,
    /// Status messages may go to standard output: what stands there are messages, not one document or data.
    pub status: bool,
    /// A bar may be drawn: nothing else goes to the terminal meanwhile.
    pub bar: bool,
    /// What there is may be counted beside the operation, where somebody watches.
    pub totals: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Ways { history: None, status: true, bar: true, totals: true }
    }
}

/// Listens to one operation.
pub struct Listener<'a> {
    out: &'a Output,
    running: Arc<Running>,
    totals: bool,
    /// Deletions are named though other items are not.
    deletions: bool,
    /// What is withheld is said as soon as there is any.
    withheld: AtomicBool,
    /// Standard output is somebody else's.
    beside: bool,
}

impl<'a> Listener<'a> {
    /// Begins to show `what` (`backup`), of a command whose result are messages.
    pub fn new(out: &'a Output, what: &'static str) -> Self {
        Self::with(out, what, Ways::default())
    }

    /// The same for a command whose result is one document: no message may stand before it.
    pub fn beside_result(out: &'a Output, what: &'static str) -> Self {
        Self::with(out, what, Ways { status: false, ..Ways::default() })
    }

    /// The same for one whose lines or data go to standard output while it runs: there a bar would be in their midst.
    pub fn beside_lines(out: &'a Output, what: &'static str) -> Self {
        Self::with(out, what, Ways { status: false, bar: !out.on_terminal(), ..Ways::default() })
    }

    /// The same, in the ways that are asked for.
    pub fn with(out: &'a Output, what: &'static str, ways: Ways) -> Self {
        let watched = match out.mode {
            Mode::Nothing => false,
            Mode::Bar(_) => ways.bar,
            Mode::Lines(_) => true,
            Mode::Json(_) => ways.status,
        };
        let running = Arc::new(Running::new(what, ways.history, watched));
        out.show(Some(running.clone()));
        Listener { out, running, totals: watched && ways.totals, deletions: false, withheld: AtomicBool::new(false), beside: !ways.status }
    }

    /// Names what is deleted, also where no other item is named.
    pub fn naming_deletions(mut self, named: bool) -> Self {
        self.deletions = named && self.out.level >= 0;
        self
    }

    /// Says at once that something is withheld. How much of what it was comes with the report.
    pub fn naming_withheld(self, named: bool) -> Self {
        self.withheld.store(named, Ordering::Relaxed);
        self
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.out.show(None);
    }

    /// How long it took so far.
    pub fn elapsed(&self) -> Duration {
        self.running.began().elapsed()
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Observer for Listener<'_> {
    fn progress(&self, progress: &Progress) {
        self.running.note(progress);
    }

    fn wants_totals(&self) -> bool {
        self.totals
    }

    fn item(&self, path: &[u8], action: Action, bytes: u64) {
        let path = format!("/{}", String::from_utf8_lossy(path));
        if self.out.json {
            let (kind, size) = ("verbose_status", bytes);
            let message = json!({"message_type": kind, "action": word(action), "item": path, "data_size": size, "size": size});
            if self.beside { self.out.message_aside(&message) } else { self.out.message(&message) }
        } else if self.beside {
            self.out.item_aside(&path);
        } else if self.out.level >= 2 || !matches!(action, Action::Unchanged | Action::Skipped) {
            // Directories and empty files have no size to speak of.
            let size = if bytes > 0 { format!(", {}", size::human(bytes)) } else { String::new() };
            self.out.item(&format!("{:<9} {path}{size}", word(action)));
        }
    }

    fn wants_items(&self) -> bool {
        self.out.level >= if self.out.json { 2 } else { 1 }
    }

    fn wants_deletions(&self) -> bool {
        self.deletions || self.wants_items()
    }

    fn source_error(&self, error: &SourceError) {
        let message = match self.out.json {
            true => plain(&error.source),
            false => without_number(&error.to_string()),
        };
        self.out.failed_item(&message, error.during, &error.path.to_string_lossy());
    }

    fn item_error(&self, path: &[u8], error: &Error) {
        let item = if path.is_empty() { String::new() } else { format!("/{}", String::from_utf8_lossy(path)) };
        self.out.failed_item(&without_number(&error.to_string()), "restore", &item);
    }

    fn withheld(&self, what: &str, first: &Path) {
        // Once is enough to stop and start again.
        if self.withheld.swap(false, Ordering::Relaxed) {
            self.out
                .warn(&format!("{what} and all else that can lend rights are left out without --privileged, first of {}", first.display()));
        }
    }

    fn remark(&self, text: &str) {
        if !self.out.json {
            self.out.say(text);
        }
    }

    fn warning(&self, text: &str) {
        self.out.warn(&without_number(text));
    }

    fn interrupted(&self) -> bool {
        signals::interrupted()
    }
}
