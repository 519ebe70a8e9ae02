//! The command line as a stranger meets it: the real binary, an empty HOME, exit codes, JSON shapes, key files.
//! It must never look inside the engine, nor depend on a terminal: there is none here.
//! It obeys README.md and DESIGN section 2 (exit codes).

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary beside this test, built by the same cargo with the same profile: another package's binary has no variable of its own.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        // target/<profile>/deps/main-<hash>
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        // Of the whole workspace, as what runs this was built: for one package alone the features of some dependencies are others.
        cargo
            .args(["build", "--quiet", "--workspace", "--bin", "seabed"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", profile.parent().unwrap());
        // What cargo says of this package to its tests: ring's build script looks at these, and all that hangs on it was built anew here, and
        // once more by whoever built it next, as it was before.
        let of_this_package = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"CARGO_PKG_") || name.starts_with(b"CARGO_MANIFEST_")
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| of_this_package(name)) {
            cargo.env_remove(name);
        }
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the command line does not build");
        profile.join("seabed")
    })
}

/// Whoever runs tests in the background of a shell has SIGINT ignored, nohup has SIGHUP, and both stay so in programs that are started: then
/// no test can end one by such a signal. What has a handler here is as usual there.
fn signals_as_usual() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        for signal in [SIGINT, SIGHUP, SIGQUIT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::new(AtomicBool::new(true))).unwrap();
        }
    });
}

/// A home directory with nothing in it.
pub struct Home {
    dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        signals_as_usual();
        let dir = TempDir::new().unwrap();
        let home = Home { dir };
        home.write("src/a.txt", "alpha\n");
        home.write("src/sub/b.txt", "beta\n");
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", self.dir.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(self.dir.path()).stdin(Stdio::null()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs, checks the exit code, and returns standard output.
    pub fn ends(&self, code: i32, args: &[&str]) -> String {
        ended(code, &self.run(args), args)
    }

    pub fn repository(&self) -> PathBuf {
        self.path(".local/share/seabed/repo")
    }

    fn snapshot_count(&self) -> usize {
        json(&self.ends(0, &["snapshots", "--json"])).as_array().unwrap().len()
    }
}

pub fn ended(code: i32, output: &Output, what: &[&str]) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{what:?}\n{out}\n{err}");
    out.into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no `{key}` in {value}");
    }
}

#[test]
fn the_first_command_needs_no_set_up() {
    let home = Home::new();
    let out = home.ends(0, &["backup", "--init", "src"]);
    let key = home.path(".config/seabed/key");
    assert!(out.contains(key.to_str().unwrap()) && out.contains("Copy this file"), "{out}");
    assert!(out.contains(home.repository().to_str().unwrap()), "{out}");
    assert!(out.contains("Files: 2 new, 0 changed, 0 unmodified"), "{out}");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(key.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(&key).unwrap().trim_end().len(), 64);

    home.ends(0, &["restore", "latest", "--target", "back"]);
    let back = home.path("back").join(home.path("src").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back.join("a.txt")).unwrap(), "alpha\n");
    assert_eq!(fs::read_to_string(back.join("sub/b.txt")).unwrap(), "beta\n");

    // Again: the same repository, nothing new, and the words for it.
    let out = home.ends(0, &["backup", "--init", "src"]);
    assert!(!out.contains("created"), "{out}");
    assert!(out.contains("Files: 0 new,"), "{out}");
    assert_eq!(home.snapshot_count(), 2);
}

#[test]
fn nothing_but_init_makes_a_repository() {
    let home = Home::new();
    for args in [
        &["backup", "src"][..],
        &["snapshots"],
        &["check"],
        &["rebuild"],
        &["restore", "latest", "--target", "back"],
        &["ls", "latest"],
        &["dump", "latest", "x"],
        &["backup", "--init", "--dry-run", "src"],
        &["backup"],
        &["backup", "--init"],
    ] {
        let want = if args.contains(&"src") || args[0] != "backup" { 10 } else { 20 };
        home.ends(want, args);
        assert!(!home.repository().exists() && !home.path(".config").exists(), "{args:?} made something");
    }
    home.ends(0, &["init"]);
    home.ends(1, &["init"]);
    home.ends(0, &["backup", "src"]);
}

