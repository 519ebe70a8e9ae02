//! Seabed's engine: repositories, and the operations on them. It prints nothing, and knows no command line.

// What unit tests may do and the engine may not. The replacements stand in `.clippy.toml`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::todo,
        clippy::unimplemented,
        clippy::unwrap_used
    )
)]

pub mod backup;
mod buffers;
pub mod catalog;
pub mod check;
pub mod chunk;
pub mod clock;
pub mod commit;
pub mod dump;
pub mod error;
pub mod faults;
pub mod forget;
pub mod format;
pub mod gc;
pub mod id;
pub mod index;
pub mod limits;
pub mod list;
pub mod observe;
pub mod pack;
pub mod rebuild;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod seal;
pub mod source;
pub mod store;
pub mod undelete;
pub mod usage;
pub mod view;
