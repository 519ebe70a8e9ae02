//! Threads on which processes run, one schedule after the other: to start them anew for each would take longer than most schedules.

use rayon::ThreadPoolBuilder;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// See the module's text. Dropping it ends the threads.
pub struct Crew {
    hands: Vec<(Option<Sender<Job>>, JoinHandle<()>)>,
}

impl Crew {
    /// This many at most for one schedule.
    pub fn new(hands: usize) -> Self {
        let hand = |_| {
            let (send, jobs) = channel::<Job>();
            let run = move || {
                // What one process computes in parallel must not occupy threads that another waits for while the scheduler holds it back.
                let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().expect("a pool of this thread");
                jobs.into_iter().for_each(|job| job());
                drop(alone);
            };
            (Some(send), std::thread::spawn(run))
        };
        Crew { hands: (0..hands).map(hand).collect() }
    }

    /// Gives a thread something to do.
    pub fn give(&self, hand: usize, job: Job) {
        let sent = self.hands[hand].0.as_ref().is_some_and(|hand| hand.send(job).is_ok());
        assert!(sent, "a thread of the crew has died");
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (send, _) in &mut self.hands {
            send.take();
        }
        // Who panics because a thread does not come back must not wait for it here.
        for (_, thread) in self.hands.drain(..).filter(|_| !std::thread::panicking()) {
            // A job's panic is caught where it is run; what else went wrong has failed a test already.
            thread.join().unwrap_or(());
        }
    }
}
