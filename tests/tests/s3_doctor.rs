//! What `init`, `doctor` and the options for S3 say and do before and beside a backup, by the real binary: rules of a bucket, stores that
//! list badly, places and keys that are wrong. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::ended;
use crate::s3_cli::{Site, errors};
use seabed_tests::s3_server::behaviour::{Canned, Versioning};
use seabed_tests::s3_server::{Fault, ListFault, Operation, Rule};
use serde_json::Value;

/// `doctor --json`: its findings as `level: message`.
fn findings(site: &Site, code: i32, flags: &[&str], what: &str) -> (Vec<String>, Value) {
    let output = site.run(&[&["doctor", "--json"], flags].concat());
    let out = ended(code, &output, &[what]);
    let value: Value = serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{what}: {error}: {out}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let rows = value["findings"].as_array().unwrap().iter().map(|f| format!("{}: {}", text(f, "level"), text(f, "message"))).collect();
    (rows, value)
}

fn rules(rules: &str) -> Canned {
    Canned::Xml(format!("<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</LifecycleConfiguration>"))
}

fn rule(prefix: &str, does: &str) -> Canned {
    rules(&format!("<Rule><ID>r</ID><Filter><Prefix>{prefix}</Prefix></Filter><Status>Enabled</Status>{does}</Rule>"))
}

const EXPIRES: &str = "<Expiration><Days>30</Days></Expiration>";

fn moves(class: &str) -> String {
    format!("<Transition><Days>1</Days><StorageClass>{class}</StorageClass></Transition>")
}

