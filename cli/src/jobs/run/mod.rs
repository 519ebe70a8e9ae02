//! Running jobs. A run is a supervisor and one worker process for each source: what happens to a worker (a crash, the out-of-memory killer, a
//! client that hangs) is an end like any other, after which the application is put back to work and the failure is told.

mod child;
pub mod hooks;
mod job;
pub mod journal;
mod ping;
mod report;
mod request;
pub mod retention;
mod watch;
pub mod worker;

pub use job::{Asked, Run};
