//! A thread with a single-threaded runtime that lives as long as its handle. It must never outlive it, nor block its test for ever.

use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Dropped, the future and all that it spawned are gone.
pub struct Background {
    name: &'static str,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs what `start` makes, on a thread and in a runtime of its own.
    pub fn run<F: Future<Output = ()>>(name: &'static str, start: impl FnOnce() -> F + Send + 'static) -> Background {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = start() => {}
                    _ = stopped => {}
                }
            });
        });
        Background { name, stop: Some(stop), thread: Some(thread.expect("a thread")) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic there has been printed; a second one here, while a test panics, would abort the run.
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("{} panicked", self.name);
        }
    }
}
