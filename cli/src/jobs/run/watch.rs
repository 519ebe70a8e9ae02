//! How far all workers of a run are together, for the bar and for whoever asks; and whether one of them moves at all.

use crate::output::Output;
use crate::progress::{Listener, Ways};
use seabed_engine::observe::{Observer, Progress, Stage};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Watches workers.
pub struct Watch<'a> {
    out: &'a Output,
    state: Mutex<State<'a>>,
}

#[derive(Default)]
struct State<'a> {
    workers: HashMap<String, (Progress, u64)>,
    /// What those that have ended had done.
    before: Progress,
    listener: Option<Listener<'a>>,
}

impl<'a> Watch<'a> {
    /// Of a run.
    pub fn new(out: &'a Output) -> Self {
        Watch { out, state: Mutex::default() }
    }

    /// A worker told how far it is. Whether that is further than before.
    pub fn moved(&self, who: &str, status: &Value) -> bool {
        let number = |key: &str| status[key].as_u64().unwrap_or(0);
        let progress = Progress {
            stage: stage(status["stage"].as_str().unwrap_or_default()),
            files_done: number("files_done"),
            bytes_done: number("bytes_done"),
            bytes_read: number("bytes_read"),
            files_total: number("total_files"),
            bytes_total: number("total_bytes"),
            errors: number("error_count"),
            ..Progress::default()
        };
        let sent = number("bytes_up");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = state.workers.insert(who.to_owned(), (progress, sent));
        let is = |p: &Progress| (p.stage.word(), p.files_done, p.bytes_done, p.packs_done);
        let moved = old.is_none_or(|(old, old_sent)| is(&old) != is(&progress) || old_sent != sent);
        let sum = state.workers.values().fold(state.before, |sum, (one, _)| added(&sum, one));
        let out = self.out;
        state.listener.get_or_insert_with(|| Listener::with(out, "run", Ways { totals: false, ..Ways::default() })).progress(&sum);
        moved
    }

    /// A worker has ended.
    pub fn ended(&self, who: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, _)) = state.workers.remove(who) {
            state.before = added(&state.before, &last);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).listener = None;
    }

    /// More about what was said last.
    pub fn detail(&self, text: &str) {
        if !self.out.json {
            self.out.detail(&crate::jobs::config::secret::redacted(text));
        }
    }
}

fn added(a: &Progress, b: &Progress) -> Progress {
    // A total that one of them does not know nobody knows.
    let total = |a: u64, b: u64, first: bool| {
        if first {
            b
        } else if a == 0 || b == 0 {
            0
        } else {
            a + b
        }
    };
    let first = a.files_done == 0 && a.bytes_done == 0 && a.files_total == 0;
    Progress {
        stage: b.stage,
        files_done: a.files_done + b.files_done,
        bytes_done: a.bytes_done + b.bytes_done,
        bytes_read: a.bytes_read + b.bytes_read,
        packs_done: 0,
        files_total: total(a.files_total, b.files_total, first),
        bytes_total: total(a.bytes_total, b.bytes_total, first),
        packs_total: 0,
        errors: a.errors + b.errors,
    }
}

fn stage(word: &str) -> Stage {
    [Stage::Preparing, Stage::Working, Stage::Verifying, Stage::Finishing]
        .into_iter()
        .find(|stage| stage.word() == word)
        .unwrap_or_default()
}
