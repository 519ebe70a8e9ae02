//! The support library of the integration tests: what more than one of them needs.
//! It must never reach into the engine past its public surface. It obeys `format-spec/` and the contracts of DESIGN.

pub mod fault_store;
pub mod golden;
pub mod mount;
pub mod repo;
pub mod servers;
pub mod store_contract;
pub mod trees;