#[test]
fn secrets_come_from_one_place() {
    let home = Home::new();
    home.write("pass", "secret\n");
    home.write("other", "other\n");
    home.write("empty", "\n");
    fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["--repo", "r"], args].concat()
    }
    home.ends(20, &with(&["init", "--password-file", "empty"]));
    home.ends(20, &with(&["init", "--password-file", "missing"]));
    assert!(!home.path("r").exists());
    home.ends(0, &with(&["init", "--password-file", "pass"]));
    home.ends(20, &with(&["snapshots"]));
    home.ends(12, &with(&["snapshots", "--password-file", "other"]));
    home.ends(0, &with(&["snapshots", "--password-command", "cat 'pass'"]));
    home.ends(20, &with(&["snapshots", "--password-command", "false"]));
    home.ends(20, &with(&["snapshots", "--password-command", "cat 'pass"]));
    home.ends(20, &with(&["snapshots", "--password-file", "pass", "--key-file", "pass"]));
    home.ends(20, &with(&["snapshots", "--key-file", "pass"]));
    let env = |name: &str, value: &str| home.command(&with(&["snapshots"])).env(name, value).output().unwrap();
    ended(0, &env("SEABED_PASSWORD", "secret"), &["SEABED_PASSWORD"]);
    ended(12, &env("SEABED_PASSWORD", "other"), &["SEABED_PASSWORD"]);
    ended(0, &env("SEABED_PASSWORD_FILE", "pass"), &["SEABED_PASSWORD_FILE"]);
    ended(0, &env("SEABED_PASSWORD_COMMAND", "echo secret"), &["SEABED_PASSWORD_COMMAND"]);
    // Another program's variables are another program's.
    ended(20, &env("RESTIC_PASSWORD", "secret"), &["RESTIC_PASSWORD"]);
    let two = home.command(&with(&["snapshots"])).env("SEABED_PASSWORD", "secret").env("SEABED_KEY_FILE", "k").output().unwrap();
    ended(20, &two, &["two variables"]);

    // A key file that is named and missing is made, and opens what it was made for.
    home.ends(0, &["--repo", "k", "init", "--key-file", "keys/mine"]);
    assert_eq!(fs::metadata(home.path("keys/mine")).unwrap().permissions().mode() & 0o7777, 0o600);
    home.ends(0, &["--repo", "k", "snapshots", "--key-file", "keys/mine"]);
    home.ends(20, &["--repo", "k", "snapshots"]);
    // Without any secret the key is made beside those of other repositories, and found again.
    home.ends(0, &["--repo", "auto", "init"]);
    home.ends(0, &["--repo", "auto", "snapshots"]);
    assert_eq!(fs::read_dir(home.path(".config/seabed/keys")).unwrap().count(), 1);
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let home = Home::new();
    home.ends(0, &["--help"]);
    home.ends(0, &["--version"]);
    home.ends(0, &["version"]);
    home.ends(0, &["unlock"]);
    home.ends(20, &["frob"]);
    home.ends(20, &["backup", "--frob"]);
    home.ends(20, &["--repo", "s3:bucket", "snapshots"]);
    home.ends(20, &["--repo", "", "snapshots"]);
    home.ends(20, &["backup", "--init", "src", "--pack-size", "3"]);
    home.ends(20, &["backup", "--init", "src", "--compression", "23"]);
    home.ends(20, &["backup", "--init", "src", "--time", "soon"]);
    assert!(!home.repository().exists());
    home.ends(0, &["backup", "--init", "src"]);
    // Missing beside others: they are stored. Missing alone: nothing is.
    home.ends(3, &["backup", "src", "missing"]);
    home.ends(1, &["backup", "missing"]);
    assert_eq!(home.snapshot_count(), 2);
    home.ends(20, &["backup", "src", "--exclude", "["]);
    home.ends(1, &["restore", "ffffffff", "--target", "back"]);
    home.ends(1, &["restore", "latest", "--target", "src/a.txt"]);
    home.ends(1, &["ls", "latest", "/nowhere"]);
    home.ends(20, &["dump", "latest"]);
    home.ends(25, &["restore", "latest", "--target", "/", "--delete"]);
    home.ends(0, &["check"]);
    home.ends(0, &["rebuild"]);
    home.ends(0, &["check", "--read-data"]);
    home.ends(20, &["check", "--read-data-subset", "9/7"]);
    // The help of every command tells the codes.
    for command in ["init", "backup", "restore", "snapshots", "ls", "dump", "check", "rebuild", "cat", "unlock", "version"] {
        let help = home.ends(0, &[command, "--help"]);
        assert!(help.contains("EXAMPLES") && help.contains("EXIT STATUS") && help.contains("130   interrupted"), "{command}: {help}");
    }
}

