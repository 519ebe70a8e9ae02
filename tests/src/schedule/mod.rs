//! The real engine on the memory store under a scheduler that owns every request: which order, which answers lost, who dies when.
//! A schedule is a few processes (threads) over one store; whatever the order, what was acknowledged restores, judged after every change
//! by the [`reader`](crate::reader). It obeys chapter 7 of the spec and DESIGN section 5; the model of that section names the scenarios.

pub mod campaign;
pub mod choice;
pub mod crew;
pub mod cues;
pub mod explore;
pub mod gate;
pub mod op;
pub mod pins;
pub mod play;
pub mod quiet;
pub mod random;
pub mod scenario;
pub mod scenes;
pub mod script;
pub mod source;
pub mod stage;
pub mod start;
pub mod trace;
pub mod verbs;
pub mod world;
