//! Ctrl-C and SIGTERM: the first asks the running operation to stop, the second ends the process at once.
//! It must never interrupt a system call in the middle of a commit: the flag is polled, nothing is unwound.
//! It obeys the promise of issue 2: stops within a second, leaves nothing that hurts, exit 130.

use crate::exit::Code;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes over the signals. Commands that only print leave them alone: there the default, to die, is right.
pub fn catch() {
    let flag = STOP.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Order matters: the first signal finds the flag down and only raises it, the second finds it up.
        let caught = signal_hook::flag::register_conditional_shutdown(signal, i32::from(Code::Interrupted.number()), flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()));
        // A signal that cannot be caught keeps its default: the process ends, which is what was asked for.
        caught.map(|_| ()).unwrap_or(());
    }
}

/// Whether the user asked to stop.
pub fn interrupted() -> bool {
    STOP.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
