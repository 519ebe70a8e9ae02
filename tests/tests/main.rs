//! The one integration binary: one link step, one process. Each module owns one promise; none depends on another having run.
//! A test here must never skip itself because its machine lacks something: it fails and says what it needs.
//! What needs a server of another maker is asked for by a variable: see `servers`.

mod attacker;
mod cli;
mod completions;
mod damage;
mod disk_faults;
mod fault_list;
mod faults;
mod floors;
mod forget;
mod gc;
mod golden;
mod hostile;
mod json;
mod life;
mod pendings;
mod proxy;
mod prune;
mod restore;
mod retention;
mod roundtrip;
mod s3;
mod s3_answers;
mod s3_archive;
mod s3_cli;
mod s3_client;
mod s3_collection;
mod s3_credentials;
mod s3_doctor;
mod s3_faults;
mod s3_gate;
mod s3_lies;
mod s3_listings;
mod s3_network;
mod s3_second_looks;
mod s3_server;
mod s3_server_faults;
mod self_test;
mod servers;
mod sources;
mod store_contract;
mod terminal;
mod traces;
mod usage;
