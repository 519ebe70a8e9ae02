//! Seabed.
fn main() {}
