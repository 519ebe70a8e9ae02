//! What stands between the engine and a store: patience, credentials, endpoints, certificates, and answers that lie or do not end.
//! Every test begins with what went wrong once. Of time nothing is asserted; where a server or a limit takes time, it is what must not
//! matter.

use crate::cli::{Home, ended};
use crate::s3::{quick, store};
use seabed_engine::error::{Damage, Error, Kind};
use seabed_engine::store::s3::{Pace, S3Credentials, S3Options, S3Place, S3Store};
use seabed_engine::store::{Store, ThawOrder, ThawTier, there};
use seabed_tests::s3_server::{ACCESS_KEY, BUCKET, Fault, Operation, Rule, S3Server, SECRET_KEY};
use seabed_tests::store_contract::{bytes, name};
use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Output};
use std::time::Duration;

use Operation::{GetObject, HeadObject, ListObjectsV2, PutObject, RestoreObject};

const LONG: usize = 300_000;

fn with(server: &S3Server, options: S3Options) -> S3Store {
    S3Store::open(S3Place::parse(&server.url("x")).unwrap(), options).unwrap()
}

/// An upload that went well for longer than the budget, and was reset then, was never tried again: the budget paid for the time in which
/// bytes moved.
#[test]
fn a_slow_upload_is_tried_again() {
    let server = S3Server::start();
    server.inject(Rule::new(Fault::ResetUpload(LONG as u64 - 1000)).on(PutObject).times(2));
    let pace = Pace { budget: Duration::from_millis(700), wait_max: Duration::from_millis(5), ..quick().pace };
    // A second for each try.
    let slow = with(&server, S3Options { pace, limit_upload: Some(LONG as u64), ..quick() });
    slow.put(&name("data/aa/aa"), &bytes(1, LONG)).unwrap();
    assert_eq!(server.log_of(PutObject).len(), 3);
    assert!(server.object("x/data/aa/aa").unwrap() == bytes(1, LONG));
}

/// Whatever the others of a run had spent, a request that failed once was given up at once.
#[test]
fn one_more_try_is_always_left() {
    let server = S3Server::start();
    server.put_object("x/index/00", vec![1]);
    let store = with(&server, S3Options { pace: Pace { budget: Duration::ZERO, ..quick().pace }, ..quick() });
    server.inject(Rule::new(Fault::refuse(500, "InternalError")).on(GetObject).times(1));
    assert_eq!(store.get(&name("index/00"), 1).unwrap(), [1]);
    server.inject(Rule::new(Fault::refuse(500, "InternalError")).on(GetObject).for_ever());
    assert_eq!(store.get(&name("index/00"), 1).unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(server.log_of(GetObject).len(), 4);
}

/// On a network that swallows everything each of many names was tried twice more, a minute each time, after the patience of the run was
/// gone: hours, where nobody would get an answer.
#[test]
fn many_names_share_the_patience_of_one() {
    let server = S3Server::start();
    server.inject(Rule::new(Fault::refuse(500, "InternalError")).for_ever());
    let pace = Pace { budget: Duration::from_millis(200), wait_max: Duration::from_secs(3600), ..quick().pace };
    let away = with(&server, S3Options { pace, connections: Some(2), ..quick() });
    let names: Vec<_> = (0..500).map(|n| name(&format!("index/{n:04}"))).collect();
    let error = there(&away, names).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("InternalError") || error.to_string().contains("500"), "{error}");
    assert!(server.log().len() < 500, "nobody is asked for most of them: {}", server.log().len());
}

/// A page of a listing that took longer than the watchdog's time was cut, and cut again, though it came steadily: only bytes of objects
/// counted as movement.
#[test]
fn a_listing_that_comes_slowly_comes() {
    let server = S3Server::start();
    for n in 0..1000 {
        server.put_object(&format!("x/index/{n:04}"), vec![1]);
    }
    // 1 KiB in 10 ms: some 200 KB take longer than the second after which a silent connection is given up.
    server.inject(Rule::new(Fault::Drip(1024, Duration::from_millis(10))).on(ListObjectsV2).times(1));
    assert_eq!(store(&server, "x").list("index").unwrap().len(), 1000);
    assert_eq!(server.log_of(ListObjectsV2).len(), 1, "it was not begun anew");
}

