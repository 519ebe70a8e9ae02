//! Ctrl-C and SIGTERM: the first asks the running operation to stop, the second ends the process at once.
//! It must never interrupt a system call in the middle of a commit: the flag is polled, nothing is unwound.
//! It obeys one promise: stops within a second, leaves nothing that hurts, exit 130.

use crate::exit::Code;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What a person or a service manager ends a program with.
const CAUGHT: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Those that are taken over. What whoever started us wants ignored stays so: `nohup` wants it of SIGHUP, shells without job control of
/// SIGINT for what they send to the background.
fn caught() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let is_ignored = |signal: i32| mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1);
    CAUGHT.into_iter().filter(|signal| !is_ignored(*signal)).collect()
}

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Whether the signals are taken over.
static CATCHING: AtomicBool = AtomicBool::new(false);

/// Takes over the signals. Commands that only print leave them alone: there the default, to die, is right.
pub fn catch() {
    let flag = STOP.get_or_init(Arc::default);
    CATCHING.store(true, Ordering::Relaxed);
    for signal in caught() {
        // Order matters: the first signal finds the flag down and only raises it, the second finds it up.
        let caught = signal_hook::flag::register_conditional_shutdown(signal, i32::from(Code::Interrupted.number()), flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()));
        // A signal that cannot be caught keeps its default: the process ends, which is what was asked for.
        caught.map(|_| ()).unwrap_or(());
    }
}

/// Takes over the signals for good: no number of them ends the process before it has ended by itself. For who would leave something behind
/// that nobody answers, and ends within a moment.
pub fn catch_all() {
    let flag = STOP.get_or_init(Arc::default);
    CATCHING.store(true, Ordering::Relaxed);
    for signal in caught() {
        signal_hook::flag::register(signal, flag.clone()).map(|_| ()).unwrap_or(());
    }
}

/// Runs `ask`, which reads from the terminal with echo off. A signal that is caught only interrupts its read, so that it puts the
/// terminal back: a shell whose echo stays off looks dead.
pub fn while_asking<T>(ask: impl FnOnce() -> T) -> T {
    if CATCHING.load(Ordering::Relaxed) {
        return ask();
    }
    let heard = Arc::new(AtomicBool::new(false));
    let caught = caught();
    for signal in &caught {
        signal_hook::flag::register(*signal, heard.clone()).map(|_| ()).unwrap_or(());
    }
    let answer = ask();
    // Nobody polls here: from now on a signal ends the process again.
    for signal in caught {
        signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true))).map(|_| ()).unwrap_or(());
    }
    answer
}

/// Raised once the user asks to stop, for who cannot call [`interrupted`].
pub fn flag() -> Arc<AtomicBool> {
    STOP.get_or_init(Arc::default).clone()
}

/// Whether the user asked to stop.
pub fn interrupted() -> bool {
    STOP.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
