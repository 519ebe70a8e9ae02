//! How a view of snapshots reaches other programs: as a file system, and over HTTP.
//! An adapter must never decide what is in a snapshot; it puts the engine's answers into the words of a protocol.

pub mod directory;
pub mod fuse;
pub mod mounting;
pub mod web;

use seabed_engine::observe::Observer;
use std::sync::Arc;

/// Says what a view has to say, from whatever thread, for as long as it is shown.
pub struct Teller(pub Arc<dyn Fn(&str) + Send + Sync>);

impl Observer for Teller {
    fn warning(&self, text: &str) {
        (self.0)(text);
    }
}