/// The SDK gathers every answer but an object in memory, however long it is: a page without an end took all there was.
#[test]
fn no_answer_is_longer_than_any_has_reason_to_be() {
    let server = S3Server::start();
    server.put_object("x/index/00", vec![1]);
    let store = store(&server, "x");
    server.inject(Rule::new(Fault::Padded(5 << 20)).on(ListObjectsV2).for_ever());
    let error = store.list("index").unwrap_err();
    assert!(matches!(&error, Error::Store { source, .. } if source.kind() == ErrorKind::InvalidData), "{error}");
    assert!(server.log_of(ListObjectsV2).len() < 5, "it is not asked for again and again");
    server.inject(Rule::new(Fault::Padded(5 << 20)).on(GetObject).key("index/01").for_ever());
    let error = store.get(&name("index/01"), 1).unwrap_err();
    assert!(matches!(&error, Error::Store { source, .. } if source.kind() == ErrorKind::InvalidData), "{error}");
    // As long as the longest that is honest.
    server.clear_faults();
    server.inject(Rule::new(Fault::Padded(3 << 20)).on(ListObjectsV2).for_ever());
    assert_eq!(store.list("index").unwrap().len(), 1);
}

/// All bytes had come, then the connection broke: the next try asked for `bytes=N-(N-1)`, which is no range.
#[test]
fn what_came_whole_is_not_asked_for_again() {
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", bytes(1, LONG));
    let (store, mut into) = (store(&server, "x"), Vec::new());
    server.inject(Rule::new(Fault::CutAtEnd).on(GetObject).for_ever());
    store.get_range(&name("data/aa/aa"), 1000..200_000, &mut into).unwrap();
    assert!(into == bytes(1, LONG)[1000..200_000]);
    assert_eq!(server.log_of(GetObject).len(), 1);
    assert!(store.get(&name("data/aa/aa"), LONG as u64).unwrap() == bytes(1, LONG));
}

/// AWS answers a HEAD with a token that has expired by 400, without a word: that was final, in the middle of a run.
#[test]
fn a_head_that_is_refused_in_silence_renews_the_credentials() {
    let server = S3Server::start();
    server.put_object("x/index/00", vec![1]);
    let store = store(&server, "x");
    server.inject(Rule::new(Fault::refuse(400, "")).on(HeadObject).times(1));
    assert_eq!(store.size(&name("index/00")).unwrap(), Some(1));
    server.inject(Rule::new(Fault::refuse(400, "")).on(HeadObject).for_ever());
    assert_eq!(store.size(&name("index/00")).unwrap_err().kind(), Kind::Configuration);
}

/// Wrong keys ended a run with the exit code of a failed backup, and words about a user who may not read.
#[test]
fn wrong_keys_are_called_wrong() {
    let server = S3Server::start();
    for (id, secret, code) in [(ACCESS_KEY, "another", "SignatureDoesNotMatch"), ("another", SECRET_KEY, "InvalidAccessKeyId")] {
        let keys = S3Credentials { access_key_id: id.into(), secret_access_key: secret.into(), session_token: None };
        server.clear_log();
        let error = with(&server, S3Options { credentials: Some(keys), ..quick() }).list("index").unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration, "{error}");
        assert!(error.to_string().contains(code) && error.to_string().contains("wrong"), "{error}");
        assert!(server.log().len() <= 3, "no patience helps");
    }
}

/// Who may list only below a prefix, as `iam-policy` has it, is told 403 of what is not there. A new place could not be told from a
/// forbidden one: `init` failed with our own policy.
#[test]
fn what_is_denied_and_not_listed_is_missing() {
    let server = S3Server::start();
    server.behave(|b| b.missing_is_denied = true);
    server.put_object("x/index/00", vec![1]);
    server.put_object("x/data/aa/aabb", vec![1]);
    let store = store(&server, "x");
    let missing = |error: Error| matches!(error, Error::Damaged { damage: Damage::Missing, .. });
    let mut into = Vec::new();
    assert_eq!(store.size(&name("index/01")).unwrap(), None);
    assert!(missing(store.get(&name("index/01"), 1).unwrap_err()));
    assert!(missing(store.get_range(&name("index/01"), 0..1, &mut into).unwrap_err()));
    assert!(missing(store.get_suffix(&name("index/01"), 1).unwrap_err()));
    assert!(missing(store.readiness(&name("index/01")).unwrap_err()));
    // A longer name is another object.
    assert_eq!(store.size(&name("data/aa/aa")).unwrap(), None);
    // What is there is forbidden; and where nobody may look, nothing is known.
    let denied = |error: Error| matches!(&error, Error::Store { source, .. } if source.kind() == ErrorKind::PermissionDenied);
    server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(HeadObject).key("index/00").for_ever());
    assert!(denied(store.size(&name("index/00")).unwrap_err()));
    server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(ListObjectsV2).for_ever());
    assert!(denied(store.size(&name("index/01")).unwrap_err()));
    assert!(denied(store.get(&name("index/01"), 1).unwrap_err()));
}

