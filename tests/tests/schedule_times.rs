//! What a schedule comes to, beside what systemd makes of the same text: `systemd-analyze calendar` is the other implementation.
//! The module of the program is compiled into this test, so that thousands of times can be compared without starting it for each.

#[allow(dead_code)]
#[path = "../../cli/src/jobs/schedule/when/mod.rs"]
mod when;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::process::Command;
use when::{Schedule, Skipped};

/// Zones whose clocks are changed at 01:00, at 02:00, by half an hour, and at midnight, and one that leaves them alone; with a moment before each
/// change, and one just before an hour comes twice. (Asked anew between the two, systemd says now this and now that.)
const ZONES: [(&str, [&str; 3]); 5] = [
    ("Europe/London", ["2026-03-28T17:00:00Z", "2026-10-24T12:34:56Z", "2026-10-24T23:50:00Z"]),
    ("America/New_York", ["2026-03-07T23:00:00Z", "2026-10-31T23:00:00Z", "2026-11-01T04:50:00Z"]),
    ("Australia/Lord_Howe", ["2026-04-03T21:00:00Z", "2026-10-03T02:00:00Z", "2026-04-04T14:10:00Z"]),
    ("America/Santiago", ["2026-04-04T12:00:00Z", "2026-09-05T12:00:00Z", "2026-04-05T01:50:00Z"]),
    ("UTC", ["2026-01-01T00:00:00Z", "2026-02-28T23:59:59Z", "2028-02-28T12:00:00Z"]),
];

const TEXTS: [&str; 44] = [
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "yearly",
    "00:00",
    "00:30",
    "01:00",
    "01:30",
    "02:00",
    "02:15:30",
    "02:30",
    "03:00",
    "Sun 02:30",
    "Sun 01:30",
    "Mon..Fri 23:59:59",
    "Sat,Sun *-*-* 1,13:30",
    "Sun *-*-1..7 02:00",
    "Mon *-05~07/1",
    "*:0/20",
    "*:00/7",
    "00/6:00",
    "0/2:30",
    "1/3:15",
    "00..04:00/30",
    "*:*:0/20",
    "2..3:05,10..12",
    "*-*~1",
    "*-*~3..5 04:00",
    "*-02~01 12:00",
    "*-02-29",
    "*-*-31 12:00",
    "*-*-29..31/2",
    "*-1/2-1 1:30",
    "2027-*-* 02:00",
    "2026..2030/2-03-08 02:30",
    "26..28-10-25 01:30",
    "03-29 01:30",
    "12-24..26 18:00",
    "*-*-01/10 00:00",
    "Fri *-*-13 13:13:13",
];

/// What systemd says: the first of its words for each iteration, or why it does not understand.
fn systemd(text: &str, base: &str, count: usize) -> Result<Vec<String>, String> {
    let mut command = Command::new("systemd-analyze");
    command.env("TZ", "UTC").env("LC_ALL", "C").args(["calendar", &format!("--base-time={base}"), &format!("--iterations={count}"), text]);
    let out = command.output().expect("systemd-analyze (package systemd) is needed");
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("Next elapse:") || line.starts_with("Iter. #"));
    // `Next elapse: Sat 2026-03-28 01:30:00 UTC`
    let time = |line: &str| line.split_once(": ").unwrap().1.to_owned();
    Ok(lines.map(time).filter(|time| time != "never").collect())
}

/// Steps without an end. Over these systemd 252 stumbles where a day ends: `*:00/7` has no 00:00, and `1/3:15` nothing at all any more once the
/// clocks skip 01:00. That is why we write none into a unit.
fn is_open(text: &str) -> bool {
    text.split([' ', ':', '-', '~', ',']).any(|part| part.contains('/') && !part.contains(".."))
}

