//! The commit and collection protocol (chapter 7) as the engine does it, under a scheduler that owns every request to the store.
//! SEABED_TEST_SCHEDULES says how many schedules are played: about twice as many, 6,000 where it is not set; SEABED_TEST_SEED where chance begins;
//! SEABED_TEST_REPLAY plays one schedule again, as a failure prints it.

mod backups;
mod collections;
mod mixed;
mod pinned;
mod reader;
mod scheduler;
