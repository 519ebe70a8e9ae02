//! The source side of a backup: walking trees, deciding what is left out, and reading what `lstat` does not tell.
//! Nothing here touches a repository, follows a symlink that the user did not type, or lets one failure hide the siblings of what failed.
//! It obeys spec chapter 6 (entries and their order).

pub mod filter;
pub mod meta;
mod names;
mod open;
pub mod roots;
pub mod stream;
pub mod tar;
mod unpack;
pub mod walk;

pub use filter::Excludes;
pub use meta::{Completer, data_ranges};
pub use open::open_entry;
pub use unpack::unpacked;
pub use walk::{WalkEntry, WalkItem, WalkOptions, Walker};
