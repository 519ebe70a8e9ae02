//! What stands where, by templates and labels alone.

use super::*;
use crate::format::manifest::{IndexPart, NamesPart};
use crate::id::WriterId;

fn snapshot(n: u8, secs: i64, (host, series): (&str, &str), tags: &[&str]) -> Snapshot {
    let time = Time { secs, nanos: 0 };
    let index = IndexPart::new(SnapshotId::new([n; 32]), (WriterId::new([1; 16]), 1), time);
    let names =
        NamesPart { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), user: "ann".to_owned(), ..NamesPart::new(series, host) };
    Snapshot { id: SnapshotId::new([n; 32]), index, names }
}

/// Every name, with what it stands for: the first byte of an id, or a link's target.
fn listing(folder: &Folder, at: &str, out: &mut Vec<String>) {
    for (name, above) in &folder.names {
        let path = format!("{at}/{}", String::from_utf8_lossy(name));
        match above {
            Above::Folder(below) => listing(below, &path, out),
            Above::Snapshot(id) => out.push(format!("{path} = {}", id.as_bytes()[0])),
            Above::Link(target) => out.push(format!("{path} -> {}", String::from_utf8_lossy(target))),
        }
    }
}

fn arranged(paths: &[&str], time: &str, snapshots: &[Snapshot]) -> Vec<String> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let mut out = Vec::new();
    listing(&Layout::new(&paths, time, TimeZone::UTC).unwrap().arrange(snapshots).0, "", &mut out);
    out
}

#[test]
fn snapshots_stand_under_ids_times_hosts_tags_and_series() {
    let snapshots = [snapshot(1, 0, ("web", "/srv"), &["a"]), snapshot(2, 60, ("db", "shop.sql"), &["b/c", "a"])];
    let want = "/hosts/db/1970-01-01T00:01:00 = 2
/hosts/db/latest -> 1970-01-01T00:01:00
/hosts/web/1970-01-01T00:00:00 = 1
/hosts/web/latest -> 1970-01-01T00:00:00
/ids/01010101 = 1
/ids/02020202 = 2
/series/+srv/1970-01-01T00:00:00 = 1
/series/+srv/latest -> 1970-01-01T00:00:00
/series/shop.sql/1970-01-01T00:01:00 = 2
/series/shop.sql/latest -> 1970-01-01T00:01:00
/snapshots/1970-01-01T00:00:00 = 1
/snapshots/1970-01-01T00:01:00 = 2
/snapshots/latest -> 1970-01-01T00:01:00
/tags/a/1970-01-01T00:00:00 = 1
/tags/a/1970-01-01T00:01:00 = 2
/tags/a/latest -> 1970-01-01T00:01:00
/tags/b+c/1970-01-01T00:01:00 = 2
/tags/b+c/latest -> 1970-01-01T00:01:00";
    assert_eq!(arranged(&[], TIME_TEMPLATE, &snapshots), want.lines().collect::<Vec<_>>());
}

#[test]
fn folders_that_every_snapshot_would_be_in_are_there_without_one() {
    let folder = Arc::new(Layout::new(&[], TIME_TEMPLATE, TimeZone::UTC).unwrap().arrange(&[]).0);
    let names: Vec<&[u8]> = folder.names.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [&b"hosts"[..], b"ids", b"series", b"snapshots", b"tags"]);
    assert!(folder.at(b"ids").is_some_and(|ids| ids.names.is_empty()) && folder.at(b"ids/x").is_none());
}

#[test]
fn names_that_are_taken_are_numbered_and_nothing_is_hidden() {
    let all = [snapshot(1, 0, ("latest", "s"), &[]), snapshot(2, 0, ("h", "s"), &[]), snapshot(3, 0, ("h", "s"), &[])];
    let have = arranged(&["x/%T"], "%Y", &all);
    assert_eq!(have, ["/x/1970 = 1", "/x/1970-1 = 2", "/x/1970-2 = 3", "/x/latest -> 1970-2"]);
    // A host called as the link, a folder where a snapshot is, a snapshot where a folder is.
    let have = arranged(&["%h", "%h/%T", "x/%T", "x/%h"], "%Y", &all[..2]);
    let want =
        ["/h = 2", "/h-1/1970 = 2", "/h-1/latest -> 1970", "/latest = 1", "/latest-1/1970 = 1", "/latest-1/latest -> 1970", "/x/1970 = 1"];
    assert_eq!(have[..7], want);
    assert_eq!(have[7..], ["/x/1970-1 = 2", "/x/h = 2", "/x/latest -> 1970-1", "/x/latest-1 = 1"]);
}

