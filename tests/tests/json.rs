//! `--json` of every command: each line is what the published schema says, and the lines of a fixed small repository are those that are
//! kept in `tests/golden/json`. `UPDATE_GOLDEN=1` writes them anew: then look at what changed.
//! A command without a case fails here.

mod cases;
mod volatile;

use crate::cli::{Home, ended};
use cases::{CASES, Case, Place, SELDOM};
use rustix::process::{Pid, Signal, kill_process};
use seabed_tests::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use seabed_tests::schema::Schema;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};
use volatile::Names;

/// 2026-01-01 00:00:00 UTC.
const FIXED: u64 = 1_767_225_600;

/// A configuration of jobs, for cases that want one.
const JOBS: &str = "[repo.local]\nurl = \"dir:/nowhere\"\n[source.src]\nkind = \"files\"\npaths = [\"/nowhere\"]\n[job.manual]\nsources = [\"src\"]\n\
    [job.nightly]\nsources = [\"src\"]\nschedule = [\"*-*-* 01:30\", \"0 14 * * 1\"]\ntz = \"Europe/London\"\n\
    [job.weekly]\nsources = [\"src\"]\nschedule = \"Sun 01:45\"\n";

/// The one that is found without being named: a job that can be run, and one that cannot.
const FOUND: &str = "state_dir = \"state\"\nhost = \"web1\"\ncontacts = [\"ann@example.org\"]\n\
    [repo.main]\nurl = \"dir:.local/share/seabed/repo\"\nkey = { key_file = \".config/seabed/key\" }\nretention = \"two\"\n\
    [retention.two]\nkeep = { last = 2 }\n[source.docs]\nkind = \"files\"\npaths = [\"src\"]\n\
    [source.dump]\nkind = \"command\"\ncommand = \"echo half; echo why >&2; exit 3\"\n[job.docs]\nsources = [\"docs\"]\nhooks = { pre = \"echo before\" }\n\
    [job.dump]\nsources = [\"dump\"]\nrun = { delay = \"0s\" }\n";

/// A home with what a case begins with.
struct Stage {
    home: Home,
    server: Option<S3Server>,
    names: Names,
    first: String,
    newest: String,
    /// Packs of the first snapshot.
    old: Vec<String>,
}

impl Stage {
    fn new(place: Place) -> Stage {
        let home = Home::new();
        home.write("src/sub/empty", "");
        home.write("jobs.toml", JOBS);
        home.write("seabed.toml", FOUND);
        let server = (place == Place::Bucket).then(S3Server::start);
        let mut stage = Stage { home, server, names: Names::default(), first: String::new(), newest: String::new(), old: Vec::new() };
        stage.names.texts = vec![
            (stage.home.path("").to_str().unwrap().trim_end_matches('/').to_owned(), "<home>".to_owned()),
            (env!("CARGO_PKG_VERSION").to_owned(), "<version>".to_owned()),
        ];
        if let Some(server) = &stage.server {
            stage.names.texts.push((server.url(""), "<bucket>/".to_owned()));
        }
        stage.settle();
        if place != Place::Nothing {
            if place == Place::Directory {
                stage.ends(0, &["init"]);
            }
            stage.first = stage.snapshot("2026-01-01T00:00:00Z", &["--tag", "nightly"]);
            if place == Place::Directory {
                stage.old = stage.objects("data");
            }
            stage.home.write("src/a.txt", "alpha and more\n");
            stage.home.write("src/new.txt", "gamma\n");
            stage.settle();
            stage.newest = stage.snapshot("2026-01-02T00:00:00Z", &[]);
            stage.names.know(&stage.first);
            stage.names.know(&stage.newest);
        }
        stage
    }

