//! Repositories in buckets by the real binary: exit codes for what stores and networks do, keys that come from where AWS' tools take them
//! and change while a run goes on, and caches that cannot be written. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::{Home, ended};
use seabed_tests::mount::Mount;
use seabed_tests::proxy::Proxy;
use seabed_tests::s3_server::behaviour::Credential;
use seabed_tests::s3_server::{ACCESS_KEY, Fault, ListFault, Operation, Outcome, Rule, S3Server, SECRET_KEY, url};
use seabed_tests::tls::{Certificate, TlsFront, authority};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use Operation::{DeleteObject, GetObject, ListObjectsV2, PutObject};

/// A home with a bucket.
pub struct Site {
    pub home: Home,
    pub server: S3Server,
}

impl Site {
    pub fn new() -> Site {
        Site { home: Home::new(), server: S3Server::start() }
    }

    /// With a repository and a snapshot of `src`.
    pub fn stored() -> Site {
        let site = Site::new();
        site.ends(0, &["backup", "--init", "src"]);
        site
    }

    /// A command with keys in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.without_keys(args);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command
    }

    pub fn without_keys(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        // No instance is asked for its metadata: that is a network, and seconds.
        command.env("SEABED_REPOSITORY", self.server.url("x")).env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn ends(&self, code: i32, args: &[&str]) -> String {
        ended(code, &self.run(args), args)
    }

    fn ends_without(&self, code: i32, args: &[&str]) {
        ended(code, &self.without_keys(args).output().unwrap(), args);
    }

    fn snapshots(&self) -> usize {
        self.server.objects().keys().filter(|key| key.starts_with("x/snapshots/")).count()
    }
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Rows: 500/502/504, connect refused, DNS, TLS; 403 at the start and midway; QuotaExceeded; captive portal; BadDigest; LIST incomplete;
// 404 after 200 PUT; wrong keys. What each ends with, and that it stored no snapshot.
#[test]
fn each_fault_has_its_exit_code() {
    let site = Site::stored();
    let put = |fault: Fault, key: &str| Rule::new(fault).on(PutObject).key(key).for_ever();
    let cases = [
        (22, "503", Rule::new(Fault::slow_down(None)).for_ever()),
        (22, "500", Rule::new(Fault::refuse(500, "InternalError")).for_ever()),
        (22, "504", put(Fault::refuse(504, "GatewayTimeout"), "data/")),
        (22, "reach", Rule::new(Fault::ResetBefore).for_ever()),
        (22, "no S3 store", Rule::new(Fault::Portal).for_ever()),
        (22, "no S3 store", Rule::new(Fault::EmptyOk).on(GetObject).for_ever()),
        (20, "ExpiredToken", Rule::new(Fault::refuse(400, "ExpiredToken")).for_ever()),
        (20, "ExpiredToken", put(Fault::refuse(400, "ExpiredToken"), "data/")),
        (1, "AccessDenied", Rule::new(Fault::refuse(403, "AccessDenied")).for_ever()),
        (1, "AccessDenied", put(Fault::refuse(403, "AccessDenied"), "data/")),
        (1, "AccessDenied", put(Fault::refuse(403, "AccessDenied"), "index/")),
        (1, "AccessDenied", put(Fault::refuse(403, "AccessDenied"), "snapshots/")),
        (1, "make room", put(Fault::refuse(403, "QuotaExceeded"), "data/")),
        (1, "make room", put(Fault::refuse(507, "InsufficientStorage"), "names/")),
        (1, "completely", Rule::new(Fault::List(ListFault::KeyCount(1))).on(ListObjectsV2).key("snapshots").for_ever()),
        (10, "does not exist", Rule::new(Fault::refuse(404, "NoSuchBucket")).for_ever()),
    ];
    for (n, (code, says, rule)) in cases.into_iter().enumerate() {
        let what = format!("{rule:?}");
        site.server.inject(rule);
        // The run before may have stored all of its content.
        site.home.write("src/new", &format!("new {n} ").repeat(5000));
        let output = site.run(&["backup", "src", "--retry-minutes", "0"]);
        ended(code, &output, &[&what]);
        assert!(errors(&output).contains(says), "{what}: {}", errors(&output));
        assert_eq!(site.snapshots(), 1, "{what}");
        site.server.clear_faults();
    }
    // A backup needs no DELETE.
    site.server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(DeleteObject).for_ever());
    // And says nothing about it: a key that only adds is what `iam-policy --append-only` advises, and cron writes a mail for each word.
    let output = site.run(&["backup", "--quiet", "src"]);
    ended(0, &output, &["backup"]);
    assert_eq!(errors(&output), "");
    site.server.clear_faults();
    site.ends(0, &["check", "--read-data"]);
    assert_eq!(site.snapshots(), 2);
    let packs: Vec<String> = site.server.objects().into_keys().filter(|key| key.starts_with("x/data/")).collect();
    packs.iter().for_each(|pack| site.server.flip_bit(pack, 8 * 40));
    site.ends(23, &["check", "--read-data"]);
    packs.iter().for_each(|pack| site.server.set_storage_class(pack, "DEEP_ARCHIVE"));
    let output = site.run(&["restore", "latest", "--target", "back"]);
    ended(1, &output, &["restore"]);
    assert!(errors(&output).contains("src/a.txt: ") && errors(&output).contains("--thaw"), "{}", errors(&output));
    // The other way round: what is to be had is said, ordered, and restored.
    site.server.behave(|b| (b.classes_cold, b.thaw_requests) = (vec!["DEEP_ARCHIVE".into()], 0));
    let plan = |flags: &[&str]| {
        let output = site.run(&[&["restore", "latest", "--target", "back", "--plan", "--json"], flags].concat());
        ended(0, &output, flags);
        serde_json::from_slice::<serde_json::Value>(output.stdout.trim_ascii()).unwrap()
    };
    let planned = plan(&[]);
    assert!(planned["packs_archived"].as_u64() > Some(0) && planned["packs"] == planned["packs_archived"], "{planned}");
    assert!(site.server.log_of(Operation::RestoreObject).is_empty());
    plan(&["--thaw"]);
    assert_eq!(plan(&[])["packs_archived"].as_u64(), Some(0));
    site.ends(0, &["check"]);
}

