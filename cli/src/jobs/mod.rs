//! Jobs: what an application needs backed up, and how it is run unattended. The engine knows no database and no schedule; this does.
//! Floors, lowest first: `config` (words), `clients`, `sources` and `schedule`, `state`, `run`. None imports one above it.
//! It obeys DESIGN section 3 and what README.md says of `seabed.toml`.

pub mod clients;
pub mod config;
pub mod into;
pub mod open;
pub mod restore;
pub mod run;
pub mod schedule;
pub mod sources;
pub mod state;
