//! Jobs: what is backed up when, and what happens around it. The engine knows nothing of it.
//! It must never store anything by itself: it calls the engine as the commands do. It obeys DESIGN section 3.

#[allow(dead_code, reason = "its commands follow")]
pub mod schedule;
