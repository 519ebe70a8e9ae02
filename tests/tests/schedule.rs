//! Schedules as the program lists, checks, installs and removes them, and the daemon that starts jobs by them. What systemd, cron and the clock
//! of the machine make of it is looked at in `schedule_real` and `schedule_clock`.

use crate::cli::{Home, ended};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A home with a repository in it, whose key it has, and a job with these lines.
pub fn home(job: &str) -> Home {
    let home = Home::new();
    home.write("key", "a passphrase\n");
    home.ends(0, &["init", "--repo", "backups", "--password-file", "key", "--quiet"]);
    configure(&home, job);
    home
}

/// Writes the configuration anew.
pub fn configure(home: &Home, job: &str) {
    let (backups, key, src, state) = (home.path("backups"), home.path("key"), home.path("src"), home.path("state"));
    let text = format!(
        "state_dir = {state:?}\n[repo.local]\nurl = \"dir:{}\"\nkey = {{ password_file = {key:?} }}\n[source.src]\nkind = \"files\"\npaths = [{src:?}]\n\
         [job.nightly]\nsources = [\"src\"]\n{job}\n",
        backups.display()
    );
    home.write("seabed.toml", &text);
}

/// The values of JSON lines of one kind.
pub fn messages(text: &str, kind: &str) -> Vec<Value> {
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}")));
    all.filter(|value| value["message_type"] == kind).collect()
}

/// How many snapshots there are.
pub fn snapshots(home: &Home) -> usize {
    let text = home.ends(0, &["snapshots", "--repo", "backups", "--password-file", "key", "--ids"]);
    text.lines().count()
}

#[test]
fn lists_say_when_jobs_run_next() {
    let home = home("schedule = [\"*-*-* 01:30\", \"0 14 * * 1\"]\ntz = \"Europe/London\"\n[job.manual]\nsources = [\"src\"]");
    let text = home.ends(0, &["schedule", "list", "--next", "4", "--from", "2026-03-27T12:00:00Z", "--json"]);
    let runs = messages(&text, "run");
    let told: Vec<_> =
        runs.iter().map(|run| (run["time"].as_str().unwrap()[..16].to_owned(), run["local"].as_str().unwrap().to_owned())).collect();
    let expected = [
        ("2026-03-28T01:30", "2026-03-28T01:30:00"),
        // Skipped by daylight saving: at the first valid time.
        ("2026-03-29T01:00", "2026-03-29T02:00:00"),
        ("2026-03-30T00:30", "2026-03-30T01:30:00"),
        ("2026-03-30T13:00", "2026-03-30T14:00:00"),
    ];
    assert_eq!(told, expected.map(|(utc, local)| (utc.to_owned(), local.to_owned())));
    assert_eq!(messages(&text, "unscheduled").len(), 1);
    let table = home.ends(0, &["schedule", "list"]);
    assert!(table.starts_with("Job") && table.contains("Europe/London"), "{table}");
    configure(&home, "schedule = \"25:00\"");
    let out = home.run(&["schedule", "list"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(20));
    assert!(said.contains("job.nightly: `25:00` is no schedule: 25 is no hour"), "{said}");
}

#[test]
fn checks_find_what_daylight_saving_does_and_who_meets() {
    let home = home("schedule = \"01:30\"\ntz = \"Europe/London\"\n[job.other]\nsources = [\"src\"]\nschedule = \"01:45\"");
    let check =
        |code: i32, more: &[&str]| home.ends(code, &[&["schedule", "check", "--from", "2026-01-01T00:00:00Z", "--json"], more].concat());
    let text = check(3, &[]);
    let found = messages(&text, "finding");
    let kinds: Vec<_> = found.iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["skipped", "repeated", "overlap"], "{text}");
    let skipped = &found[0]["changes"];
    assert_eq!((skipped.as_array().unwrap().len(), &skipped[0]["local"]), (5, &Value::from("2026-03-29T01:30:00")));
    assert_eq!(skipped[0]["pause_of_timer_seconds"], 47 * 3600);
    assert_eq!(messages(&check(3, &["--takes", "10m"]), "finding").len(), 2);
    configure(
        &home,
        "schedule = \"01:30\"\nrun = { jitter = \"10m\" }\n[job.other]\nsources = [\"src\"]\nschedule = \"02:00\"\ntz = \"Asia/Tokyo\"",
    );
    assert_eq!(messages(&check(0, &[]), "summary")[0]["findings"], 0);
}