/// A 503 that means "no room for expedited orders" was taken for throttling: the order was repeated until the budget was spent, and
/// every other request slowed down.
#[test]
fn no_room_for_an_expedited_thaw_is_said_at_once() {
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", vec![1]);
    server.set_storage_class("x/data/aa/aa", "GLACIER");
    server.inject(Rule::new(Fault::refuse(503, "GlacierExpeditedRetrievalNotAvailable")).on(RestoreObject).for_ever());
    let error = store(&server, "x").thaw(&name("data/aa/aa"), ThawOrder { tier: ThawTier::Expedited, days: 1 }).unwrap_err();
    assert!(error.to_string().contains("standard or bulk"), "{error}");
    assert_eq!(server.log_of(RestoreObject).len(), 1);
}

/// A file of certificates that held none, or a damaged one, ended the program in a panic of the SDK at the first connection.
#[test]
fn certificates_are_read_before_they_are_needed() {
    let home = Home::new();
    home.write("empty.pem", "");
    home.write("text.pem", "no certificate at all\n");
    home.write("broken.pem", "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n");
    home.write("cut.pem", "-----BEGIN CERTIFICATE-----\nbm90a\n");
    for file in ["empty.pem", "text.pem", "broken.pem", "cut.pem", "not-there.pem"] {
        let options = S3Options { ca_file: Some(home.path(file)), ..quick() };
        let error = S3Store::open(S3Place::parse("s3:https://127.0.0.1:1/bucket").unwrap(), options).err().expect(file);
        assert!(error.kind() == Kind::Configuration && error.to_string().contains(file), "{error}");
    }
}

/// The command line with credentials of the test's server, and what else `env` says.
fn seabed(home: &Home, env: &[(&str, &str)], args: &[&str]) -> Output {
    // What builds the binary is asked once for all.
    home.run(&["version"]);
    let binary = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("seabed");
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home.path("")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("SEABED_PASSWORD", "secret");
    command.envs(env.iter().copied()).current_dir(home.path("")).args(args).output().unwrap()
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];

