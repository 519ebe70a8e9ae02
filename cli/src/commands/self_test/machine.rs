//! What a backup needs of a machine: a clock, room, files enough at a time, names of any bytes.
//! It must never call what only costs speed a failure.

use crate::commands::findings::{Finding, Level, finding};
use crate::serve::mounting::possible;
use crate::{size, time};
use rustix::process::{Resource, getrlimit};
use seabed_engine::clock;
use seabed_engine::format::wire::Time;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// No clock that is right shows less: 2025.
const CLOCK_MIN: i64 = 1_735_689_600;
/// Nor more: 2100.
const CLOCK_MAX: i64 = 4_102_444_800;
/// What a file system's clock may differ from the machine's.
const CLOCK_APART: i64 = 5;
/// What the walker of a deep tree and a store's connections have open.
const FILES_MIN: u64 = 1024;
/// Room that a cache and the spill files of large directories need at least.
const ROOM_MIN: u64 = 256 << 20;

/// Looks at it; `place` is an empty directory to try names in.
pub fn look(place: &Path, cache: Option<&Path>) -> Vec<Finding> {
    let mut findings = vec![processor(), files(), machine_clock(place)];
    findings.extend(cache.map(|cache| directory("the cache", cache)));
    findings.push(directory("TMPDIR", &std::env::temp_dir()));
    findings.push(fuse());
    findings.extend(names(place));
    findings
}

/// Which of what makes hashing and encryption fast the processor has.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("sse4.1", std::arch::is_x86_feature_detected!("sse4.1")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![("neon", std::arch::is_aarch64_feature_detected!("neon")), ("sve", std::arch::is_aarch64_feature_detected!("sve"))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let has: Vec<&str> = features().into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    let with = if has.is_empty() { "no vector instructions that are used".to_owned() } else { has.join(", ") };
    let text = format!("{}, {with}", size::of(cores, "core"));
    if has.contains(&"avx2") || has.contains(&"neon") {
        return finding(Level::Fine, text, None);
    }
    finding(Level::Note, text, Some("hashing and encryption take several times as long as with AVX2 or NEON; all else is the same"))
}

fn files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let shown = |n: u64| if n == u64::MAX { "any number of".to_owned() } else { size::count(n) };
    // The walker raises the soft limit as far as it may.
    if hard >= FILES_MIN {
        return finding(Level::Fine, format!("{} files may be open at a time ({} at most)", shown(soft), shown(hard)), None);
    }
    let remedy = "raise the hard limit of open files (`ulimit -Hn`) to 1024 or more";
    finding(Level::Note, format!("only {} files may be open at a time", shown(hard)), Some(remedy))
}

fn machine_clock(place: &Path) -> Finding {
    let now = clock::now();
    let wrong = |text: String| {
        finding(Level::Failure, text, Some("set the clock (NTP): times of snapshots come from it, and retention goes by them"))
    };
    if !(CLOCK_MIN..CLOCK_MAX).contains(&now.secs) {
        return wrong(format!("the clock shows {}", time::local(&now)));
    }
    let probe = place.join("clock");
    let written = File::create(&probe).and_then(|file| file.metadata()).map(|meta| meta.mtime());
    fs::remove_file(&probe).unwrap_or(());
    match written {
        Ok(at) if (at - now.secs).abs() > CLOCK_APART => finding(
            Level::Note,
            format!("the file system's clock shows {}, the machine's {}", time::local(&Time { secs: at, nanos: 0 }), time::local(&now)),
            Some("set both clocks (NTP): what changes while a backup runs may be taken for unchanged by the next one"),
        ),
        _ => finding(Level::Fine, format!("the clock shows {}", time::local(&now)), None),
    }
}

/// Whether a directory, or the one in which it would be made, can be written and has room.
fn directory(what: &str, path: &Path) -> Finding {
    let there = path.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    let probe = there.join(format!(".seabed-self-test-{}", std::process::id()));
    let written = File::create_new(&probe).map(drop);
    fs::remove_file(&probe).unwrap_or(());
    if let Err(error) = written {
        let remedy = "name another one (--cache-dir, TMPDIR), or let this user write there";
        return finding(Level::Note, format!("{what} {} cannot be written: {}", path.display(), crate::exit::plain(&error)), Some(remedy));
    }
    let Ok(room) = rustix::fs::statvfs(there) else {
        return finding(Level::Fine, format!("{what} {} can be written", path.display()), None);
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let text = format!("{what} {} can be written, {} free", path.display(), size::human(free));
    if free >= ROOM_MIN {
        return finding(Level::Fine, text, None);
    }
    finding(Level::Note, text, Some("make room there: listings, index and sorted directories of large repositories need some hundred MB"))
}

fn fuse() -> Finding {
    match possible() {
        Ok(()) => finding(Level::Fine, "/dev/fuse is there: snapshots can be mounted", None),
        Err(fail) => finding(Level::Note, format!("snapshots cannot be mounted: {}", fail.message), fail.hint.as_deref()),
    }
}

/// What the file system takes as names and attributes.
fn names(place: &Path) -> Vec<Finding> {
    let takes = |name: &[u8]| {
        let path = place.join(OsStr::from_bytes(name));
        let taken = File::create(&path).is_ok();
        fs::remove_file(&path).unwrap_or(());
        taken
    };
    let mut lacks = Vec::new();
    if !takes(&[b'n'; 255]) {
        lacks.push("names of 255 bytes");
    }
    if !takes(b"not \xff\xfe text") {
        lacks.push("names that are no UTF-8");
    }
    if !takes(b"line\nfeed: *?\"<>|") {
        lacks.push("names with control characters");
    }
    let (upper, lower) = (place.join("Case"), place.join("case"));
    if File::create(&upper).is_ok() && lower.exists() {
        lacks.push("names that differ only in case");
    }
    if fs::hard_link(&upper, place.join("link")).is_err() {
        lacks.push("hard links");
    }
    if std::os::unix::fs::symlink("nowhere", place.join("symlink")).is_err() {
        lacks.push("symlinks");
    }
    if rustix::fs::setxattr(&upper, "user.seabed", b"x", rustix::fs::XattrFlags::empty()).is_err() {
        lacks.push("extended attributes");
    }
    for name in ["Case", "link", "symlink"] {
        fs::remove_file(place.join(name)).unwrap_or(());
    }
    let where_ = place.parent().unwrap_or(place).display();
    vec![if lacks.is_empty() {
        finding(Level::Fine, format!("{where_} takes names of any bytes, links and extended attributes"), None)
    } else {
        let remedy = "a repository there lacks nothing; files that need these cannot be restored there";
        finding(Level::Note, format!("{where_} does not take {}", lacks.join(", ")), Some(remedy))
    }]
}
