//! What `init`, `doctor` and the options for S3 say and do before and beside a backup, by the real binary: rules of a bucket, stores that
//! list badly, places and keys that are wrong. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::ended;
use crate::s3_cli::{Site, errors};
use seabed_tests::s3_server::{Fault, Operation, Rule};

/// Making the bucket was executed by no test, and a name that belongs to somebody else had no word of advice.
#[test]
fn init_makes_the_bucket_where_it_may() {
    let site = Site::new();
    let elsewhere = site.server.url("x").replace("/bucket/", "/nowhere/");
    let at = |args: &[&str]| site.run(&[args, &["--repo", &elsewhere]].concat());
    ended(10, &at(&["init"]), &["init"]);
    let taken = Rule::new(Fault::refuse(409, "BucketAlreadyExists")).on(Operation::CreateBucket).for_ever();
    site.server.inject(taken);
    let output = at(&["init", "--create-bucket"]);
    ended(20, &output, &["taken"]);
    assert!(errors(&output).contains("somebody else") && errors(&output).contains("choose another"), "{}", errors(&output));
    site.server.clear_faults();
    ended(0, &at(&["init", "--create-bucket"]), &["init"]);
    ended(0, &at(&["backup", "src"]), &["backup"]);
    // One's own that is there is no obstacle; a repository in it is.
    ended(1, &at(&["init", "--create-bucket"]), &["again"]);
    site.ends(0, &["init", "--create-bucket"]);
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