/// `doctor` was executed by no test: a rule that would have deleted a repository was found in units only, never in an answer of a store.
#[test]
fn t16_doctor_finds_what_a_bucket_would_do_to_a_repository() {
    let site = Site::stored();
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration>";
    let off = format!("<Rule><ID>r</ID><Prefix></Prefix><Status>Disabled</Status>{EXPIRES}</Rule>");
    let ancient = format!("<Rule><ID>r</ID><Prefix>x/</Prefix><Status>Enabled</Status>{EXPIRES}</Rule>");
    for (code, says, lifecycle) in [
        (0, "ok: no lifecycle rule", Canned::Usual),
        (1, "fail: lifecycle rule `r` deletes", rule("x/", EXPIRES)),
        (1, "fail: lifecycle rule `r` deletes", rule("", EXPIRES)),
        (1, "fail: lifecycle rule `r` deletes", rule("x/data/", EXPIRES)),
        (1, "fail: lifecycle rule `r` deletes", rules(&ancient)),
        (1, "GLACIER", rule("x/", &moves("GLACIER"))),
        (0, "note: lifecycle rule `r` moves", rule("x/", &moves("STANDARD_IA"))),
        (0, "ok: no lifecycle rule", rule("logs/", EXPIRES)),
        (0, "ok: no lifecycle rule", rules(&off)),
        (0, "ok: no lifecycle rule", rule("x/", old)),
        (0, "note: lifecycle rules cannot be read", Canned::Error(403, "AccessDenied".into())),
        (0, "note: lifecycle rules cannot be read", Canned::Error(501, "NotImplemented".into())),
    ] {
        let what = format!("{lifecycle:?}");
        site.server.behave(|b| b.lifecycle = lifecycle);
        let (rows, value) = findings(&site, code, &[], &what);
        assert!(rows.iter().any(|row| row.contains(says)), "{what}: {rows:#?}");
        assert_eq!(value["failures"].as_u64(), Some(u64::from(code == 1)), "{what}");
        assert!(rows.iter().any(|row| row == "ok: a repository is here"), "{rows:#?}");
    }
    let listing = || Canned::Xml("<ListBucketResult><Name>bucket</Name></ListBucketResult>".into());
    site.server.behave(|b| b.lifecycle = listing());
    findings(&site, 0, &[], "a listing instead of rules");
    site.server.behave(|b| b.lifecycle = Canned::Usual);
    for (versioning, answer, lock, says) in [
        (Versioning::Off, Canned::Usual, Canned::Usual, "ok: the bucket keeps no old versions"),
        (Versioning::Enabled, Canned::Usual, Canned::Usual, "note: the bucket keeps every deleted object"),
        (Versioning::Off, Canned::Error(403, "AccessDenied".into()), Canned::Usual, "note: versioning cannot be read"),
        (Versioning::Off, Canned::Usual, Canned::Error(403, "AccessDenied".into()), "note: object lock cannot be read"),
        // rclone lists the bucket, whatever it is asked about it: `doctor` asked for a quarter of an hour.
        (Versioning::Off, listing(), Canned::Usual, "note: versioning cannot be read"),
        (Versioning::Off, Canned::Usual, listing(), "note: object lock cannot be read"),
    ] {
        site.server.behave(|b| (b.versioning, b.versioning_answer, b.object_lock) = (versioning, answer, lock));
        let (rows, value) = findings(&site, 0, &[], says);
        assert!(rows.iter().any(|row| row.contains(says)), "{says}: {rows:#?}");
        let notes = value["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "note");
        assert!(notes.into_iter().all(|note| note["remedy"].is_string()), "{value}");
    }
    // As a job every night: silent, but for what would lose data.
    assert_eq!(errors(&site.run(&["doctor", "--quiet"])), "");
    site.server.behave(|b| b.lifecycle = rule("x/", EXPIRES));
    let output = site.run(&["doctor", "--quiet"]);
    assert!(ended(1, &output, &["doctor"]).is_empty());
    assert!(errors(&output).contains("rule `r` deletes") && errors(&output).contains("remove the rule"), "{}", errors(&output));
}

/// `doctor` was green where no repository is, as it was where one had lost its descriptor.
#[test]
fn doctor_says_whether_a_repository_is_there() {
    let site = Site::new();
    let (rows, value) = findings(&site, 0, &[], "empty");
    assert!(rows.iter().any(|row| row == "note: no repository is here yet"), "{rows:#?}");
    assert!(value.to_string().contains("seabed init"), "{value}");
    assert!(rows.iter().any(|row| row.contains("in order, page by page")), "{rows:#?}");
    assert_eq!(site.server.objects().len(), 0, "it leaves nothing");
    site.ends(0, &["backup", "--init", "src"]);
    assert!(site.server.remove_object("x/seabed"));
    let (rows, _) = findings(&site, 1, &[], "lost");
    assert!(rows.iter().any(|row| row.starts_with("fail: ") && row.contains("descriptor")), "{rows:#?}");
    let elsewhere = site.server.url("x").replace("/bucket/", "/nowhere/");
    let output = site.run(&["doctor", "--repo", &elsewhere]);
    ended(10, &output, &["doctor"]);
    assert!(errors(&output).contains("--create-bucket"), "{}", errors(&output));
}

/// A storage class that the store does not know ended the first backup in its middle.
#[test]
fn a_storage_class_is_tried_before_it_is_relied_on() {
    let site = Site::new();
    for (class, says) in [("STANDARD_AI", "InvalidStorageClass"), ("ONEZONE_IA", "AccessDenied")] {
        // (A part of the key would be that of every sixteenth folder, whose names are drawn.)
        let denied = Rule::new(Fault::refuse(403, "AccessDenied")).on(Operation::PutObject).key_end("/2").for_ever();
        if class == "ONEZONE_IA" {
            site.server.inject(denied);
        }
        let output = site.run(&["init", "--storage-class", class]);
        ended(20, &output, &[class]);
        assert!(errors(&output).contains(says) && errors(&output).contains("--storage-class"), "{}", errors(&output));
        assert_eq!(site.server.objects().len(), 0, "nothing is left of it");
        let (rows, _) = findings(&site, 1, &["--storage-class", class], class);
        assert!(rows.iter().any(|row| row.starts_with("fail: the storage class")), "{rows:#?}");
        site.server.clear_faults();
    }
    site.ends(0, &["init", "--storage-class", "STANDARD_IA"]);
    let (rows, _) = findings(&site, 0, &["--storage-class", "STANDARD_IA"], "kept");
    assert!(rows.iter().any(|row| row == "ok: the storage class STANDARD_IA is kept"), "{rows:#?}");
}

/// The refusal of a store that does not list what it took was executed by no test.
#[test]
fn init_refuses_a_store_that_lists_badly() {
    // Badly from the first listing on, which is a whole one, or in pages only.
    for (skip, fault) in [(0, ListFault::Without(vec!["probe/".into()])), (1, ListFault::NoToken), (1, ListFault::Short(1))] {
        for args in [&["init"][..], &["backup", "--init", "src"], &["doctor"]] {
            let (site, what) = (Site::new(), format!("{args:?} {fault:?}"));
            site.server.inject(Rule::new(Fault::List(fault.clone())).on(Operation::ListObjectsV2).key("probe/").skip(skip).for_ever());
            let output = site.run(args);
            let said = ended(if args == ["doctor"] { 1 } else { 25 }, &output, &[&what]) + &errors(&output);
            assert!(said.contains("listings") && said.contains("use another"), "{what}: {said}");
            assert_eq!(site.server.objects().len(), 0, "{what}");
            assert!(!site.home.path(".config/seabed/keys").exists(), "{what}: a key was made for nothing");
        }
    }
}

/// Making the bucket was executed by no test, and a name that belongs to somebody else had no word of advice.
#[test]
fn init_makes_the_bucket_where_it_may() {
    let site = Site::new();
    let elsewhere = site.server.url("x").replace("/bucket/", "/nowhere/");
    let at = |args: &[&str]| site.run(&[args, &["--repo", &elsewhere]].concat());
    ended(10, &at(&["init"]), &["init"]);
    let taken = || Rule::new(Fault::refuse(409, "BucketAlreadyExists")).on(Operation::CreateBucket).for_ever();
    site.server.inject(taken());
    site.server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(Operation::ListObjectsV2).for_ever());
    let output = at(&["init", "--create-bucket"]);
    ended(20, &output, &["taken"]);
    assert!(errors(&output).contains("somebody else") && errors(&output).contains("choose another"), "{}", errors(&output));
    site.server.clear_faults();
    ended(0, &at(&["init", "--create-bucket"]), &["init"]);
    ended(0, &at(&["backup", "src"]), &["backup"]);
    // One's own that is there is no obstacle, by whatever word; a repository in it is.
    ended(1, &at(&["init", "--create-bucket"]), &["again"]);
    site.ends(0, &["init", "--create-bucket"]);
    site.server.inject(taken());
    site.ends(0, &["init", "--create-bucket", "--repo", &site.server.url("y")]);
}