// Rows: connect refused, DNS, TLS handshake: by what is in the name of the repository.
#[test]
fn a_place_that_cannot_be_reached_has_its_exit_code() {
    let site = Site::stored();
    let (proxy, log) = (Proxy::start(site.server.address()), site.server.log().len());
    let secure = [Certificate::Valid, Certificate::Expired].map(|certificate| TlsFront::start(site.server.address(), certificate));
    proxy.set_down(true);
    let nowhere = format!("s3:https://{}.invalid/bucket/x", "a".repeat(70));
    let authority = authority();
    for (code, says, place, ca_file) in [
        (22, "run it again", url(proxy.address(), "x"), None),
        (22, "run it again", nowhere, None),
        (22, "run it again", site.server.url("x").replace("http://", "https://"), None),
        (20, "--ca-file", secure[0].url("x"), None),
        (20, "expired", secure[1].url("x"), Some(&authority)),
    ] {
        let mut command = site.command(&["backup", "src", "--retry-minutes", "0", "--repo", &place]);
        let output = command.envs(ca_file.map(|file| ("SEABED_CA_FILE", file))).output().unwrap();
        ended(code, &output, &[&place]);
        assert!(errors(&output).contains(says), "{place}: {}", errors(&output));
    }
    assert_eq!(site.server.log().len(), log, "none of them came so far");
    site.ends(0, &["snapshots", "--repo", &secure[0].url("x"), "--ca-file", authority.to_str().unwrap()]);
}