/// So that nobody simplifies what we write.
#[test]
fn open_steps_are_what_systemd_stumbles_over() {
    let first = |text: &str, base: &str| systemd(text, base, 30);
    let open = first("1/3:15 Europe/London", "2026-03-28 17:00:00 UTC");
    let closed = first("1..22/3:15 Europe/London", "2026-03-28 17:00:00 UTC").unwrap();
    assert!(open != Ok(closed), "this systemd has learned it: open steps may be compared too");
}

fn as_systemd(at: Timestamp) -> String {
    at.strftime("%a %Y-%m-%d %H:%M:%S UTC").to_string()
}

#[test]
fn times_are_those_of_systemd() {
    let compared: usize = std::thread::scope(|scope| {
        let threads = ZONES.map(|(zone, beginnings)| scope.spawn(move || beginnings.map(|base| compare(zone, base)).iter().sum::<usize>()));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(compared > 12_000, "only {compared} times were compared");
}

/// All texts from one moment on. Returns how many times there were.
fn compare(zone: &str, base: &str) -> usize {
    let tz = TimeZone::get(zone).unwrap();
    let from: Timestamp = base.parse().unwrap();
    let base = from.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut compared = 0;
    for text in TEXTS {
        let schedule = Schedule::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let lines = schedule.on_calendar(&tz);
        let ours: Vec<String> = schedule.after_if(from, &tz, Skipped::Never).take(24).map(as_systemd).collect();
        assert_eq!(ours, systemd(&lines[0], &base, 24).unwrap(), "{text} is written {lines:?}, from {base}");
        if !is_open(text) {
            assert_eq!(ours, systemd(&format!("{text} {zone}"), &base, 24).unwrap(), "{text} {zone} from {base}");
        }
        compared += ours.len();
    }
    compared
}

/// Cron's lines as lines of a timer, which elapses at the first of them.
#[test]
fn timers_of_cron_lines_elapse_when_they_say() {
    let lines = [
        "0 2 * * *",
        "0 */6 * * *",
        "0 0 * * 0",
        "0 2,14 * * *",
        "*/7 1-3 * * 1-5",
        "30 1 13 * 5",
        "15 2 1-7 * 7",
        "0 3 */2 * 1",
        "0 3 1 */3 *",
        "@weekly",
    ];
    for (line, zone) in lines.iter().flat_map(|line| ZONES.map(|(zone, _)| (line, zone))) {
        let tz = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(line).unwrap();
        let from: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let ours: Vec<String> = schedule.after_if(from, &tz, Skipped::Never).take(100).map(as_systemd).collect();
        let day = |text: &String| text.split_once(' ').unwrap().1.to_owned();
        let calendars = schedule.on_calendar(&tz);
        let mut theirs: Vec<String> = calendars.iter().flat_map(|line| systemd(line, "2026-03-01 00:00:00 UTC", 100).unwrap()).collect();
        theirs.sort_by_key(day);
        theirs.dedup();
        theirs.truncate(100);
        assert_eq!(ours, theirs, "{line} {zone}: {calendars:?}");
    }
}

/// What systemd refuses is refused: a unit that does not load is no backup.
#[test]
fn what_systemd_refuses_is_refused() {
    for text in [
        "",
        "12",
        "Foo",
        "25:00",
        "*/2:00",
        "23/2:00",
        "0/0:00",
        "5..3:00",
        "*-*~29",
        "*-*~1/1",
        "1:00 2:00",
        "*-13-01",
        "*-*-*-*",
        "*~*~01",
        "+1:00",
        "-1:00",
        "1:2:3:4",
        "Sat..Mon",
        "Mon.Tue",
        "*-*-32",
        "1969-*-*",
        "2200-*-*",
        "02:60",
        "*-00-01",
        "1,:00",
        "1:00 Europe/Nowhere",
    ] {
        assert!(Schedule::parse(text).is_err(), "`{text}` is accepted");
        assert!(systemd(text, "2026-01-01", 1).is_err(), "systemd accepts `{text}`");
    }
}