/// Who had no rights in a bucket was told of a user who may not read a directory; who had no keys, of six places where the SDK looked.
#[test]
fn wrong_and_missing_keys_have_a_next_step() {
    let site = Site::stored();
    site.server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).for_ever());
    let output = site.run(&["snapshots"]);
    ended(1, &output, &["denied"]);
    let said = errors(&output);
    assert!(said.contains("iam-policy") && !said.contains("this user"), "{said}");
    site.server.clear_faults();
    for profile in [None, Some("nobody")] {
        let output = site.without_keys(&["snapshots"]).envs(profile.map(|name| ("AWS_PROFILE", name))).output().unwrap();
        ended(20, &output, &["none"]);
        let said = errors(&output);
        assert!(said.contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") && !said.contains("WebIdentityToken"), "{said}");
        assert!(profile.is_none_or(|name| said.contains(&format!("no profile `{name}`"))), "{said}");
        assert!(said.lines().count() <= 3, "{said}");
    }
}

/// `S3:` with a capital was taken for a directory, and the keys in it were printed; so were those in any scheme that is not known.
#[test]
fn a_place_with_an_odd_scheme_is_refused_without_being_repeated() {
    let site = Site::new();
    for place in [
        "S3:https://key:hunter2@h/b",
        "s3:HTTPS://key:hunter2@h/b",
        "SFTP:key:hunter2@h:/b",
        "minio://key:hunter2@h/b",
        "S4://key:hunter2@h/b",
        " s3:https://key:hunter2@h/b",
    ] {
        for flags in [&["--repo", place][..], &["--json", "--repo", place]] {
            let output = site.run(&[&["backup", "--init", "src"], flags].concat());
            ended(20, &output, &[place]);
            let said = errors(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(!said.contains("hunter2"), "{place}: {said}");
        }
    }
    let capital = site.server.url("x").replace("s3:http:", "S3:HTTP:");
    site.ends(0, &["init", "--repo", &capital]);
    site.ends(0, &["backup", "src"]);
}

/// The whole line of a command that gives the passphrase was printed when it failed, with what else was in it.
#[test]
fn a_secret_that_cannot_be_had_has_a_next_step() {
    let site = Site::stored();
    for (flag, value, says) in [
        ("--password-command", "false --token hunter2", "by hand"),
        ("--password-command", "TOKEN=hunter2 give", "by hand"),
        ("--password-command", "false 'hunter2", "by hand"),
        ("--password-file", "nowhere", "SEABED_PASSWORD_FILE"),
        ("--key-file", "nowhere", "SEABED_KEY_FILE"),
    ] {
        let output = site.run(&["snapshots", flag, value]);
        ended(20, &output, &[flag, value]);
        assert!(errors(&output).contains(says) && !errors(&output).contains("hunter2"), "{value}: {}", errors(&output));
    }
    // It said that neither --cache-dir nor HOME names a cache, which both did.
    let output = site.run(&["cache", "--no-cache"]);
    ended(20, &output, &["cache"]);
    assert!(errors(&output).contains("leave --no-cache out"), "{}", errors(&output));
}

/// What a command cost was said by `backup`, and by `snapshots`, `ls`, `dump` and `cat` only to a terminal, where no log sees it.
#[test]
fn every_command_says_what_went_over_the_wire() {
    let site = Site::stored();
    let file = format!("{}", site.home.path("src/a.txt").display());
    for args in [&["snapshots"][..], &["ls", "latest"], &["dump", "latest", &file], &["cat", "descriptor"], &["check"], &["doctor"]] {
        let output = site.run(args);
        let said = ended(0, &output, args) + &errors(&output);
        // How many is what the server counts, in `s3`: here a listing that was begun ahead may come in late.
        let line = said.lines().find(|line| line.ends_with(" down"));
        let requests = line.and_then(|line| line.split_once(" requests, ")?.0.parse::<u64>().ok());
        assert!(requests.is_some_and(|requests| requests > 3), "{args:?}: {said}");
        let quiet = site.run(&[args, &["--quiet"]].concat());
        assert_eq!(errors(&quiet), "", "{args:?}");
    }
}

/// These options were given to the engine by tests, and by none to the program.
#[test]
fn options_reach_the_store() {
    let site = Site::stored();
    let how = |sse: &str| {
        site.server.clear_log();
        site.home.write("src/new", sse);
        site.ends(0, &["backup", "src", "--sse", sse, "--connections", "2", "--limit-upload", "10M"]);
        let header = |name: &str| -> Vec<Option<String>> {
            let puts = site.server.log_of(Operation::PutObject);
            assert!(!puts.is_empty());
            let mut values: Vec<_> = puts.iter().map(|put| put.header(name).map(str::to_owned)).collect();
            values.dedup();
            values
        };
        [header("x-amz-server-side-encryption"), header("x-amz-server-side-encryption-aws-kms-key-id")]
    };
    let only = |value: &str| vec![Some(value.to_owned())];
    assert_eq!(how("AES256"), [only("AES256"), vec![None]]);
    assert_eq!(how("aws:kms"), [only("aws:kms"), vec![None]]);
    assert_eq!(how("aws:kms:my-key"), [only("aws:kms"), only("my-key")]);
    for bad in [&["--sse", "rot13"][..], &["--limit-download", "fast"], &["--connections", "0"], &["--limit-upload", "x"]] {
        ended(20, &site.run(&[&["backup", "src"], bad].concat()), bad);
    }
    site.ends(0, &["restore", "latest", "--target", "back", "--connections", "2", "--limit-download", "10M"]);
}

/// A restore that orders, waits and goes on was run by the engine alone.
#[test]
fn a_restore_from_an_archive_waits_and_restores() {
    let site = Site::stored();
    site.server.behave(|b| (b.classes_cold, b.thaw_requests) = (vec!["DEEP_ARCHIVE".into()], 0));
    for pack in site.server.objects().into_keys().filter(|key| key.starts_with("x/data/")) {
        site.server.set_storage_class(&pack, "DEEP_ARCHIVE");
    }
    let out = site.ends(0, &["restore", "latest", "--target", "back", "--thaw", "--thaw-days", "3", "--thaw-tier", "bulk"]);
    assert!(out.contains("ordered") && !site.server.log_of(Operation::RestoreObject).is_empty(), "{out}");
    let top = site.home.path("src");
    let restored = site.home.path("back").join(top.strip_prefix("/").unwrap()).join("a.txt");
    assert_eq!(std::fs::read(restored).unwrap(), std::fs::read(top.join("a.txt")).unwrap());
}
