//! What is known of the operation that runs: for the bar, for status lines, for whoever asks with SIGUSR1.
//! It must never be held while anything is written: workers put their counts here, and must not wait for a terminal.

use super::estimate::{History, Pulse, Rate, measure, work};
use super::line::Line;
use crate::size;
use crate::time::{clock, left};
use seabed_engine::observe::{Progress, Stage};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The operation that runs, if one does.
pub struct Board {
    /// What was asked for: `backup`.
    command: String,
    began: Instant,
    /// The command itself works, also while no operation runs.
    works: AtomicBool,
    running: Mutex<Option<Arc<Running>>>,
}

impl Board {
    /// Nothing runs yet.
    pub fn new(command: &str) -> Self {
        Board { command: command.to_owned(), began: Instant::now(), works: AtomicBool::new(false), running: Mutex::default() }
    }

    /// From now on the command does what it was asked for.
    pub fn work(&self) {
        self.works.store(true, Ordering::Relaxed);
    }

    /// Where the command is, while no operation runs.
    fn stage(&self) -> Stage {
        if self.works.load(Ordering::Relaxed) { Stage::Working } else { Stage::Preparing }
    }

    /// From now on this runs, or nothing.
    pub fn set(&self, running: Option<Arc<Running>>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// What runs.
    pub fn get(&self) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What somebody is told who asks.
    pub fn line(&self, width: Option<usize>) -> String {
        match self.get() {
            Some(running) => running.line(width),
            None => {
                let mut line = Line::default();
                line.push(0, "", &self.command);
                if self.stage() != Stage::Working {
                    line.push(1, " ", self.stage().word());
                }
                line.push(2, ", ", clock(self.began.elapsed()));
                line.text(width)
            }
        }
    }

    /// The same as a message.
    pub fn status(&self) -> Value {
        match self.get() {
            Some(running) => running.status(),
            None => json!({
                "message_type": "status",
                "seconds_elapsed": self.began.elapsed().as_secs(),
                "stage": self.stage().word(),
                "files_done": 0,
                "bytes_done": 0,
                "error_count": 0,
            }),
        }
    }
}

/// An operation under way.
pub struct Running {
    what: &'static str,
    began: Instant,
    history: Option<History>,
    /// Somebody sees it without asking.
    watched: bool,
    state: Mutex<State>,
}

struct State {
    last: Progress,
    /// Of work, and of bytes.
    rates: Option<(Rate, Rate)>,
    pulse: Pulse,
}

impl Running {
    /// It has just begun.
    pub fn new(what: &'static str, history: Option<History>, watched: bool) -> Self {
        let state = State { last: Progress::default(), rates: None, pulse: Pulse::default() };
        Running { what, began: Instant::now(), history, watched, state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is told of without being asked.
    pub fn tells(&self) -> bool {
        self.watched
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Takes counts in.
    pub fn note(&self, progress: &Progress) {
        let now = Instant::now();
        let mut state = self.state();
        let stood = state.pulse.look(now);
        let (work, bytes) = (measure(progress, self.history.as_ref()), bytes_of(progress) as f64);
        let again = progress.stage != state.last.stage;
        state.last = *progress;
        match &mut state.rates {
            // What is counted now has nothing to do with what was counted before.
            rates if again || rates.is_none() => *rates = Some((Rate::new(now, work), Rate::new(now, bytes))),
            Some((of_work, of_bytes)) => {
                for (rate, value) in [(of_work, work), (of_bytes, bytes)] {
                    rate.skip(stood);
                    rate.note(now, value);
                }
            }
            None => {}
        }
    }

    /// Somebody is alive: see [`Pulse`].
    pub fn beat(&self) {
        let mut state = self.state();
        let stood = state.pulse.beat(Instant::now());
        if let Some((work, bytes)) = &mut state.rates {
            work.skip(stood);
            bytes.skip(stood);
        }
    }

    fn forecast(&self, state: &State) -> Forecast {
        let now = Instant::now();
        let work = work(&state.last, self.history.as_ref());
        let left = work.and_then(|work| state.rates.and_then(|(rate, _)| rate.left(now, &work)));
        let rate = state.rates.map_or(0, |(_, bytes)| bytes.at(now) as u64);
        Forecast { done: work.map(|work| (work.done / work.total, work.guess)), left, rate }
    }

    /// A line for people, at most `width` columns wide.
    pub fn line(&self, width: Option<usize>) -> String {
        let state = self.state();
        let (p, elapsed) = (state.last, self.began.elapsed());
        let Forecast { done, left: rest, rate } = self.forecast(&state);
        drop(state);
        let mut line = Line::default();
        line.push(0, "", self.what);
        let mut glue = " ";
        let mut add = |line: &mut Line, rank, text: String| {
            line.push(rank, glue, text);
            glue = ", ";
        };
        if p.stage != Stage::Working {
            add(&mut line, 1, p.stage.word().to_owned());
        }
        if let Some((done, guess)) = done {
            let about = if guess { "~" } else { "" };
            let percent = (done * 100.0) as u64;
            if percent > 0 {
                add(&mut line, 1, format!("{about}{percent} %"));
            }
            if let Some(rest) = rest {
                add(&mut line, 2, format!("{about}{} left", left(rest)));
            }
        }
        if p.errors > 0 {
            add(&mut line, 3, size::of(p.errors, "error"));
        }
        let last = self.history.filter(|_| p.bytes_total == 0);
        let ahead = last.filter(|last| p.bytes_done < last.bytes);
        if p.files_done > 0 && !last.is_some_and(|last| last.is_streams()) {
            add(&mut line, 7, size::of(p.files_done, "file"));
            if p.files_total > 0 {
                line.tie(9, " of ", size::count(p.files_total));
            }
        }
        if p.packs_total > 0 {
            add(&mut line, 5, size::of(p.packs_done, "pack"));
            line.tie(6, " of ", size::count(p.packs_total));
        }
        if p.bytes_done > 0 || p.bytes_total > 0 {
            add(&mut line, 4, size::human(p.bytes_done));
            match last {
                _ if p.bytes_total > 0 => line.tie(8, " of ", size::human(p.bytes_total)),
                Some(last) if last.is_streams() => match ahead {
                    Some(_) => line.tie(5, " of about ", format!("{} last time", size::human(last.bytes))),
                    None => line.tie(8, " ", format!("({} last time)", size::human(last.bytes))),
                },
                Some(last) if ahead.is_some() => line.tie(9, " of about ", size::human(last.bytes)),
                _ => {}
            }
            if rate > 0 {
                add(&mut line, 6, format!("{}/s", size::human(rate)));
            }
        }
        add(&mut line, 7, clock(elapsed));
        line.text(width)
    }

    /// The same as a message, with restic's names.
    pub fn status(&self) -> Value {
        let state = self.state();
        let p = state.last;
        let Forecast { done, left, .. } = self.forecast(&state);
        drop(state);
        let mut status = json!({
            "message_type": "status",
            "seconds_elapsed": self.began.elapsed().as_secs(),
            "stage": p.stage.word(),
            "files_done": p.files_done,
            "bytes_done": p.bytes_done,
            "error_count": p.errors,
        });
        let mut put = |key: &str, value: Option<Value>| {
            if let (Some(map), Some(value)) = (status.as_object_mut(), value) {
                map.insert(key.to_owned(), value);
            }
        };
        let known = |count: u64| (count > 0).then(|| count.into());
        put("percent_done", done.map(|(done, _)| ((done * 10_000.0).floor() / 10_000.0).into()));
        put("seconds_remaining", left.map(|left| left.as_secs().into()));
        put("total_files", known(p.files_total));
        put("total_bytes", known(p.bytes_total));
        put("packs_done", (p.packs_total > 0).then(|| p.packs_done.into()));
        put("total_packs", known(p.packs_total));
        put("bytes_read", known(p.bytes_read));
        let last = self.history.filter(|_| p.bytes_total == 0);
        put("last_files", last.map(|last| last.files.into()));
        put("last_bytes", last.map(|last| last.bytes.into()));
        status
    }
}

/// What can be said of the rest.
struct Forecast {
    /// The part that is done, and whether that is a guess.
    done: Option<(f64, bool)>,
    left: Option<std::time::Duration>,
    /// Bytes a second.
    rate: u64,
}

/// The bytes whose rate says something: a backup passes unchanged files at any speed.
fn bytes_of(p: &Progress) -> u64 {
    if p.bytes_read > 0 { p.bytes_read } else { p.bytes_done }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(history: Option<History>, progress: Progress) -> String {
        let running = Running::new("backup", history, true);
        running.note(&progress);
        running.line(None)
    }

    #[test]
    fn a_first_run_says_what_it_has_done_and_no_more() {
        let p = Progress { stage: Stage::Working, files_done: 12, bytes_done: 3 << 20, bytes_read: 3 << 20, ..Progress::default() };
        assert_eq!(shown(None, p), "backup 12 files, 3.0 MiB, 0:00");
        let counted = Progress { files_total: 24, bytes_total: 6 << 20, errors: 1, ..p };
        assert_eq!(shown(None, counted), "backup 50 %, 1 error, 12 files of 24, 3.0 MiB of 6.0 MiB, 0:00");
        assert_eq!(shown(None, Progress::default()), "backup preparing, 0:00");
        assert_eq!(
            shown(None, Progress { stage: Stage::Finishing, ..counted }),
            "backup finishing, 1 error, 12 files of 24, 3.0 MiB of 6.0 MiB, 0:00"
        );
    }

    /// A mount that was being read said that it prepared: what counts nothing has no operation that runs.
    #[test]
    fn a_command_without_counts_says_that_it_works() {
        let board = Board::new("mount");
        assert_eq!((board.line(None), &board.status()["stage"]), ("mount preparing, 0:00".to_owned(), &json!("preparing")));
        board.work();
        assert_eq!((board.line(None), &board.status()["stage"]), ("mount, 0:00".to_owned(), &json!("working")));
        // What an operation tells is worth more.
        board.set(Some(Arc::new(Running::new("indexing", None, false))));
        assert_eq!(board.line(None), "indexing preparing, 0:00");
    }

    #[test]
    fn a_stream_is_measured_by_the_last_one() {
        let last = History { files: 1, bytes: 600 << 20, stream_bytes: 600 << 20, read: Some(600 << 20) };
        let p = Progress { stage: Stage::Working, bytes_done: 150 << 20, bytes_read: 150 << 20, ..Progress::default() };
        assert_eq!(shown(Some(last), p), "backup ~24 %, 150.0 MiB of about 600.0 MiB last time, 0:00");
        let longer = Progress { bytes_done: 601 << 20, bytes_read: 601 << 20, ..p };
        assert_eq!(shown(Some(last), longer), "backup 601.0 MiB (600.0 MiB last time), 0:00");
    }

    #[test]
    fn a_status_says_nothing_that_nobody_knows() {
        let status = |history, progress: Progress| {
            let running = Running::new("backup", history, true);
            running.note(&progress);
            running.status()
        };
        let p = Progress { stage: Stage::Working, files_done: 1, bytes_done: 5, bytes_read: 5, ..Progress::default() };
        for key in ["percent_done", "seconds_remaining", "total_files", "total_bytes", "last_bytes"] {
            assert!(status(None, p).get(key).is_none(), "{key}");
        }
        let known = status(None, Progress { files_total: 4, bytes_total: 20, ..p });
        assert_eq!((&known["percent_done"], &known["total_bytes"]), (&json!(0.25), &json!(20)));
    }
}
