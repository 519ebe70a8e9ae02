//! When jobs run, and who starts them: timers of systemd, cron, a container, or the daemon.
//! It must never run a backup by itself: what is due is started as `seabed run`. It obeys operations.md, rows 0.4, 3.9 to 3.13.

pub mod compose;
pub mod crontab;
pub mod due;
pub mod made;
pub mod plan;
pub mod planned;
pub mod runner;
pub mod starts;
pub mod unit;
pub mod when;