#[test]
fn damage_is_23() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let data = home.repository().join("data");
    let pack = fs::read_dir(&data).unwrap().flatten().flat_map(|d| fs::read_dir(d.path()).unwrap()).next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[40] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::File::create(&pack).and_then(|mut f| std::io::Write::write_all(&mut f, &bytes)).unwrap();
    home.ends(23, &["check", "--read-data"]);
    home.ends(23, &["restore", "latest", "--target", "back"]);
    let last = home.run(&["check", "--read-data", "--json"]);
    let summary = lines(&ended(23, &last, &["check"])).pop().unwrap();
    assert_eq!(summary["broken_packs"].as_array().map(Vec::len), Some(1), "{summary}");
    let error = lines(&String::from_utf8_lossy(&last.stderr)).pop().unwrap();
    assert_eq!((&error["message_type"], &error["code"]), (&"exit_error".into(), &23.into()));
}

#[test]
fn a_stream_that_fails_leaves_no_snapshot() {
    let home = Home::new();
    home.ends(0, &["init"]);
    let out = home.run(&["backup", "src", "--exec", "x=echo half; echo 'the reason' >&2; exit 3"]);
    ended(21, &out, &["exec"]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(err.contains("exit status 3") && err.contains("| the reason"), "{err}");
    home.ends(21, &["backup", "--exec", "x=false | cat >/dev/null; kill -9 $$"]);
    home.ends(21, &["backup", "--stdin"]);
    home.ends(21, &["backup", "--exec", "x=true"]);
    home.ends(20, &["backup", "--exec", "x=echo 1", "--exec", "x=echo 2"]);
    home.ends(20, &["backup", "--exec", "x"]);
    home.ends(20, &["backup", "--exec", "../x=echo 1"]);
    home.ends(20, &["backup", "/", "--exec", "x=echo 1"]);
    assert_eq!(home.snapshot_count(), 0);
    home.ends(0, &["backup", "--stdin", "--allow-empty"]);
    assert_eq!(home.snapshot_count(), 1);
}

#[test]
fn streams_lie_beside_the_tree() {
    let home = Home::new();
    home.ends(
        0,
        &["backup", "--init", "src", "--series", "shop", "--exec", "dump.sql=seq 100000", "--exec", "db/globals.sql=echo globals"],
    );
    let list = home.ends(0, &["ls", "latest"]);
    for path in ["/dump.sql", "/db/globals.sql", home.path("src/sub/b.txt").to_str().unwrap()] {
        assert!(list.lines().any(|l| l == path), "no {path} in {list}");
    }
    assert_eq!(home.ends(0, &["dump", "latest", "db/globals.sql"]), "globals\n");
    let numbers = home.ends(0, &["dump", "latest:/dump.sql"]);
    assert_eq!((numbers.lines().count(), numbers.lines().last()), (100_000, Some("100000")));
    assert_eq!(home.ends(0, &["dump", "latest", home.path("src/a.txt").to_str().unwrap()]), "alpha\n");
    let rows = json(&home.ends(0, &["snapshots", "--series", "shop", "--json"]));
    assert_eq!(rows.as_array().unwrap().len(), 1);
    home.ends(0, &["restore", "latest", "--target", "back"]);
    assert_eq!(fs::read_to_string(home.path("back/db/globals.sql")).unwrap(), "globals\n");
    // A reader that leaves is no failure.
    let mut child = home.command(&["dump", "latest", "dump.sql"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn json_has_the_shapes_that_scripts_know() {
    let home = Home::new();
    let init = json(&home.ends(0, &["init", "--json"]));
    assert_eq!(init["message_type"], "initialized");
    has(&init, &["id", "repository", "key_file"]);
    let backup =
        lines(&home.ends(0, &["backup", "src", "--json", "--tag", "a,b", "--tag", "c", "--host", "web1", "-vv", "--description", "first"]));
    let summary = backup.last().unwrap();
    assert_eq!(summary["message_type"], "summary");
    has(summary, &["files_new", "files_changed", "files_unmodified", "dirs_new", "dirs_changed", "dirs_unmodified", "data_blobs"]);
    has(summary, &["tree_blobs", "data_added", "data_added_packed", "total_files_processed", "total_bytes_processed", "backup_start"]);
    has(summary, &["backup_end", "total_duration", "snapshot_id", "dry_run"]);
    assert!(backup.iter().any(|m| m["message_type"] == "verbose_status" && m["action"] == "new"), "{backup:?}");
    let dry = lines(&home.ends(0, &["backup", "src", "--json", "--dry-run"]));
    assert!(dry.last().unwrap().get("snapshot_id").is_none());

    let snapshots = json(&home.ends(0, &["snapshots", "--json", "--tag", "a,c"]));
    let first = &snapshots[0];
    has(
        first,
        &[
            "time",
            "tree",
            "paths",
            "hostname",
            "username",
            "uid",
            "gid",
            "excludes",
            "tags",
            "program_version",
            "summary",
            "id",
            "short_id",
        ],
    );
    assert_eq!((&first["hostname"], &first["description"]), (&"web1".into(), &"first".into()));
    assert_eq!(first["tags"], serde_json::json!(["a", "b", "c"]));
    assert_eq!(first["id"], summary["snapshot_id"]);
    assert_eq!(json(&home.ends(0, &["snapshots", "--json", "--tag", "z"])), serde_json::json!([]));
    let groups = json(&home.ends(0, &["snapshots", "--json", "--group-by", "host,paths"]));
    has(&groups[0], &["group_key", "snapshots"]);

    let list = lines(&home.ends(0, &["ls", "latest", "--json"]));
    assert_eq!(list[0]["message_type"], "snapshot");
    let node = list.iter().find(|n| n["name"] == "a.txt").unwrap();
    assert_eq!((&node["message_type"], &node["type"], &node["size"]), (&"node".into(), &"file".into(), &6.into()));
    has(node, &["path", "uid", "gid", "mode", "permissions", "mtime", "ctime"]);

    let restore = lines(&home.ends(0, &["restore", "latest", "--target", "back", "--json"]));
    let summary = restore.last().unwrap();
    has(summary, &["total_files", "files_restored", "files_skipped", "files_deleted", "total_bytes", "bytes_restored", "bytes_skipped"]);
    assert_eq!((&summary["files_restored"], &summary["bytes_restored"]), (&2.into(), &11.into()));
    let check = lines(&home.ends(0, &["check", "--json"])).pop().unwrap();
    assert_eq!((&check["message_type"], &check["num_errors"]), (&"summary".into(), &0.into()));
    assert_eq!(json(&home.ends(0, &["version", "--json"]))["message_type"], "version");
    for what in
        [&["descriptor"][..], &["manifest", "latest"], &["manifest"], &["slot"], &["keyring"], &["pack"], &["segment"], &["pending"]]
    {
        json(&home.ends(0, &[&["cat"], what].concat()));
    }

    // Errors are JSON too, on standard error, and standard output stays clean.
    let failed = home.run(&["backup", "missing", "--json"]);
    assert_eq!(ended(1, &failed, &["missing"]), "");
    let messages = lines(&String::from_utf8_lossy(&failed.stderr));
    assert_eq!((&messages[0]["message_type"], &messages[0]["item"]), (&"error".into(), &home.path("missing").to_str().unwrap().into()));
    assert_eq!((&messages[1]["message_type"], &messages[1]["code"]), (&"exit_error".into(), &1.into()));
    let usage = home.run(&["backup", "--frob", "--json"]);
    assert_eq!(
        json(ended(20, &usage, &["usage"]).as_str().get(..0).map_or("", |_| std::str::from_utf8(&usage.stderr).unwrap()))["code"],
        20
    );
}

#[test]
fn an_interrupted_backup_stops_at_once() {
    let home = Home::new();
    home.ends(0, &["init"]);
    // A dump that says nothing is where a reader that only reads would not hear the signal.
    for source in [&["--exec", "x=echo 1; sleep 60"][..], &["--stdin"]] {
        let args = [&["backup"], source].concat();
        let mut child = home.command(&args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let caught = Instant::now();
        // Sent again until it is heard: before the handler stands, the signal would kill the process as it should.
        #[allow(clippy::disallowed_methods, reason = "the child needs a moment to start its command")]
        std::thread::sleep(Duration::from_millis(700));
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let asked = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{args:?} after {:?}", caught.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    assert_eq!(home.snapshot_count(), 0);
    home.ends(0, &["check", "--read-data"]);
}

#[test]
fn the_repository_is_not_backed_up_into_itself() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "."]);
    let list = home.ends(0, &["ls", "latest"]);
    assert!(list.contains("/src/a.txt") && !list.contains("seabed/repo") && !list.contains(".cache/seabed"), "{list}");
}

#[test]
fn a_cache_that_cannot_be_used_costs_a_warning() {
    let home = Home::new();
    home.write("file", "");
    let out = home.run(&["backup", "--init", "src", "--cache-dir", "file"]);
    ended(0, &out, &["cache"]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(err.matches("going on without a cache").count(), 1, "{err}");
    home.ends(0, &["snapshots", "--no-cache"]);
    let out = home.run(&["snapshots", "--cache-dir", "file", "--json"]);
    assert_eq!(json(&ended(0, &out, &["cache"])).as_array().unwrap().len(), 1);
}

#[test]
fn paths_come_from_lists_too() {
    let home = Home::new();
    home.write("src/we ird", "x");
    home.write("list", "# a comment\n  src/*.txt  \n");
    home.write("verbatim", "src/we ird\n");
    home.write("raw", "src/sub\0");
    home.ends(0, &["backup", "--init", "--files-from", "list", "--files-from-verbatim", "verbatim", "--files-from-raw", "raw"]);
    let list = home.ends(0, &["ls", "latest"]);
    for name in ["/src/a.txt", "/src/we ird", "/src/sub/b.txt"] {
        assert!(list.contains(name), "no {name} in {list}");
    }
    home.ends(0, &["backup", "src", "--exclude", "*.txt", "--as-path", "/data"]);
    let list = home.ends(0, &["ls", "latest"]);
    assert!(list.contains("/data/we ird") && !list.contains(".txt"), "{list}");
    home.ends(20, &["backup", "src", "list", "--as-path", "/data"]);
    home.ends(0, &["backup", "src", "--skip-if-unchanged"]);
    let before = home.snapshot_count();
    let out = home.ends(0, &["backup", "src", "--skip-if-unchanged"]);
    assert!(out.contains("no snapshot was made") && home.snapshot_count() == before, "{out}");
}

/// `--exec dump-$(date +%F).sql=...` with the output of yesterday: the run was taken for one in which nothing had changed, and today's path was
/// in no snapshot.
#[test]
fn a_stream_under_another_name_is_a_change() {
    let home = Home::new();
    let dump =
        |name: &str| home.ends(0, &["backup", "--init", "--series", "s", "--skip-if-unchanged", "--exec", &format!("{name}=echo same")]);
    dump("monday.sql");
    dump("tuesday.sql");
    assert_eq!(home.snapshot_count(), 2);
    dump("tuesday.sql");
    assert_eq!(home.snapshot_count(), 2);
    assert_eq!(home.ends(0, &["dump", "latest", "tuesday.sql"]), "same\n");
}

/// Three killed backups used to leave eight temporary files, some of a whole pack, and no later run took them away.
#[test]
fn what_killed_runs_leave_is_removed_by_the_next() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let debris = ".local/share/seabed/repo/tmp/00112233445566778899aabbccddeeff";
    home.write(debris, "half a pack");
    // It could be another machine's, so that only its age tells.
    home.ends(0, &["backup", "src"]);
    assert!(home.path(debris).exists());
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 60 * 60);
    fs::File::options().write(true).open(home.path(debris)).unwrap().set_modified(old).unwrap();
    home.ends(0, &["backup", "src"]);
    assert!(!home.path(debris).exists());
}

/// The descriptor was gone and everything else was there: "create it with `seabed init`", and that made a second repository among the
/// objects of the first.
#[test]
fn a_lost_descriptor_is_damage_and_no_place_for_a_new_repository() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let descriptor = home.repository().join("seabed");
    let kept = fs::read(&descriptor).unwrap();
    fs::remove_file(&descriptor).unwrap();
    for args in [&["snapshots"][..], &["init"], &["backup", "--init", "src"], &["backup", "src"]] {
        let output = home.run(args);
        ended(23, &output, args);
        assert!(String::from_utf8_lossy(&output.stderr).contains("descriptor"), "{output:?}");
    }
    fs::write(&descriptor, kept).unwrap();
    home.ends(0, &["check", "--read-data"]);
    // An init that was killed has left a slot and a keyring, and may be said again.
    let other = home.path("other");
    for folder in ["slots", "keyring"] {
        fs::create_dir_all(other.join(folder)).unwrap();
        for file in fs::read_dir(home.repository().join(folder)).unwrap().flatten() {
            fs::copy(file.path(), other.join(folder).join(file.file_name())).unwrap();
        }
    }
    home.ends(0, &["init", "--repo", "other"]);
    // A slot that opens and no keyring is not the fault of the secret.
    fs::remove_dir_all(home.repository().join("keyring")).unwrap();
    home.ends(23, &["snapshots"]);
}

/// What a dump warned of was thrown away when it succeeded.
#[test]
fn a_command_that_succeeds_is_heard() {
    let home = Home::new();
    let args = ["backup", "--init", "--exec", "d.sql=echo rows; echo circular keys >&2"];
    let output = home.run(&args);
    ended(0, &output, &args);
    assert!(String::from_utf8_lossy(&output.stderr).contains("circular keys"), "{output:?}");
    let quiet = home.run(&["backup", "--quiet", "--exec", "d.sql=echo rows; echo circular keys >&2"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{quiet:?}");
}

/// A dump that failed left an empty file, and the next try said that it exists.
#[test]
fn a_dump_that_fails_leaves_no_file() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    home.ends(1, &["dump", "latest", "/no/such/file", "--target", "out"]);
    assert!(!home.path("out").exists());
    let stored = home.path("src/a.txt");
    home.ends(0, &["dump", "latest", stored.to_str().unwrap(), "--target", "out"]);
    assert_eq!(fs::read(home.path("out")).unwrap(), fs::read(stored).unwrap());
}
