//! How a view of snapshots reaches other programs: as a file system, and over HTTP.
//! An adapter must never decide what is in a snapshot; it puts the engine's answers into the words of a protocol.

pub mod directory;
pub mod fuse;
pub mod mounting;
pub mod web;

use crate::output::Output;
use crate::{size, time};
use seabed_engine::observe::Observer;
use seabed_engine::view::View;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Says what was read while a view was shown.
pub fn ended(view: &View, began: Instant, out: &Output) {
    let frames = view.frames_decoded();
    if out.json {
        let seconds = began.elapsed().as_secs_f64();
        out.message(&json!({"message_type": "summary", "total_duration": seconds, "frames_decoded": frames}));
    } else if out.level > 0 {
        out.say(&format!("{} decoded in {}", size::of(frames, "frame"), time::clock(began.elapsed())));
    }
}

/// Says what a view has to say, from whatever thread, for as long as it is shown.
pub struct Teller(pub Arc<dyn Fn(&str) + Send + Sync>);

impl Observer for Teller {
    fn warning(&self, text: &str) {
        (self.0)(text);
    }
}
