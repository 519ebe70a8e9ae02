//! Seabed's engine (draft facade; grows with the floors).
pub mod chunk;
pub mod error;
pub mod format;
pub mod id;
pub mod limits;
pub mod observe;
pub mod restore;
pub mod seal;
pub mod source;
pub mod store;