// Row: ExpiredToken: the keys in the profile are replaced while a run goes on.
#[test]
fn keys_that_expire_while_a_run_goes_on_are_read_anew() {
    let site = Site::new();
    let known = |access: &str, expired| Credential {
        access: access.to_owned(),
        secret: format!("secret of {access}"),
        token: Some(format!("token-of-{access}")),
        expired,
    };
    let profile = |access: &str| {
        let Credential { secret, token, .. } = known(access, false);
        let keys = format!("aws_access_key_id={access}\naws_secret_access_key={secret}\naws_session_token={}\n", token.unwrap());
        site.home.write(".aws/credentials", &format!("[default]\n{keys}"));
    };
    site.server.behave(|b| b.credentials = vec![known("first", false), known("second", false)]);
    profile("first");
    site.server.inject(Rule::new(Fault::StallBefore).on(PutObject).key("data/").times(1));
    let mut run = site.without_keys(&["backup", "--init", "src"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    site.server.wait_until(|log| log.iter().any(|request| request.outcome == Outcome::Stalled));
    profile("second");
    site.server.behave(|b| b.credentials = vec![known("first", true), known("second", false)]);
    site.server.release_stalls();
    assert!(run.wait().unwrap().success());
    let by = |access: &str| {
        let named = format!("Credential={access}/");
        move |request: &&seabed_tests::s3_server::Logged| request.header("authorization").is_some_and(|header| header.contains(&named))
    };
    let log = site.server.log();
    let refused: Vec<_> = log.iter().filter(by("first")).filter(|request| request.status() == Some(400)).collect();
    assert!(!refused.is_empty() && refused.len() <= 16, "those that were under way, and no more: {}", refused.len());
    assert!(log.iter().filter(by("second")).any(|request| request.key.starts_with("x/snapshots/")));
    assert_eq!(site.snapshots(), 1);
    site.ends_without(0, &["check", "--read-data"]);
}

// Row: ExpiredToken: keys that a program gives out are asked for again.
#[test]
fn keys_of_a_process_are_asked_for_again() {
    let site = Site::new();
    // Each call gives the next key; the first one has expired already, as far as the store is concerned.
    site.home.write("next", "1");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nn=$(cat next)\necho $((n + 1)) > next\n\
                  echo '{\"Version\": 1, \"AccessKeyId\": \"key-'$n'\", \"SecretAccessKey\": \"secret\", \"SessionToken\": \"token\"}'\n";
    site.home.write("give", script);
    fs::set_permissions(site.home.path("give"), fs::Permissions::from_mode(0o700)).unwrap();
    site.home.write(".aws/config", &format!("[default]\ncredential_process = {}\n", site.home.path("give").display()));
    let keys = |good: u32| {
        let key =
            |n: u32| Credential { access: format!("key-{n}"), secret: "secret".into(), token: Some("token".into()), expired: n < good };
        (1..10).map(key).collect::<Vec<_>>()
    };
    site.server.behave(|b| b.credentials = keys(2));
    site.ends_without(0, &["backup", "--init", "src"]);
    let refused = site.server.log().iter().filter(|request| request.status() == Some(400)).count();
    assert!((1..=16).contains(&refused), "those that were asked at the same time, and no more: {refused}");
    // One that goes on giving what the store refuses is not asked for ever.
    site.server.behave(|b| b.credentials = keys(100));
    site.ends_without(20, &["backup", "src"]);
    assert_eq!(site.snapshots(), 1);
}

// Row: 301/307, and all others: keys go to nobody but the store, and into no message.
#[test]
fn no_key_is_ever_printed() {
    let site = Site::stored();
    for fault in
        [Fault::refuse(403, "AccessDenied"), Fault::refuse(400, "InvalidToken"), Fault::Portal, Fault::refuse(403, "SignatureDoesNotMatch")]
    {
        site.server.inject(Rule::new(fault).for_ever());
        for args in [&["backup", "src", "-vv", "--retry-minutes", "0"][..], &["check", "--json", "--retry-minutes", "0"]] {
            let output = site.run(args);
            let said = errors(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && !said.contains(SECRET_KEY), "{said}");
        }
        site.server.clear_faults();
    }
}

fn everything_works(site: &Site, cache: &Path, what: &str) {
    let cache = cache.to_str().unwrap();
    let back = site.home.path("back");
    for args in [
        &["backup", "src", "--cache-dir", cache][..],
        &["check", "--read-data", "--cache-dir", cache],
        &["restore", "latest", "--target", back.to_str().unwrap(), "--cache-dir", cache],
    ] {
        let output = site.run(args);
        ended(0, &output, &[what, args[0]]);
    }
    let top = site.home.path("src");
    let restored = back.join(top.strip_prefix("/").unwrap());
    assert_eq!(fs::read(restored.join("a.txt")).unwrap(), fs::read(top.join("a.txt")).unwrap(), "{what}");
    fs::remove_dir_all(back).unwrap();
}

// Row: EROFS, no write permission: a cache that cannot be written costs time and nothing else; one that is there already likewise.
#[test]
fn a_read_only_cache_costs_no_command() {
    for used_before in [false, true] {
        let site = Site::stored();
        let mount = Mount::new("size=8m");
        if used_before {
            everything_works(&site, mount.path(), "before");
            site.home.write("src/a.txt", "changed\n");
        }
        mount.set_read_only();
        everything_works(&site, mount.path(), &format!("read-only, used before: {used_before}"));
    }
}

// Row: ENOSPC at any local write: a cache that was in use becomes full.
#[test]
fn a_cache_that_has_become_full_costs_no_command() {
    let site = Site::stored();
    let mount = Mount::new("size=4m");
    let cache = mount.path().join("cache");
    everything_works(&site, &cache, "before");
    for pages in [0, 2, 8] {
        let ballast = mount.fill(pages * 4096);
        site.home.write("src/a.txt", &format!("with {pages} pages\n"));
        everything_works(&site, &cache, &format!("{pages} pages are left"));
        fs::remove_file(ballast).unwrap();
    }
}

/// A catalog whose disk became full after it was opened ended the backup.
// Row: ENOSPC at any local write: a cache on a full disk, at any place where it may have become full.
#[test]
fn a_full_cache_costs_no_command() {
    let site = Site::stored();
    let mount = Mount::new("size=4m");
    for pages in [0, 1, 2, 4, 8, 16, 24, 32, 48] {
        let ballast = mount.fill(pages * 4096);
        site.home.write("src/a.txt", &format!("with {pages} pages\n"));
        everything_works(&site, &mount.path().join("cache"), &format!("{pages} pages are left"));
        fs::remove_file(ballast).unwrap();
        fs::remove_dir_all(mount.path().join("cache")).unwrap_or(());
    }
}