/// Names were given out from the oldest snapshot on, up to a bound and without a word: one manifest with a million tags hid all newer ones.
#[test]
fn a_snapshot_with_a_million_tags_hides_no_newer_one() {
    let mut all = [snapshot(1, 0, ("h", "s"), &[]), snapshot(2, 60, ("h", "s"), &["new"]), snapshot(3, 120, ("h", "s"), &["new"])];
    all[0].names.tags = (0..1_100_000).map(|n| format!("t{n}")).collect();
    let layout = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        Layout::new(&paths, "%Y", TimeZone::UTC).unwrap()
    };
    let listed = |folder: &Folder| {
        let mut out = Vec::new();
        listing(folder, "", &mut out);
        out
    };
    let (folder, is_whole) = layout(&[]).arrange(&all);
    let have = listed(&folder);
    let of = |end: &str| have.iter().filter(|line| line.ends_with(end)).count();
    assert_eq!((of(" = 1"), of(" = 2"), of(" = 3"), is_whole), (4 + TAGS_MAX, 5, 5, true));
    // A template with two tags for each place, or three.
    let (folder, _) = layout(&["%t/%t/%t"]).arrange(&all[..1]);
    assert_eq!(listed(&folder).len(), PLACES_MAX);
    // Where there is not room for all, the newest stand, with the numbers that they have among themselves.
    let refs: Vec<&Snapshot> = all.iter().collect();
    let shown = |max: usize| {
        let (folder, is_whole) = layout(&["x/%T", "ids/%h"]).arrange_within(max, &refs);
        (listed(&folder), is_whole)
    };
    let whole = ["/ids/h = 1", "/ids/h-1 = 2", "/ids/h-2 = 3", "/x/1970 = 1", "/x/1970-1 = 2", "/x/1970-2 = 3", "/x/latest -> 1970-2"];
    let (have, is_whole) = shown(6);
    assert!(have == whole && is_whole, "{have:?}");
    let (have, is_whole) = shown(3);
    assert_eq!(have, ["/ids/h = 3", "/x/1970 = 2", "/x/1970-1 = 3", "/x/latest -> 1970-1"]);
    assert!(!is_whole);
    assert_eq!(shown(0), (Vec::new(), false));
}

#[test]
fn a_time_may_be_a_path_and_stand_behind_other_text() {
    let one = [snapshot(1, 86_400, ("h", "s"), &[])];
    let have = arranged(&["by/%h-%T", "%%%u//./%I"], "%Y/%m/%d", &one);
    let id = "01".repeat(32);
    let want = [format!("/%ann/{id} = 1"), "/by/h-1970/01/02 = 1".to_owned(), "/by/h-latest -> h-1970/01/02".to_owned()];
    assert_eq!(have, want);
    assert!(arranged(&["%t/%T"], "%Y", &one).is_empty(), "a snapshot without a tag stands under none");
    // Two tags twice are four places; equal tags are one.
    let tagged = [snapshot(1, 0, ("h", "s"), &["b", "a", "b"])];
    assert_eq!(arranged(&["%t/%t"], "%Y", &tagged), ["/a/a = 1", "/a/b = 1", "/b/a = 1", "/b/b = 1"]);
}

#[test]
fn values_are_one_name_each_and_no_two_share_one() {
    let values = ["", ".", "..", "...", "/", "+", "%", "%2F", "a/b", "a+b", "a%2Bb", "\n", "%0A", "/home/ann", "é", "a b"];
    let names: std::collections::BTreeSet<String> = values.iter().map(|value| escape(value)).collect();
    assert_eq!(names.len(), values.len());
    assert!(names.iter().all(|name| crate::format::entry::name_is_valid(name.as_bytes())));
    assert_eq!((escape("/home/ann"), escape("c++/x"), escape("..")), ("+home+ann".into(), "c%2B%2B+x".into(), "%2E%2E".into()));
    let long = ["é".repeat(300), "é".repeat(301)].map(|value| escape(&value));
    assert!(long[0] != long[1] && long.iter().all(|name| name.len() <= PLAIN_BYTES_MAX));
}

#[test]
fn templates_that_make_no_sense_are_refused() {
    for path in ["", "/", "..", "a/../%i", ".", "%x", "%", "a/%"] {
        assert!(Layout::new(&[path.to_owned()], TIME_TEMPLATE, TimeZone::UTC).is_err(), "{path}");
    }
    for time in ["", "%!", "%Y/", "/%Y", "..", "%Y/../x"] {
        assert!(Layout::new(&[], time, TimeZone::UTC).is_err(), "{time}");
    }
}

#[test]
fn forms_of_times_that_restic_takes_are_taken() {
    assert_eq!(strftime("2006-01-02T15:04:05Z07:00"), "%Y-%m-%dT%H:%M:%S%:z");
    assert_eq!(strftime("2006-01-02_15-04-05"), "%Y-%m-%d_%H-%M-%S");
    assert_eq!(strftime("Mon Jan _2 06"), "%a %b %e %y");
    assert_eq!(strftime("%Y06"), "%Y06");
    assert_eq!(strftime("plain"), "plain");
}
