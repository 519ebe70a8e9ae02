//! Schedules through the nights in which clocks are changed: operations.md section 7, test 11. The clock is libfaketime's, which children share.

use crate::cli::Home;
use crate::schedule::{Daemon, configure, home, messages};
use jiff::{Timestamp, ToSpan};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// A zone, a local time that its clocks skip in spring and repeat in autumn, and when it runs then: the first valid time, the first of the two.
struct Nights {
    zone: &'static str,
    skipped: (&'static str, &'static str),
    repeated: (&'static str, &'static str),
    /// From the first of two to the second, minutes.
    again: i64,
}

const NIGHTS: [Nights; 4] = [
    Nights { zone: "Europe/London", skipped: ("01:30", "2026-03-29T01:00:00Z"), repeated: ("01:30", "2026-10-25T00:30:00Z"), again: 60 },
    Nights { zone: "America/New_York", skipped: ("02:30", "2026-03-08T07:00:00Z"), repeated: ("01:30", "2026-11-01T05:30:00Z"), again: 60 },
    Nights {
        zone: "Australia/Lord_Howe",
        skipped: ("02:15", "2026-10-03T15:30:00Z"),
        repeated: ("01:45", "2026-04-04T14:45:00Z"),
        again: 30,
    },
    Nights { zone: "America/Santiago", skipped: ("00:30", "2026-09-06T04:00:00Z"), repeated: ("23:30", "2026-04-05T02:30:00Z"), again: 60 },
];

impl Nights {
    fn each(&self) -> [(&'static str, Timestamp); 2] {
        [self.skipped, self.repeated].map(|(time, at)| (time, at.parse().unwrap()))
    }

    fn home(&self, time: &str) -> Home {
        home(&format!("schedule = \"*-*-* {time}\"\ntz = \"{}\"", self.zone))
    }
}

/// libfaketime, wherever the machine's architecture has it.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|path| path.exists()).expect("libfaketime (package faketime) is needed")
}

/// The program, with its clock set to `at`. Without the wrapper, which would keep signals from it; by an offset, so that its children have the
/// same clock.
fn at(home: &Home, at: Timestamp, args: &[&str]) -> Command {
    let mut command = home.command(args);
    let offset = at.duration_since(Timestamp::now()).as_secs();
    command.env("TZ", "UTC").env("LD_PRELOAD", library()).env("FAKETIME", format!("{offset:+}")).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

fn tick(home: &Home, when: Timestamp) -> Vec<String> {
    let out = at(home, when, &["tick", "--json"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{when}: {text}{}", String::from_utf8_lossy(&out.stderr));
    messages(&text, "job_started").iter().map(|value| value["planned"].as_str().unwrap()[..19].to_owned()).collect()
}

/// Every quarter of an hour around the change, and once on the days before and after.
#[test]
fn t11_clock_tick_runs_once_a_day_through_both_nights() {
    std::thread::scope(|scope| {
        for nights in &NIGHTS {
            scope.spawn(|| {
                for (time, run) in nights.each() {
                    let home = nights.home(time);
                    let start = run.checked_sub(20.hours()).unwrap();
                    assert!(tick(&home, start).is_empty());
                    let mut started = Vec::new();
                    for quarter in -4..=10_i64 {
                        started.extend(tick(&home, run.checked_add((15 * quarter).minutes()).unwrap()));
                    }
                    let zone = nights.zone;
                    assert_eq!(started, [run.strftime("%Y-%m-%dT%H:%M:%S").to_string()], "{time} {zone}");
                    // The next one is that of the next day.
                    let next = tick(&home, run.checked_add(26.hours()).unwrap());
                    assert_eq!(next.len(), 1, "{time} {zone}: {next:?}");
                }
            });
        }
    });
}

/// The daemon sits there while it happens; and in the second hour of one name it has nothing to do.
#[test]
fn t11_clock_daemon_runs_once_in_both_nights() {
    std::thread::scope(|scope| {
        for (nights, (time, run)) in NIGHTS.iter().flat_map(|nights| nights.each().map(|night| (nights, night))) {
            scope.spawn(move || {
                let home = nights.home(time);
                // It knows the job since the day before.
                tick(&home, run.checked_sub(20.hours()).unwrap());
                let mut daemon = Daemon::start(at(&home, run.checked_sub(4.seconds()).unwrap(), &["daemon", "--json"]));
                daemon.hears("watching");
                let started = daemon.hears("job_started");
                assert_eq!(&started["planned"].as_str().unwrap()[..19], run.strftime("%Y-%m-%dT%H:%M:%S").to_string(), "{}", nights.zone);
                assert_eq!(daemon.hears("job_ended")["code"], 0);
                daemon.stop();
                let again = run.checked_add(nights.again.minutes()).unwrap();
                let mut daemon = Daemon::start(at(&home, again.checked_sub(2.seconds()).unwrap(), &["daemon", "--json"]));
                daemon.hears("watching");
                #[allow(clippy::disallowed_methods, reason = "that nothing happens takes its time")]
                std::thread::sleep(std::time::Duration::from_secs(4));
                let rest = daemon.stop();
                assert!(messages(&rest, "job_started").is_empty(), "{}: {rest}", nights.zone);
            });
        }
    });
}

/// A clock that was 400 days ahead for a while does not keep a job from running for 400 days; one that was a day behind runs it no more often.
#[test]
fn t11_clock_that_was_wrong_is_forgotten() {
    let home = home("schedule = \"02:00\"");
    let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    let later = |hours: i64| now.checked_add(hours.hours()).unwrap();
    assert_eq!((tick(&home, now).len(), tick(&home, later(24)).len()), (0, 1));
    assert_eq!(tick(&home, later(400 * 24)).len(), 1);
    assert_eq!((tick(&home, later(30)).len(), tick(&home, later(48)).len()), (0, 1));
    assert_eq!((tick(&home, later(24)).len(), tick(&home, later(36)).len(), tick(&home, later(60)).len()), (0, 0, 1));
}

/// By systemd's own reckoning, not ours.
#[test]
fn t11_clock_generated_timers_run_once_a_day_for_five_years() {
    let home = home("schedule = \"*-*-* 01:30\"\n[job.cron]\nsources = [\"src\"]\nschedule = \"30 2 * * *\"");
    home.ends(0, &["schedule", "install", "--systemd", "--dir", "units"]);
    for job in ["nightly", "cron"] {
        let timer = std::fs::read_to_string(home.path(&format!("units/seabed-{job}.timer"))).unwrap();
        let calendars: Vec<&str> = timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).collect();
        assert!(calendars.len() == 1 && calendars[0].ends_with(" UTC"), "{timer}");
        // Whatever the zone of the machine.
        let mut command = Command::new("systemd-analyze");
        command.env("TZ", "America/New_York").args(["calendar", "--iterations=1826", "--base-time=2026-01-01 12:00:00 UTC", calendars[0]]);
        let text = String::from_utf8(command.output().expect("systemd-analyze (package systemd) is needed").stdout).unwrap();
        let days: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("(in UTC): ")).collect();
        let different: BTreeSet<&&str> = days.iter().collect();
        assert_eq!((days.len(), different.len()), (1826, 1826), "{text}");
        let (first, last) = ("Fri 2026-01-02 ", "Wed 2031-01-01 ");
        assert!(days[0].starts_with(first) && days[1825].starts_with(last), "{:?} {:?}", days[0], days[1825]);
    }
    // In a zone it would not be so, and `check` says that.
    configure(&home, "schedule = \"*-*-* 01:30\"\ntz = \"Europe/London\"");
    home.ends(3, &["schedule", "check"]);
}