    /// Gives all files the same times and modes, whoever runs this.
    fn settle(&self) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(FIXED);
        for name in ["src/a.txt", "src/sub/b.txt", "src/sub/empty", "src/new.txt", "src/sub", "src"] {
            let path = self.home.path(name);
            if path.exists() {
                let mode = if path.is_dir() { 0o755 } else { 0o644 };
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
                fs::File::open(&path).unwrap().set_modified(time).unwrap();
            }
        }
        // Longer than a tick: what was changed just before a run begins is read again by the next, or not, as the machine is fast.
        #[allow(clippy::disallowed_methods, reason = "a clock has to move on")]
        std::thread::sleep(Duration::from_millis(100));
    }

    fn snapshot(&self, time: &str, more: &[&str]) -> String {
        let mut args = vec!["backup", "src", "--as-path", "/data", "--series", "docs", "--host", "web1", "--time", time, "--json"];
        args.extend(more);
        if self.server.is_some() {
            args.push("--init");
        }
        let out = self.ends(0, &args);
        let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        summary["snapshot_id"].as_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.env("TZ", "UTC");
        if let Some(server) = &self.server {
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_EC2_METADATA_DISABLED", "true");
            command.env("SEABED_REPOSITORY", server.url("x")).env("AWS_REGION", "us-east-1");
        }
        command
    }

    fn ends(&self, code: i32, args: &[&str]) -> String {
        ended(code, &self.command(args).output().unwrap(), args)
    }

    /// The last parts of the names of the objects below a folder.
    fn objects(&self, folder: &str) -> Vec<String> {
        let (mut found, mut todo) = (Vec::new(), vec![self.home.repository().join(folder)]);
        while let Some(path) = todo.pop() {
            match path.is_dir() {
                true => todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
                false => found.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
            }
        }
        found
    }

    /// The data pack of the newest snapshot.
    fn pack(&self) -> String {
        self.objects("data").into_iter().find(|name| !self.old.contains(name)).unwrap()
    }

    fn filled(&self, arg: &str) -> String {
        let mut arg = arg.replace("{id}", &self.newest).replace("{first}", &self.first);
        if arg.contains("{pack}") {
            arg = self.pack();
        }
        if arg.contains("{segment}") {
            arg = self.objects("index").remove(0);
        }
        if let Some(server) = &self.server {
            arg = arg.replace("{bucket}/", &server.url(""));
        }
        arg
    }

    /// A bucket that is backed up, and two rules of it.
    fn rules(&self) {
        let server = self.server.as_ref().unwrap();
        server.put_object("photos/raw/one.jpg", "one");
        let raw = "<Rule><ID>raw</ID><Status>Enabled</Status><Filter><Prefix>photos/raw/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>";
        let cold = "<Rule><ID>cold</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Transition><Days>30</Days>\
                    <StorageClass>GLACIER</StorageClass></Transition></Rule>";
        let rules = format!("<LifecycleConfiguration>{raw}{cold}</LifecycleConfiguration>");
        server.behave(|b| b.lifecycle = seabed_tests::s3_server::behaviour::Canned::Xml(rules));
        let (repository, photos) = (server.url("x"), server.url("photos"));
        let config = format!(
            "[repo.main]\nurl = \"{repository}\"\n[source.photos]\nkind = \"s3\"\nurl = \"{photos}\"\n\
             [source.files]\nkind = \"files\"\npaths = [\"/srv\"]\n[job.nightly]\nsources = [\"photos\"]\n"
        );
        self.home.write("seabed.toml", &config);
    }

    /// Flips a bit of a data pack.
    fn damage(&self) {
        let name = self.pack();
        let pack = self.home.repository().join("data").join(&name[..2]).join(&name);
        let mut bytes = fs::read(&pack).unwrap();
        bytes[60] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
}

/// The schema of a command, as the program prints it.
fn schema(home: &Home, command: &str) -> Schema {
    Schema::new(serde_json::from_str(&home.ends(0, &["schema", command])).unwrap())
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/json").join(format!("{name}.txt"))
}

/// What came of the lines of one stream: what is kept, and which messages were met.
fn lines(
    stage: &mut Stage,
    command: &str,
    schema: &Schema,
    which: &str,
    text: &str,
    met: &mut BTreeSet<String>,
) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut wrong) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            wrong.push(format!("{which}: no JSON: {line}"));
            continue;
        };
        let errors = schema.errors(which, &value);
        if !errors.is_empty() {
            wrong.push(format!("{which}: {line}\n      {}", errors.join("\n      ")));
        }
        met.extend(schema.alternatives(which).into_iter().filter(|name| schema.errors(name, &value).is_empty()));
        // How many there are hangs on the machine.
        if value["message_type"] != "status" {
            kept.push(stage.names.kept(command, &value).to_string());
        }
    }
    // Workers do not agree on an order.
    let items = |line: &String| line.contains("\"verbose_status\"");
    if kept.iter().filter(|line| items(line)).count() > 1 {
        let (mut some, rest): (Vec<String>, Vec<String>) = kept.into_iter().partition(items);
        some.sort();
        some.extend(rest);
        kept = some;
    }
    (kept, wrong)
}

/// Ends a command that would run for ever, once it has said that it is ready.
fn until_ended(mut command: Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut stdout = Vec::new();
    out.read_until(b'\n', &mut stdout).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    out.read_to_end(&mut stdout).unwrap();
    Output { stdout, ..child.wait_with_output().unwrap() }
}

