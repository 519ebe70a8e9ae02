//! What is shown while an operation runs: a bar on a terminal, status lines as JSON, nothing in a pipe or a cron job.
//! It must never show a percentage that nobody knows, nor cost the operation time: at most ten updates a second.
//! It obeys the engine's `Observer`, called from many threads.

use crate::exit::{plain, without_number};
use crate::output::Output;
use crate::signals;
use crate::size;
use crate::time::clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use seabed_engine::error::{Error, SourceError};
use seabed_engine::observe::{Action, Observer, Progress};
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two updates of the bar.
const BAR_MS: u64 = 100;
/// Between two status lines: a log keeps every one.
const STATUS_MS: u64 = 1000;

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

/// Listens to one operation.
pub struct Listener<'a> {
    out: &'a Output,
    bar: Option<ProgressBar>,
    began: Instant,
    next_ms: AtomicU64,
    /// Bytes that the snapshot before this one had: good for a guess, and shown as one.
    guess_bytes: u64,
    /// Deletions are named though other items are not.
    deletions: bool,
    /// What is withheld is said as soon as there is any.
    withheld: AtomicBool,
    /// Standard output is somebody else's.
    beside: bool,
    last: Mutex<Progress>,
}

impl<'a> Listener<'a> {
    /// Begins to show `what` (`backing up`).
    pub fn new(out: &'a Output, what: &'static str, guess_bytes: u64) -> Self {
        let bar = (!out.json && out.level >= 0 && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            out.show(Some(bar.clone()));
            bar
        });
        // A run that ends within a second has nothing to report but its end.
        let first = if out.json { STATUS_MS } else { 0 };
        Listener {
            out,
            bar,
            began: Instant::now(),
            next_ms: AtomicU64::new(first),
            guess_bytes,
            deletions: false,
            withheld: AtomicBool::new(false),
            beside: false,
            last: Mutex::default(),
        }
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

    /// Says nothing on standard output, where data goes there.
    pub fn beside_data(mut self, beside: bool) -> Self {
        self.beside |= beside;
        self
    }

    /// Leaves standard output to the lines of a result: no status among them, and no bar where they go to the same terminal.
    pub fn beside_lines(mut self) -> Self {
        self.beside = true;
        if self.out.on_terminal() {
            self.finish();
            self.bar = None;
        }
        self
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What the bar says.
    fn text(&self, p: &Progress) -> String {
        let elapsed = self.began.elapsed();
        let rate = (p.bytes_done as f64 / elapsed.as_secs_f64().max(0.1)) as u64;
        // A collection counts no files.
        let mut text = if p.files_done > 0 || p.bytes_done == 0 { format!("{}, ", size::of(p.files_done, "file")) } else { String::new() };
        text.push_str(&size::human(p.bytes_done));
        if p.bytes_total > 0 {
            text.push_str(&format!(" of {}", size::human(p.bytes_total)));
        }
        text.push_str(&format!(", {}/s, {}", size::human(rate), clock(elapsed)));
        let (total, about) = if p.bytes_total > 0 { (p.bytes_total, "") } else { (self.guess_bytes, "~") };
        // A guess that is reached is no guess any more.
        if total > 0 && p.bytes_done < total && rate > 0 {
            let left = Duration::from_secs((total - p.bytes_done) / rate);
            let percent = (u128::from(p.bytes_done) * 100 / u128::from(total)) as u64;
            text.push_str(&format!(", {about}{percent} %, {about}{} left", clock(left)));
        }
        if p.errors > 0 {
            text.push_str(&format!(", {}", size::of(p.errors, "error")));
        }
        text
    }

    fn status(&self, p: &Progress) {
        let mut status = json!({
            "message_type": "status",
            "seconds_elapsed": self.began.elapsed().as_secs(),
            "files_done": p.files_done,
            "bytes_done": p.bytes_done,
            "error_count": p.errors,
        });
        if let (Some(map), true) = (status.as_object_mut(), p.bytes_total > 0) {
            let done = p.bytes_done as f64 / p.bytes_total as f64;
            map.insert("percent_done".to_owned(), done.min(1.0).into());
            map.insert("total_files".to_owned(), p.files_total.into());
            map.insert("total_bytes".to_owned(), p.bytes_total.into());
            if done > 0.0 && done < 1.0 {
                let left = self.began.elapsed().as_secs_f64() * (1.0 - done) / done;
                map.insert("seconds_remaining".to_owned(), (left as u64).into());
            }
        }
        self.out.message(&status);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.out.show(None);
    }

    /// How long it took so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Observer for Listener<'_> {
    fn progress(&self, progress: &Progress) {
        let json = self.out.json && self.out.level >= 0 && !self.beside;
        if self.bar.is_none() && !json {
            return;
        }
        let now = self.elapsed_ms();
        let next = self.next_ms.load(Ordering::Relaxed);
        let later = now + if json { STATUS_MS } else { BAR_MS };
        // Whoever moves the time on draws; the others have nothing to add.
        if now < next || self.next_ms.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = *progress;
        match &self.bar {
            Some(bar) => bar.set_message(self.text(progress)),
            None => self.status(progress),
        }
    }

    fn item(&self, path: &[u8], action: Action, bytes: u64) {
        let path = format!("/{}", String::from_utf8_lossy(path));
        if self.beside {
            self.out.item_aside(&path);
        } else if self.out.json {
            let (kind, size) = ("verbose_status", bytes);
            self.out.message(&json!({"message_type": kind, "action": word(action), "item": path, "data_size": size, "size": size}));
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
