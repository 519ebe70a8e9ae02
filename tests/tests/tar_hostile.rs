//! Archives that lie: entries that would climb, overwrite or exhaust, headers that claim what is not there, any bytes at all. An entry that
//! cannot be stored costs itself, an archive that is none ends the run, and nothing else happens.

use crate::tar_source::Bench;
use proptest::prelude::*;
use seabed_engine::backup::Failure;
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::source::stream::StreamFailure;
use seabed_engine::source::tar::{Next, TarReader};
use seabed_engine::source::unpacked;
use seabed_tests::repo::{bytes_stream, dump_path, restore_to, select};
use seabed_tests::tools::{END, body, file, header, ok, pax, sealed};
use seabed_tests::trees::{full, noise};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Entries that cannot be stored cost themselves; what stands beside them is stored.
#[test]
fn hostile_entries_are_refused_one_by_one() {
    let bench = Bench::new();
    let gnu = |mut block: Vec<u8>, change: &dyn Fn(&mut [u8])| {
        block[257..265].copy_from_slice(b"ustar  \0");
        change(&mut block);
        sealed(block)
    };
    let sparse = |map: &[u8], real: &[u8]| {
        let records: [(&str, &[u8]); 3] = [("GNU.sparse.map", map), ("GNU.sparse.size", real), ("GNU.sparse.numblocks", b"1")];
        [pax(b'x', &records), file(b"sparse", &[7; 100])].concat()
    };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("climbs", file(b"../climbs", b"x")),
        ("climbs within", file(b"a/../../climbs", b"x")),
        ("climbs by a record", [pax(b'x', &[("path", b"/../../x")]), file(b"y", b"x")].concat()),
        ("a zero in the name", [pax(b'x', &[("path", b"a\0b")]), file(b"y", b"x")].concat()),
        ("a name too long", [pax(b'x', &[("path", &[b'n'; 300])]), file(b"y", b"x")].concat()),
        ("no name", file(b".", b"x")),
        ("a link before its target", header(b"early", b'1', 0, b"later")),
        ("a link out", header(b"out", b'1', 0, b"../../etc/passwd")),
        ("a link to a directory", header(b"dirlink", b'1', 0, b"dir")),
        ("below a file", file(b"good/below", b"x")),
        ("below a symlink", [header(b"sym", b'2', 0, b"/etc"), file(b"sym/passwd", b"x")].concat()),
        ("in place of a directory", file(b"dir", b"x")),
        ("an empty target", header(b"sym2", b'2', 0, b"")),
        ("a kind of nobody", header(b"kind", b'Q', 0, b"")),
        ("the rest of another volume", header(b"volume", b'M', 0, b"")),
        ("an owner below zero", gnu(header(b"minus", b'0', 0, b""), &|h| h[108..116].fill(0xff))),
        ("an owner too large", [pax(b'x', &[("uid", b"99999999999")]), file(b"y", b"x")].concat()),
        ("a mode that is none", gnu(header(b"mode", b'0', 0, b""), &|h| h[100..108].copy_from_slice(b"rw-r--r-"))),
        ("a map that overlaps", sparse(b"0,60,50,40", b"1000")),
        ("a map past the end", sparse(b"990,100", b"1000")),
        ("a map of other data", sparse(b"0,99", b"1000")),
        ("a map that is none", sparse(b"0,x", b"1000")),
        ("a size past all", sparse(b"0,100", b"99999999999999999999")),
    ];
    for (what, entry) in bad {
        let archive =
            [header(b"dir/", b'5', 0, b""), file(b"dir/in", b"in"), file(b"good", b"good"), entry, file(b"later", b"later"), END.to_vec()];
        let report = bench.run(bytes_stream("", archive.concat())).unwrap();
        let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
        assert_eq!(report.error_count, 1, "{what}: {errors:?}");
        let id = report.snapshot.unwrap();
        for (path, content) in [(&b"dir/in"[..], &b"in"[..]), (b"good", b"good"), (b"later", b"later")] {
            assert_eq!(dump_path(&bench.repository, &id, path).unwrap(), content, "{what}");
        }
        let names = bench.names(&id);
        let mut expected = vec!["dir", "good", "later", "dir/in"];
        if what == "below a symlink" {
            expected.insert(3, "sym");
        }
        assert_eq!(names, expected, "{what}: {errors:?}");
    }
}

