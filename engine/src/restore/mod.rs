//! The restore side of the engine: what creates files, and later what plans and fetches for them.
//! Nothing here may leave the target directory or give a name to bytes that were not verified.
//! It obeys spec chapter 6 (names and attributes) and the restore rules of the threat model.

pub mod attrs;
pub mod file;
pub mod target;
