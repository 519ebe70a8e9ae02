//! Seabed's engine (draft facade; grows with the floors).
pub mod backup;
pub mod catalog;
pub mod chunk;
pub mod clock;
pub mod error;
pub mod format;
pub mod id;
pub mod index;
pub mod limits;
pub mod list;
pub mod observe;
pub mod pack;
pub mod repository;
pub mod restore;
pub mod seal;
pub mod source;
pub mod store;
