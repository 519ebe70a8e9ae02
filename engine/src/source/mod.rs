//! The source side of a backup: walking trees, deciding what is left out, and reading what `lstat` does not tell.
//! Nothing here touches a repository, follows a symlink that the user did not type, or lets one failure hide the siblings of what failed.
//! It obeys spec chapter 6 (entries and their order).

#[doc(hidden)]
pub mod filter;
#[doc(hidden)]
pub mod meta;
mod names;
pub mod objects;
mod open;
#[doc(hidden)]
pub mod roots;
pub mod stream;
#[doc(hidden)]
pub mod tar;
mod unpack;
#[doc(hidden)]
pub mod walk;

pub use filter::Excludes;
pub use meta::Attributes;
pub use walk::WalkOptions;
#[doc(hidden)]
pub use {
    meta::{Completer, data_ranges},
    open::open_entry,
    unpack::unpacked,
    walk::{WalkEntry, WalkItem, Walker},
};
