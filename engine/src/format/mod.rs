//! The repository format, version 1: every object to the byte, as `format-spec/` lays it down.
//! Pure: no I/O, no clock, no threads. What is encoded here is decoded by the golden tests and by an independent reader.

pub mod entry;
pub mod lists;
pub mod manifest;
pub mod notes;
pub mod object;
pub mod pack;
pub mod protocol;
pub mod repo;
pub mod segment;
pub mod tree;
pub mod wire;