/// `./etc/./x` could not be stored, and was recorded under that name: `restore --delete` spared a directory that nobody has, and took the
/// last copy of the file out of the real one.
#[test]
fn what_could_not_be_stored_is_spared_where_it_would_be() {
    let bench = Bench::new();
    let dir = |name: &[u8]| header(name, b'5', 0, b"");
    let bad = |name: &[u8]| [pax(b'x', &[("uid", b"99999999999")]), file(name, b"x")].concat();
    let stored = [dir(b"./etc/"), file(b"./etc/good", b"good"), dir(b"opt/"), dir(b"srv/"), file(b"srv/good", b"good")].concat();
    let archive = [stored, bad(b"./etc//./x"), file(b"srv/./../opt/y", b"y"), END.to_vec()].concat();
    let report = bench.run(bytes_stream("data", archive)).unwrap();
    let failed: Vec<&Path> = report.errors.iter().map(|error| &*error.path).collect();
    assert_eq!(failed, [Path::new("/data/etc/x"), Path::new("/data/opt/y")]);
    let target = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
    for name in ["etc/x", "opt/y", "srv/gone"] {
        let path = target.path().join("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"the last copy").unwrap();
    }
    let restored = restore_to(&bench.repository, &report.snapshot.unwrap(), b"", target.path()).unwrap();
    assert_eq!(restored.error_count, 0, "{:?}", restored.errors);
    let left = ["etc/x", "etc/good", "opt/y", "srv/good", "srv/gone"].map(|name| target.path().join("data").join(name).exists());
    assert_eq!(left, [true, true, true, true, false]);
}

/// Each of 200,000 records was compared with the 4,096 attributes before it, whose limit was looked at last: 8 MiB of them took minutes.
#[test]
fn a_header_full_of_attributes_costs_what_it_is_long() {
    let bench = Bench::new();
    let keys: Vec<String> = (0..200_000).map(|n| format!("LIBARCHIVE.xattr.user.{n:06}")).collect();
    let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (&key[..], &b""[..])).collect();
    let archive = [pax(b'x', &records), file(b"f", b"x"), END.to_vec()].concat();
    let started = Instant::now();
    let report = bench.run(bytes_stream("", archive)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(report.error_count, 16, "that there are too many is not said for each");
    let snapshot = select(&bench.repository, &report.snapshot.unwrap(), b"").unwrap().snapshot;
    let mut kept = 0;
    list(&bench.repository, &snapshot, b"", true, |_, entry| {
        kept += entry.xattrs.len();
        Ok(true)
    })
    .unwrap();
    assert_eq!(kept, 4096);
}

/// GNU tar writes an ACL of no bytes for a hard link, which cost that entry (3).
#[test]
fn a_record_that_says_nothing_costs_nothing() {
    let bench = Bench::new();
    let records: [(&str, &[u8]); 3] = [("SCHILY.acl.access", b""), ("SCHILY.acl.default", b""), ("path", b"")];
    let link = header(b"link", b'1', 0, b"good");
    let archive = [file(b"good", b"good"), pax(b'x', &records), link, END.to_vec()].concat();
    let report = bench.run(bytes_stream("", archive)).unwrap();
    assert_eq!(report.error_count, 0, "{:?}", report.errors);
    assert_eq!(bench.names(&report.snapshot.unwrap()), ["good", "link"]);
}

#[test]
fn hostile_archives_end_the_run_and_nothing_else() {
    let bench = Bench::new();
    let good = file(b"good", b"good");
    let huge = |kind: u8, size: u64| header(b"x", kind, size, b"");
    let mut negative = huge(b'0', 0);
    negative[124..136].fill(0xff);
    let mut letters = huge(b'0', 0);
    letters[124..136].copy_from_slice(b"00000000xyz\0");
    let long = |records: usize| {
        let text = b"5 a=\n".repeat(records);
        [header(b"g", b'g', text.len() as u64, b""), body(&text)].concat()
    };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("a record of many gigabytes", huge(b'x', 8 << 30)),
        ("a global record of them", huge(b'g', 8 << 30)),
        ("a long name of them", huge(b'L', 8 << 30)),
        ("a long link of them", huge(b'K', 8 << 30)),
        ("a size below zero", sealed(negative)),
        ("a size of letters", sealed(letters)),
        ("a record that lies", [header(b"x", b'x', 10, b""), body(b"99 path=x\n")].concat()),
        // Each entry has all of them: two megabytes of archive became 600 of attributes.
        ("long attributes of all entries", pax(b'g', &[("SCHILY.xattr.user.a", &[7; 70_000])])),
        (
            "many attributes of all entries",
            [pax(b'g', &[("SCHILY.xattr.user.a", &[7; 40_000])]), pax(b'g', &[("SCHILY.xattr.user.b", &[7; 40_000])])].concat(),
        ),
        ("no header", noise(3, 512)),
        ("a broken checksum", {
            let mut block = header(b"x", b'0', 0, b"");
            block[0] ^= 1;
            block
        }),
    ];
    for (what, entry) in bad {
        match bench.run(bytes_stream("", [&good[..], &entry, &END].concat())) {
            Err(Failure::Stream(StreamFailure::NotTar { at, .. })) => assert!(at >= 1024, "{what}: {at}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // Keys that only repeat are one record.
    bench.stored("", &[long(1000), good.clone(), END.to_vec()].concat());
    let again = pax(b'g', &[("SCHILY.xattr.user.a", &[7; 40_000])]);
    bench.stored("", &[again.clone(), again, good.clone(), END.to_vec()].concat());
    assert_eq!(bench.committed(), 2);
    // A file that claims more than comes.
    match bench.run(bytes_stream("", [huge(b'0', 1 << 32), vec![7; 3 << 20]].concat())) {
        Err(Failure::Stream(StreamFailure::Torn { .. })) => {}
        other => panic!("{other:?}"),
    }
}

/// Reads all of an archive, as long as there is something.
fn read_all(archive: &[u8]) -> u64 {
    let Ok(Ok(input)) = unpacked(archive) else { return 0 };
    let mut reader = TarReader::new(input);
    let (mut entries, mut content) = (0, Vec::new());
    loop {
        match reader.next_entry() {
            Ok(Next::Member(_)) => {
                content.clear();
                while matches!(reader.append(&mut content, 1 << 20), Ok(1..)) {
                    content.clear();
                }
            }
            Ok(Next::Refused { .. }) => {}
            Ok(Next::End) => {
                reader.drain().map(|_| ()).unwrap_or(());
                return entries;
            }
            Err(_) => return entries,
        }
        entries += 1;
        // Of what was packed by gzip at most 1032 bytes come of one: then there are as many blocks.
        assert!(entries <= archive.len() as u64 * 1032 / 512, "more entries than blocks");
    }
}

fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(|| {
        let dir = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
        full(dir.path());
        let names = ["many/001", "many/007", "sparse", "hole", "deep", "twin", "dangling", "device", "fifo", "odd \u{e9}\n"];
        let formats: [&[&str]; 5] = [
            &["--format=gnu", "--sparse"],
            &["--format=posix", "--sparse"],
            &["--format=posix", "--sparse-version=0.0", "--sparse"],
            &["--format=v7"],
            &["--gzip"],
        ];
        let tar = |format: &&[&str]| {
            // The oldest has neither long names nor devices, and none but pax has attributes.
            let names = if format[0] == "--format=v7" { &names[..5] } else { &names[..] };
            let attributes: &[&str] = if format[0] == "--format=posix" { &["--xattrs", "--acls"] } else { &[] };
            ok("tar", &[&["c"], *format, attributes, names].concat(), dir.path(), b"")
        };
        formats.iter().map(tar).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever bytes come, reading ends, and gives out no more than there are.
    #[test]
    fn any_bytes_are_read_to_an_end(
        sample in 0usize..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut archive = samples()[sample].clone();
        for (at, byte, seal) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
            // Most changes of a header would only break its checksum.
            let block = at / 512 * 512;
            if seal && sample < 4 && block + 512 <= archive.len() {
                let whole = sealed(archive[block..block + 512].to_vec());
                archive[block..block + 512].copy_from_slice(&whole);
            }
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        read_all(&archive);
    }
}

/// The whole way, for some of what the reader alone is given.
#[test]
fn changed_archives_never_hurt_a_repository() {
    let bench = Bench::new();
    for round in 0..60u64 {
        let mut archive = samples()[round as usize % 4].clone();
        let chance = noise(round, 16);
        let at = u64::from_le_bytes(chance[..8].try_into().unwrap()) as usize % archive.len();
        let block = at / 512 * 512;
        archive[at] ^= chance[8] | 1;
        let whole = sealed(archive[block..block + 512].to_vec());
        archive[block..block + 512].copy_from_slice(&whole);
        match bench.run(bytes_stream("vol", archive)) {
            Ok(report) => {
                let target = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
                let restored = restore_to(&bench.repository, &report.snapshot.unwrap(), b"", target.path()).unwrap();
                assert_eq!(restored.error_count, 0, "round {round}: {:?}", restored.errors);
                let beside: Vec<_> = fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
                assert_eq!(beside, ["vol"], "round {round}");
            }
            Err(Failure::Stream(_)) => {}
            Err(other) => panic!("round {round}: {other:?}"),
        }
    }
    let check = seabed_engine::check::check(&bench.repository, &Default::default(), &Silent).unwrap();
    assert!(check.findings.is_empty(), "{:?}", check.findings);
}