#[test]
fn what_is_installed_is_known_again_and_removed_exactly() {
    let home = home("schedule = \"02:00\"\n[job.weekly]\nsources = [\"src\"]\nschedule = \"Sun 03:00\"");
    let units = home.path("units");
    home.write("units/seabed-other.service", "[Service]\nExecStart=/bin/true\n");
    let names = || {
        let mut all: Vec<_> = fs::read_dir(&units).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    home.ends(0, &["schedule", "install", "--systemd", "--dry-run"]);
    assert_eq!(names(), ["seabed-other.service"]);
    let install = ["schedule", "install", "--systemd", "--dir", "units", "--read-write", "src", "--credential", "a=/b"];
    home.ends(0, &install);
    let ours = ["seabed-nightly.service", "seabed-nightly.timer", "seabed-other.service", "seabed-weekly.service", "seabed-weekly.timer"];
    assert_eq!(names(), ours);
    let check = |code: i32| {
        let text = home.ends(code, &["schedule", "check", "--dir", "units", "--json"]);
        messages(&text, "finding").iter().map(|finding| finding["state"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
    };
    // With the options that it was installed with, which the files remember.
    assert!(check(0).is_empty());
    let timer = fs::read_to_string(units.join("seabed-nightly.timer")).unwrap();
    fs::write(units.join("seabed-nightly.timer"), timer.replace("02:00", "02:30")).unwrap();
    fs::remove_file(units.join("seabed-nightly.service")).unwrap();
    assert_eq!(check(3), ["missing", "edited"]);
    // A job less and another time.
    configure(&home, "schedule = \"02:15\"");
    home.ends(0, &["schedule", "install", "--systemd", "--dir", "units"]);
    assert_eq!(names(), ours[..3]);
    configure(&home, "schedule = \"02:20\"");
    assert_eq!(check(3), ["outdated"]);
    // Somebody else's file is not replaced, and nothing is written then.
    configure(&home, "schedule = \"02:20\"\n[job.other]\nsources = [\"src\"]\nschedule = \"Sun 03:00\"");
    let refused = home.run(&["schedule", "install", "--systemd", "--dir", "units"]);
    assert_eq!(refused.status.code(), Some(25), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(names(), ours[..3]);
    home.ends(0, &["schedule", "remove", "--dir", "units", "--dry-run"]);
    assert_eq!(names(), ours[..3]);
    home.ends(0, &["schedule", "remove", "--dir", "units"]);
    assert_eq!(names(), ["seabed-other.service"]);
    home.ends(0, &["schedule", "install", "--cron", "--dir", "units"]);
    home.ends(0, &["schedule", "install", "--compose", "--dir", "units"]);
    assert_eq!(names(), ["compose.seabed.yaml", "seabed", "seabed-other.service"]);
    // Of another configuration nothing is.
    symlink("seabed.toml", home.path("other.toml")).unwrap();
    home.ends(0, &["schedule", "remove", "--dir", "units", "--config", "other.toml"]);
    home.ends(0, &["schedule", "remove", "--dir", "units"]);
    assert_eq!(names(), ["seabed-other.service"]);
}

/// A daemon, and what it says.
pub struct Daemon {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Daemon {
    pub fn start(mut command: Command) -> Daemon {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Daemon { child, lines }
    }

    /// Its next word of a kind; other ones before it are passed over.
    pub fn hears(&mut self, kind: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the daemon ended without saying `{kind}`");
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            if value["message_type"] == kind {
                return value;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop. Returns what it said until its end, which is a good one.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        let out = self.child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{rest}\n{}", String::from_utf8_lossy(&out.stderr));
        rest
    }
}

#[test]
fn t17_schedulers_daemon_survives_a_restart_and_catches_up_once() {
    let home = home("schedule = \"*:0/20\"");
    let daemon = || Daemon::start(home.command(&["daemon", "--json"]));
    // A job that is new is looked at from now on.
    let mut first = daemon();
    first.hears("watching");
    assert!(!first.stop().contains("job_started"));
    let state = home.path("state/schedule.json");
    let then = serde_json::json!({"version": 1, "jobs": {"nightly": {"last": "2020-01-01T00:00:00Z"}}});
    fs::write(&state, then.to_string()).unwrap();
    let mut second = daemon();
    assert_eq!(second.hears("job_started")["planned"].as_str().map(|time| &time[..16]), Some("2020-01-01T00:20"));
    assert_eq!(second.hears("job_ended")["code"], 0);
    second.stop();
    let mut third = daemon();
    third.hears("watching");
    // Nothing but what is due by the clock, which is every twenty minutes.
    assert!(messages(&third.stop(), "job_started").len() <= 1);
    assert!((1..=2).contains(&snapshots(&home)));
    // A state that cannot be read is none: nothing is made up for, nothing ends.
    fs::write(&state, "{\"version\":").unwrap();
    let mut fourth = daemon();
    fourth.hears("watching");
    fourth.stop();
    assert!(fs::read_to_string(&state).unwrap().contains("nightly"));
}

#[test]
fn a_daemon_reads_its_configuration_again_and_stops_with_its_jobs() {
    let home = home("schedule = \"*-*-* 02:00\"");
    let mut daemon = Daemon::start(home.command(&["daemon", "--json"]));
    daemon.hears("watching");
    configure(&home, "schedule = \"nonsense\"");
    daemon.signal(Signal::HUP);
    // What it has stays in force.
    daemon.hears("watching");
    configure(&home, "schedule = \"*:*:*\"\nhooks = { pre = [\"touch began; sleep 60\"] }");
    daemon.signal(Signal::HUP);
    daemon.hears("job_started");
    let began = Instant::now();
    while !home.path("began").exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "the job does not begin");
        #[allow(clippy::disallowed_methods, reason = "another process has to get somewhere")]
        std::thread::sleep(Duration::from_millis(50));
    }
    let rest = daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(40), "the job was not ended");
    let ended = messages(&rest, "job_ended");
    assert_eq!(ended.last().map(|value| value["code"] != 0), Some(true), "{rest}");
    assert_eq!(snapshots(&home), 0);
}

#[test]
fn tick_starts_what_is_due_once() {
    let home = home("schedule = \"@yearly\"");
    let tick = |code: i32| ended(code, &home.command(&["tick", "--json"]).output().unwrap(), &["tick"]);
    assert_eq!(messages(&tick(0), "summary")[0]["started"], 0);
    let then = serde_json::json!({"version": 1, "jobs": {"nightly": {"last": "2020-06-01T00:00:00Z"}}});
    fs::write(home.path("state/schedule.json"), then.to_string()).unwrap();
    // Of two at once one decides.
    let both = [0, 1].map(|_| home.command(&["tick", "--json"]).stdout(Stdio::piped()).spawn().unwrap());
    let started: u64 = both
        .into_iter()
        .map(|child| {
            let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
            messages(&text, "summary")[0]["started"].as_u64().unwrap()
        })
        .sum();
    assert_eq!((started, snapshots(&home)), (1, 1));
    // A job that fails is said, and not tried again until it is due again.
    fs::write(home.path("state/schedule.json"), then.to_string()).unwrap();
    fs::rename(home.path("backups"), home.path("away")).unwrap();
    let text = tick(1);
    assert!(messages(&text, "job_ended")[0]["code"] != 0, "{text}");
    fs::rename(home.path("away"), home.path("backups")).unwrap();
    assert_eq!(messages(&tick(0), "summary")[0]["started"], 0);
}