/// Runs, checks that it ends with 20, and returns what it said.
fn refused(home: &Home, env: &[(&str, &str)], args: &[&str]) -> String {
    let output = seabed(home, env, args);
    ended(20, &output, args);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An endpoint that a profile named was past every check: key id, signature and token went to another machine without TLS.
#[test]
fn an_endpoint_of_a_profile_is_held_to_what_holds_for_all() {
    let (home, server) = (Home::new(), S3Server::start());
    let services = "[default]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = http://192.0.2.1:9000\n";
    for (file, text) in [
        ("general", "[default]\nendpoint_url = http://192.0.2.1:9000\n"),
        ("services", services),
        ("other", "[default]\nregion = us-east-1\n[profile other]\nendpoint_url = http://192.0.2.1:9000\n"),
    ] {
        home.write(file, text);
        let config = home.path(file);
        let mut env = [&KEYS[..], &[("AWS_CONFIG_FILE", config.to_str().unwrap())]].concat();
        if file == "other" {
            env.push(("AWS_PROFILE", "other"));
        }
        let said = refused(&home, &env, &["--repo", "s3://bucket/x", "--retry-minutes", "0", "snapshots"]);
        assert!(said.contains("without TLS") && said.contains("--allow-http"), "{said}");
    }
    // One that is in order is gone to, in the way that is used everywhere but at AWS.
    home.write("config", &format!("[default]\nendpoint_url = {}/\n", server.endpoint()));
    let config = home.path("config");
    let env = [&KEYS[..], &[("AWS_CONFIG_FILE", config.to_str().unwrap())]].concat();
    let args = ["--repo", "s3://bucket/x", "--no-cache", "init"];
    ended(0, &seabed(&home, &env, &args), &args);
    assert!(server.log().iter().all(|request| request.bucket == BUCKET) && server.object("x/seabed").is_some());
    // The environment goes before the profile.
    let env = [&env[..], &[("AWS_ENDPOINT_URL_S3", "http://192.0.2.1:9000")]].concat();
    let said = refused(&home, &env, &["--repo", "s3://bucket/x", "--retry-minutes", "0", "snapshots"]);
    assert!(said.contains("192.0.2.1"), "{said}");
}

/// An endpoint with a path was read as one with another bucket; AWS' own endpoint, written out, was replaced by the configured one; and
/// that configured ones are to be ignored was ignored.
#[test]
fn a_configured_endpoint_is_an_endpoint() {
    let home = Home::new();
    let path = [("AWS_ENDPOINT_URL", "https://store.example/minio")];
    let said = refused(&home, &path, &["--repo", "s3://bucket/x", "iam-policy"]);
    assert!(said.contains("AWS_ENDPOINT_URL") && said.contains("path"), "{said}");
    for (env, repo) in
        [(&path[..], "s3:s3.amazonaws.com/bucket/x"), (&[path[0], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")], "s3://bucket/x")]
    {
        let args = ["--repo", repo, "iam-policy"];
        let policy = ended(0, &seabed(&home, env, &args), &args);
        assert!(policy.contains("arn:aws:s3:::bucket"), "{policy}");
    }
}

/// Credentials that can never be had were asked for again and again, for a quarter of an hour, and the store was called unreachable.
#[test]
fn broken_sources_of_credentials_are_said() {
    let (home, server) = (Home::new(), S3Server::start());
    let url = server.url("x");
    let session = "sso_start_url = https://sso.example/start\nsso_region = us-east-1\nsso_registration_scopes = sso:account:access";
    for (file, text) in [
        ("process", "[default]\ncredential_process = false\n".to_owned()),
        ("source", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = nobody\n".to_owned()),
        ("sso", format!("[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\n{session}\n")),
    ] {
        home.write(file, &text);
        let config = home.path(file);
        let env = [("AWS_CONFIG_FILE", config.to_str().unwrap())];
        let said = refused(&home, &env, &["--repo", &url, "--retry-minutes", "0", "snapshots"]);
        // Of two requests at a time the SDK tells one the reason, and the other that it was taken already.
        let reasons = ["could not find source profile nobody", "error already taken"];
        let says = if file == "source" { &reasons[..] } else { &["cannot be loaded"] };
        assert!(says.iter().any(|words| said.contains(words)), "{file}: {said}");
    }
    assert_eq!(server.log().len(), 0);
}

/// Of a profile that does not exist the error said that there are no credentials, and nothing of the profile.
#[test]
fn a_profile_that_is_not_there_is_named() {
    let (home, server) = (Home::new(), S3Server::start());
    let env = [("AWS_PROFILE", "backpus")];
    for patience in ["0", "1"] {
        let said = refused(&home, &env, &["--repo", &server.url("x"), "--retry-minutes", patience, "snapshots"]);
        assert!(said.contains("backpus") && said.contains("AWS_PROFILE"), "{said}");
    }
}

/// The variable with which AWS' own tools name certificates was not looked at.
#[test]
fn the_certificates_of_aws_tools_are_taken() {
    let home = Home::new();
    home.write("bundle.pem", "nothing\n");
    fs::copy(home.path("bundle.pem"), home.path("ours.pem")).unwrap();
    let (bundle, ours) = (home.path("bundle.pem"), home.path("ours.pem"));
    let (bundle, ours) = (("AWS_CA_BUNDLE", bundle.to_str().unwrap()), ("SEABED_CA_FILE", ours.to_str().unwrap()));
    for (env, file) in [(vec![bundle], "bundle.pem"), (vec![bundle, ours], "ours.pem")] {
        let said = refused(&home, &env, &["--repo", "s3:https://127.0.0.1:1/bucket", "snapshots"]);
        assert!(said.contains(file), "{said}");
    }
}

/// Without a region in sight the SDK asked an instance's metadata for one, by a connector that it did not have: a panic in builds that
/// check, and never an answer in others.
#[test]
fn aws_is_asked_without_a_region() {
    let (home, server) = (Home::new(), S3Server::start());
    // Whatever is asked for, it is asked of this server, which is no proxy: nothing leaves the machine.
    let proxy = server.endpoint();
    for region in [&[][..], &[("AWS_REGION", "")]] {
        server.clear_log();
        let env = [&KEYS[..], &[("HTTPS_PROXY", &proxy)], region].concat();
        let args = ["--repo", "s3://bucket/x", "--retry-minutes", "0", "snapshots"];
        ended(22, &seabed(&home, &env, &args), &args);
        assert!(!server.log().is_empty(), "it was asked for");
    }
}

/// A store on this machine was asked by the proxy of the environment, in the clear, key id and signature with it.
#[test]
fn a_store_on_this_machine_is_asked_by_no_proxy() {
    let (home, server, proxy) = (Home::new(), S3Server::start(), S3Server::start());
    let by = proxy.endpoint();
    let env = [&KEYS[..], &[("HTTP_PROXY", &by), ("http_proxy", &by), ("ALL_PROXY", &by)]].concat();
    let args = ["--repo", &server.url("x"), "--no-cache", "--retry-minutes", "0", "init"];
    ended(0, &seabed(&home, &env, &args), &args);
    assert!(server.object("x/seabed").is_some() && proxy.log().is_empty());
}
