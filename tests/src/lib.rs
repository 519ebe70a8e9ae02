//! The support library of the integration tests: what more than one of them needs.
//! It must never reach into the engine past its public surface. It obeys `format-spec/` and the contracts of DESIGN.

pub mod background;
pub mod dbms;
pub mod fault_store;
pub mod forge;
pub mod golden;
pub mod mount;
pub mod proxy;
pub mod pty;
pub mod reader;
pub mod repo;
pub mod s3_client;
pub mod s3_server;
pub mod schedule;
pub mod schema;
pub mod servers;
pub mod store_contract;
pub mod tls;
pub mod tools;
pub mod trees;