fn play(case: &Case, met: &Mutex<BTreeMap<String, BTreeSet<String>>>) -> Vec<String> {
    let mut stage = Stage::new(case.place);
    if ["check-damage", "repair-damage"].contains(&case.name) {
        stage.damage();
    }
    if case.name == "lifecycle" {
        stage.rules();
    }
    let (mut story, mut wrong) = (String::new(), Vec::new());
    for step in case.steps {
        let command = step.args[0];
        let args: Vec<String> = step.args.iter().map(|arg| stage.filled(arg)).chain(["--json".to_owned()]).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let Output { status, stdout, stderr } =
            if step.endless { until_ended(stage.command(&args)) } else { stage.command(&args).output().unwrap() };
        story.push_str(&format!("$ seabed {} --json\n", step.args.join(" ")));
        if status.code() != Some(step.code) {
            wrong.push(format!("{args:?} ended with {status}, not {}: {}", step.code, String::from_utf8_lossy(&stderr)));
        }
        // A command that is not there prints what every command may print.
        let known = if stage.home.run(&["schema", command]).status.success() { command } else { "version" };
        let (schema, mut seen) = (schema(&stage.home, known), BTreeSet::new());
        // Of a command whose result is data or a list of names standard output is that.
        let plain = command == "dump" && !args.contains(&"--target") || args.contains(&"--ids");
        for (which, text) in [("stdout", &stdout), ("stderr", &stderr)] {
            let text = String::from_utf8_lossy(text);
            let mark = if which == "stdout" { "  " } else { "! " };
            let kept = match plain && which == "stdout" {
                true => text.lines().map(|line| stage.names.text(line)).collect(),
                false => {
                    let (kept, errors) = lines(&mut stage, command, &schema, which, &text, &mut seen);
                    wrong.extend(errors.into_iter().map(|error| format!("{args:?} {error}")));
                    kept
                }
            };
            kept.iter().for_each(|line| story.push_str(&format!("{mark}{line}\n")));
        }
        story.push_str(&format!("= {}\n\n", status.code().unwrap_or(-1)));
        met.lock().unwrap().entry(known.to_owned()).or_default().extend(seen);
    }
    let path = golden(case.name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &story).unwrap();
    }
    let should = fs::read_to_string(&path).unwrap_or_default();
    if should != story {
        let differs = should.lines().zip(story.lines()).find(|(a, b)| a != b);
        let (a, b) = differs.unwrap_or((should.lines().last().unwrap_or(""), story.lines().last().unwrap_or("")));
        wrong.push(format!("{} is not as kept (UPDATE_GOLDEN=1 writes it anew):\n  kept {a}\n  now  {b}", path.display()));
    }
    wrong
}

#[test]
fn every_command_prints_what_its_schema_says() {
    let home = Home::new();
    let help = home.ends(0, &["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: BTreeSet<&str> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 20 && commands.contains("backup"), "{commands:?}");
    let played: BTreeSet<&str> = CASES.iter().flat_map(|case| case.steps).map(|step| step.args[0]).collect();
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(
            played.contains(command),
            "`seabed {command} --json` has no case: give it one in tests/tests/json/cases.rs, and cli/schema/{command}.json"
        );
    }
    let met = Mutex::new(BTreeMap::new());
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let halves: Vec<_> = [0, 1]
            .map(|half| {
                let met = &met;
                scope.spawn(move || CASES.iter().skip(half).step_by(2).flat_map(|case| play(case, met)).collect::<Vec<_>>())
            })
            .into_iter()
            .collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is described is printed, too: a schema of messages that nobody sends is none.
    let met = met.into_inner().unwrap();
    let all: BTreeSet<&String> = met.values().flatten().collect();
    for command in commands.into_iter().filter(|command| *command != "help") {
        let schema = schema(&home, command);
        for message in ["stdout", "stderr"].into_iter().flat_map(|which| schema.alternatives(which)) {
            let seen =
                met.get(command).is_some_and(|seen| seen.contains(&message)) || is_common(&schema, &message) && all.contains(&message);
            assert!(
                seen || SELDOM.contains(&message.as_str()),
                "`{message}` of `seabed {command} --json` is described, and no case prints it"
            );
        }
    }
}

/// Whether a message is one that every command may print on standard error.
fn is_common(schema: &Schema, message: &str) -> bool {
    schema.alternatives("stderr").iter().any(|name| name == message)
}

#[test]
fn goldens_are_those_of_the_cases() {
    let named: BTreeSet<String> = CASES.iter().map(|case| format!("{}.txt", case.name)).collect();
    let there: BTreeSet<String> =
        fs::read_dir(golden("x").parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(named, there);
    assert_eq!(named.len(), CASES.len(), "two cases of one name");
}
