//! The threads that drive a store's connections. They must never hold up whoever lets go of the store.

use std::future::Future;
use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that drive connections: they seal TLS records, no more.
const THREADS: usize = 2;

/// A runtime that is left to itself when it is dropped. tokio's own waits for what blocks, and a name that does not resolve blocks for
/// as long as the system's resolver likes: the process would not end before.
pub struct Driver {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Driver {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("s3").enable_all().build()?;
        Ok(Driver { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs a future to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A command that was done, or interrupted, did not end before the resolver had given up on a name.
    #[test]
    fn nobody_waits_for_what_blocks() {
        let driver = Driver::start().unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        driver.block_on(async {
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                // An end for a test that fails.
                blocked.recv_timeout(Duration::from_secs(20)).unwrap();
            });
        });
        has_begun.recv().unwrap();
        drop(driver);
        release.send(()).expect("it still blocks");
    }
}
