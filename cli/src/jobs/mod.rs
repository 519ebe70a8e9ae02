//! Jobs: what an application needs backed up, and how it is run unattended. The engine knows no database and no schedule; this does.
//! Floors, lowest first: `schedule::when` (times) and `config` (words); `clients` (programs of databases), `open`, `state`; `sources`, `into`; `run`
//! and `restore`; `schedule`, which starts runs. None imports one above it.
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
