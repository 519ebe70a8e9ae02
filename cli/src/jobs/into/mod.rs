//! Restores that do not end in a directory: into buckets. What is told of them, and how they end.
//! It must never replace what is there unless that was ordered.

#[allow(dead_code, reason = "`restore --into` is wired in a commit of its own")]
pub mod bucket;
