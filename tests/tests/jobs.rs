//! Jobs of `seabed.toml`, run by the real binary: what is stored where, what is not, how a run ends, and that nothing old goes for it.
//! Sources here are files and commands; databases have tests of their own. Nothing here waits for a time to pass but where a time is the subject.

use crate::cli::{Home, ended, lines};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit, test_kill_process};
use seabed_tests::servers::databases_are_wanted;
use seabed_tests::trees::files_below;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Two repositories, and whatever else a test needs.
fn bench(rest: &str) -> Home {
    let home = Home::new();
    let repos = "host = \"web1\"\nstate_dir = \"state\"\n\
        [repo.a]\nurl = \"dir:a\"\nkey = { password = \"pass-of-a\" }\n[repo.b]\nurl = \"dir:b\"\nkey = { password = \"pass-of-b\" }\n";
    home.write("seabed.toml", &format!("{repos}{rest}"));
    home.ends(0, &["init", "--repo", "@a"]);
    home.ends(0, &["init", "--repo", "@b"]);
    home
}

const FILES: &str = "[source.src]\nkind = \"files\"\npaths = [\"src\"]\n";

fn snapshots(home: &Home, repo: &str) -> Vec<Value> {
    let text = home.ends(0, &["snapshots", "--repo", repo, "--json"]);
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    lines(&text).into_iter().rfind(|line| line["message_type"] == "run").unwrap_or_else(|| panic!("no report: {text}"))
}

/// Waits until something is so: for what another process does.
fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        #[allow(clippy::disallowed_methods, reason = "another process has to do something")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn alive(pid: &str) -> bool {
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).unwrap();
    // A zombie is none: nobody of ours waits for what a killed process left.
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !state.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

#[test]
fn each_source_is_a_snapshot_in_each_repository_and_all_of_a_run_belong_together() {
    let home = bench(&format!(
        "{FILES}[source.dump]\nkind = \"command\"\ncommand = \"seq 1 50000; echo end\"\nend_marker = \"end\"\n\
         [job.nightly]\nsources = [\"src\", \"dump\"]\nrepos = [\"a\", \"b\"]\ntags = \"db\"\nrun = {{ parallel = 2, verify = true }}\n"
    ));
    home.write("src/.env", "DB_PASSWORD=x\n");
    let out = home.run(&["run", "--json"]);
    let report = report(&out);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(report["sources"].as_array().unwrap().len(), 2);
    for repo in ["@a", "@b"] {
        let found = snapshots(&home, repo);
        let mut series: Vec<&str> = found.iter().map(|s| s["series"].as_str().unwrap()).collect();
        series.sort_unstable();
        assert_eq!(series, ["nightly/dump", "nightly/src"]);
        assert!(found.iter().all(|s| s["hostname"] == "web1" && s["tags"][0] == "db"), "{found:?}");
    }
    // What usually holds secrets is left out, and everything else comes back.
    home.ends(0, &["restore", "nightly@latest", "--target", "back", "--no-privileged"]);
    let below = |name: &str| home.path("back").join(home.path(name).strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(below("src/sub/b.txt")).unwrap(), "beta\n");
    assert!(!below("src/.env").exists());
    assert!(fs::read_to_string(home.path("back/dump")).unwrap().ends_with("\n50000\nend\n"));
    let status: Value = serde_json::from_str(&home.ends(0, &["status", "--json"])).unwrap();
    assert_eq!(status["sources"].as_array().unwrap().iter().filter(|row| row["state"] == "good").count(), 4, "{status}");
    assert!(home.ends(0, &["runs"]).contains("done") && home.ends(0, &["logs", "nightly"]).contains("read back and verified in b"));
}

#[test]
fn t02_a_dump_that_is_not_whole_is_no_snapshot_and_nothing_old_goes() {
    // Each of these ends in another way in which real dumps have ended. Before, a good run is stored, which must outlive all of them.
    let home = bench(
        "[retention.one]\nkeep = { last = 1 }\n[source.dump]\nkind = \"command\"\ncommand = \"${DUMP:-true}\"\nend_marker = \"-- complete\"\n\
         min_bytes = 1000\nmax_shrink = \"30%\"\n[job.db]\nsources = \"dump\"\nrepos = \"a\"\nretention = \"one\"\n",
    );
    let run = |dump: &str| home.command(&["run", "db", "--json"]).env("DUMP", dump).output().unwrap();
    let good = "seq 1 20000; echo '-- complete'";
    for _ in 0..3 {
        assert_eq!(run(good).status.code(), Some(0));
    }
    let before = snapshots(&home, "@a");
    assert_eq!(before.len(), 1);
    for (dump, words) in [
        ("seq 1 20000", "end marker"),
        ("seq 1 20000; echo '-- complete'; exit 3", "exit status 3"),
        ("seq 1 20000; kill -9 $$", "signal 9"),
        ("seq 1 20000; echo '-- complete' > /dev/full", "exit status"),
        ("echo '-- complete'", "min_bytes"),
        ("true", "is empty"),
        ("/no/such/program", "exit status 127"),
    ] {
        let out = run(dump);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(21), "{dump}: {text}");
        assert!(report(&out)["error"].as_str().unwrap().contains(words), "{dump}: {}", report(&out)["error"]);
        assert!(report(&out)["followed"].as_array().unwrap().is_empty(), "{dump}: something followed a run that stored nothing");
    }
    assert_eq!(snapshots(&home, "@a"), before);
}

#[test]
fn t02_a_dump_that_shrank_is_suspicious() {
    let home = bench(
        "[source.dump]\nkind = \"command\"\ncommand = \"seq 1 ${N:-1}\"\n\
         [job.db]\nsources = \"dump\"\nrepos = \"a\"\nmonitor = { max_shrink = \"30%\" }\n",
    );
    let run = |n: &str| home.command(&["run", "db"]).env("N", n).output().unwrap();
    for n in ["50000", "51000", "52000"] {
        assert_eq!(run(n).status.code(), Some(0));
    }
    let out = run("20000");
    assert_eq!(out.status.code(), Some(21));
    assert!(String::from_utf8_lossy(&out.stderr).contains("max_shrink"), "{out:?}");
    assert_eq!((run("49000").status.code(), snapshots(&home, "@a").len()), (Some(0), 4));
}

#[test]
fn one_source_or_repository_of_several_costs_itself() {
    let home = bench(&format!(
        "{FILES}[source.bad]\nkind = \"command\"\ncommand = \"echo why >&2; exit 1\"\n[repo.gone]\nurl = \"dir:gone\"\nkey = {{ password = \"x-of-gone\" }}\n\
         [job.sources]\nsources = [\"bad\", \"src\"]\nrepos = \"a\"\n[job.repos]\nsources = \"src\"\nrepos = [\"gone\", \"b\"]\n\
         [job.none]\nsources = \"bad\"\nrepos = \"a\"\n[job.nowhere]\nsources = \"src\"\nrepos = \"gone\"\n"
    ));
    for (job, code) in [("sources", 3), ("repos", 3), ("none", 21), ("nowhere", 10)] {
        let out = home.run(&["run", job, "--json"]);
        assert_eq!(out.status.code(), Some(code), "{job}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(report(&out)["code"], code);
    }
    assert_eq!((snapshots(&home, "@a").len(), snapshots(&home, "@b").len()), (1, 1));
    // The reason is told, and so is the next step.
    let out = home.run(&["run", "repos"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("seabed init --repo @gone"), "{out:?}");
    let logs = home.ends(0, &["logs", "none"]);
    assert!(logs.contains("why"), "{logs}");
    // A wrong key is told as one.
    let wrong = fs::read_to_string(home.path("seabed.toml")).unwrap().replace("pass-of-a", "pass-of-nobody");
    home.write("seabed.toml", &wrong);
    home.ends(12, &["run", "sources"]);
}

#[test]
fn hooks_come_in_order_and_the_application_is_put_back_to_work_whatever_happens() {
    let hook = |name: &str| format!("{name} = \"echo {name}:$SEABED_JOB:$SEABED_EXIT_CODE >> {{LOG}}\"");
    let names = ["pre", "quiesce", "resume", "validate", "post", "fail", "finally"];
    let hooks = names.map(hook).join(", ");
    let home = bench(&format!(
        "{FILES}[source.cmd]\nkind = \"command\"\ncommand = \"${{CMD:-seq 1 9}}\"\n[job.j]\nsources = [\"cmd\", \"src\"]\nrepos = \"a\"\nhooks = {{ {hooks} }}\n"
    ));
    let text = fs::read_to_string(home.path("seabed.toml")).unwrap().replace("{LOG}", home.path("log").to_str().unwrap());
    home.write("seabed.toml", &text);
    let told = |cmd: &str, code: i32| {
        fs::remove_file(home.path("log")).unwrap_or(());
        let out = home.command(&["run", "j"]).env("CMD", cmd).output().unwrap();
        ended(code, &out, &[cmd]);
        fs::read_to_string(home.path("log")).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told("seq 1 9", 0), ["pre:j:", "quiesce:j:", "resume:j:", "validate:j:", "post:j:0", "finally:j:0"]);
    assert_eq!(told("exit 1", 3), ["pre:j:", "quiesce:j:", "resume:j:", "validate:j:", "fail:j:3", "finally:j:3"]);
    // One that fails before the sources are read: nothing is read, and what was put to rest is put back to work.
    home.write("seabed.toml", &text.replace("quiesce = \"echo", "quiesce = \"false; exit 7; echo"));
    let before = snapshots(&home, "@a").len();
    assert_eq!(told("seq 1 9", 21), ["pre:j:", "resume:j:", "fail:j:21", "finally:j:21"]);
    assert_eq!(snapshots(&home, "@a").len(), before);
}

#[test]
fn what_a_validation_refuses_is_marked_and_lets_nothing_old_go() {
    let home = bench(&format!(
        "{FILES}[retention.one]\nkeep = {{ last = 1 }}\n[job.j]\nsources = \"src\"\nrepos = \"a\"\nretention = \"one\"\n\
         hooks = {{ validate = \"test -n \\\"$SEABED_SNAPSHOTS\\\" && test ! -e bad\" }}\n"
    ));
    home.ends(0, &["run"]);
    home.ends(0, &["run"]);
    let good = snapshots(&home, "@a");
    assert_eq!(good.len(), 1);
    home.write("bad", "");
    home.ends(3, &["run"]);
    home.ends(3, &["run"]);
    let marked = snapshots(&home, "@a");
    assert_eq!(marked.len(), 3, "{marked:?}");
    assert_eq!(marked.iter().filter(|s| s["tags"][0] == "unverified").count(), 2);
    assert!(home.ends(3, &["status"]).contains("unverified"));
    // A good one again: the bad ones count for nothing, and go.
    fs::remove_file(home.path("bad")).unwrap();
    home.write("src/a.txt", "new\n");
    home.ends(0, &["run"]);
    let left = snapshots(&home, "@a");
    assert!(left.iter().any(|s| s["tags"].as_array().unwrap().is_empty()), "{left:?}");
}

/// Starts a run whose source writes its process id and then waits for ever.
fn hanging(more: &str, job: &str) -> (Home, std::process::Child, String) {
    let home = bench(&format!(
        "[source.slow]\nkind = \"command\"\ncommand = \"echo $$ > pid.new; mv pid.new pid; exec sleep 1000\"\n{FILES}\
         [job.slow]\nsources = \"slow\"\nrepos = \"a\"\n{more}"
    ));
    let child = home.command(&["run", job]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the source runs", || home.path("pid").exists());
    let pid = fs::read_to_string(home.path("pid")).unwrap();
    (home, child, pid)
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn a_job_runs_once_at_a_time() {
    let (home, child, source) = hanging("hooks = { resume = \"echo up > up\" }\n", "slow");
    let out = home.run(&["run", "slow"]);
    assert_eq!(out.status.code(), Some(27));
    assert!(String::from_utf8_lossy(&out.stderr).contains("already runs"), "{out:?}");
    assert!(home.ends(0, &["runs"]).contains("runs "), "{}", home.ends(0, &["runs"]));
    // Told to stop it ends its source, puts the application back to work, and says so.
    kill_process(pid(&child), Signal::TERM).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
    until("the source has ended", || !alive(&source));
    assert!(home.path("up").exists());
    assert!(home.ends(0, &["runs"]).contains("interrupted"));
}

#[test]
fn a_run_that_is_killed_leaves_nothing_behind_and_the_next_one_puts_the_application_back_to_work() {
    let (home, mut child, source) = hanging("hooks = { quiesce = \"echo down > down\", resume = \"rm -f down\" }\n", "slow");
    assert!(home.path("down").exists());
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    // Its worker hears that nobody is there any more.
    until("the source has ended", || !alive(&source));
    assert!(home.ends(0, &["runs"]).contains("killed"));
    assert!(home.path("down").exists());
    let text = fs::read_to_string(home.path("seabed.toml")).unwrap().replace("exec sleep 1000", "seq 1 9");
    home.write("seabed.toml", &text);
    let out = home.run(&["run", "slow"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("killed before its resume hooks"), "{out:?}");
    assert!(!home.path("down").exists());
}

#[test]
fn what_takes_too_long_or_does_not_move_is_ended() {
    for (limit, words) in [("timeout = \"1s\"", "(timeout)"), ("stall = \"1s\"", "(stall)")] {
        let (home, child, source) = hanging(&format!("run = {{ {limit} }}\n"), "slow");
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(26), "{text}");
        assert!(text.contains(words), "{text}");
        until("the source has ended", || !alive(&source));
        assert!(snapshots(&home, "@a").is_empty());
    }
}

#[test]
fn a_source_is_tried_as_often_as_it_may_be() {
    let home = bench(
        "[source.flaky]\nkind = \"command\"\ncommand = \"echo x >> tries; test $(wc -l < tries) -ge 3 && seq 1 9\"\n\
         [job.j]\nsources = \"flaky\"\nrepos = [\"a\", \"b\"]\nrun = { tries = 3, delay = \"0s\" }\n",
    );
    let out = home.run(&["run", "--json"]);
    assert_eq!((out.status.code(), &report(&out)["sources"][0]["tries"]), (Some(0), &Value::from(3)));
    assert_eq!((snapshots(&home, "@a").len(), snapshots(&home, "@b").len()), (1, 1));
}

#[test]
fn retention_is_by_repository_and_only_after_what_is_new() {
    let home = bench(&format!(
        "{FILES}[retention.one]\nkeep = {{ last = 1 }}\n[retention.three]\nkeep = {{ last = 3 }}\n\
         [job.j]\nsources = \"src\"\nrepos = [\"a\", \"b\"]\ngc = {{ every = \"0s\" }}\n"
    ));
    let text = fs::read_to_string(home.path("seabed.toml")).unwrap();
    let text = text
        .replace("url = \"dir:a\"", "url = \"dir:a\"\nretention = \"one\"")
        .replace("url = \"dir:b\"", "url = \"dir:b\"\nretention = \"three\"");
    home.write("seabed.toml", &text);
    for _ in 0..4 {
        home.ends(0, &["run"]);
    }
    assert_eq!((snapshots(&home, "@a").len(), snapshots(&home, "@b").len()), (1, 3));
    // By hand it says what it would do, and does nothing.
    assert!(home.ends(0, &["retain", "--dry-run", "--explain"]).contains("last 3"));
    assert_eq!(snapshots(&home, "@b").len(), 3);
}

/// A listener that answers every request with 200 and passes it on.
fn listener() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK").unwrap();
            if heard.send(format!("{head}\n{}", String::from_utf8_lossy(&body))).is_err() {
                return;
            }
        }
    });
    (port, requests)
}

#[test]
fn pings_tell_how_a_run_begins_and_ends_and_never_fail_it() {
    let (port, requests) = listener();
    let home = bench(&format!(
        "[source.cmd]\nkind = \"command\"\ncommand = \"${{CMD:-seq 1 9}}\"\n[job.j]\nsources = \"cmd\"\nrepos = \"a\"\nping = \"http://127.0.0.1:{port}/uuid\"\n"
    ));
    home.ends(0, &["run"]);
    let (start, end) = (requests.recv().unwrap(), requests.recv().unwrap());
    assert!(start.starts_with("POST /uuid/start?rid="), "{start}");
    let rid = start.split("rid=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(rid.len() == 36 && end.starts_with(&format!("POST /uuid?rid={rid} ")), "{end}");
    let out = home.command(&["run"]).env("CMD", "echo the reason >&2; exit 1").output().unwrap();
    assert_eq!(out.status.code(), Some(21));
    let (_, end) = (requests.recv().unwrap(), requests.recv().unwrap());
    assert!(end.starts_with("POST /uuid/fail?rid=") && end.contains("exit status 1"), "{end}");
    // Nobody there: a warning, no more.
    drop(requests);
    let text = fs::read_to_string(home.path("seabed.toml")).unwrap().replace(&format!(":{port}/"), ":1/");
    home.write("seabed.toml", &text);
    let out = home.run(&["run"]);
    assert_eq!(out.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&out.stderr).contains("ping: cannot be sent"), "{out:?}");
}

#[test]
fn t18_no_secret_is_in_a_command_line_a_log_or_what_is_shown() {
    // A client that repeats its password in an error is real: so is who mails the output of a cron job to everybody.
    let home = bench(
        "[source.cmd]\nkind = \"command\"\ncommand = \"echo password is $PLANTED_SECRET >&2; ${GO:-true}; echo x; exit 1\"\n[job.j]\nsources = \"cmd\"\nrepos = \"a\"\n\
         hooks = { pre = \"echo $PLANTED_SECRET\", fail = \"echo ${PLANTED_SECRET:-none} > /dev/null; echo $PLANTED_SECRET\" }\n",
    );
    let secret = "planted-c0ffee-secret";
    let run = |args: &[&str]| home.command(args).env("PLANTED_SECRET", secret).output().unwrap();
    for args in
        [&["run", "-v"][..], &["run", "-v", "--json"], &["logs"], &["runs", "--json"], &["config", "show"], &["config", "show", "--json"]]
    {
        let out = run(args);
        let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        for secret in [secret, "pass-of-a", "pass-of-b"] {
            assert!(!text.contains(secret), "{args:?}: {text}");
        }
    }
    // The configuration with all its secrets goes through a pipe, not through arguments or the environment of the worker.
    let child = home.command(&["run"]).env("PLANTED_SECRET", secret).env("GO", "echo > seen; sleep 1000").spawn().unwrap();
    until("the source runs", || home.path("seen").exists());
    // No core of it is written, nor of what it started.
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max core file size        0 ")), "{limits}");
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains("pass-of-a"), "{:?}", process.path());
    }
    kill_process(pid(&child), Signal::TERM).unwrap();
    child.wait_with_output().unwrap();
    let state = fs::read(home.path("state/runs.db")).unwrap();
    assert!(!String::from_utf8_lossy(&state).contains(secret));
}

#[test]
fn t18_no_core_is_written_of_a_run() {
    // A core of a backup program holds the keys of everything, and lies where nobody looks. A shell that dies of the same signal leaves one.
    let home =
        bench("[source.cmd]\nkind = \"command\"\ncommand = \"echo $$ > source; sleep 1000\"\n[job.j]\nsources = \"cmd\"\nrepos = \"a\"\n");
    home.write("control/.keep", "");
    let control = Command::new("sh").current_dir(home.path("control")).args(["-c", "ulimit -c unlimited; kill -ABRT $$"]).status().unwrap();
    // Not everybody may raise the limit; where tests are run as root with everything that they need, this one shows something.
    assert!(control.core_dumped() || !databases_are_wanted(), "this machine writes no cores: {control:?}");
    let child = home.command(&["run"]).spawn().unwrap();
    until("the source runs", || home.path("source").exists() && !fs::read_to_string(home.path("source")).unwrap().is_empty());
    // Each thread has its own.
    let children = |of: i32| -> Vec<i32> {
        let threads = fs::read_dir(format!("/proc/{of}/task")).unwrap().flatten();
        let texts = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        texts.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()).collect()
    };
    let mut all = vec![pid(&child).as_raw_pid()];
    let mut at = 0;
    while at < all.len() {
        all.extend(children(all[at]));
        at += 1;
    }
    let source: i32 = fs::read_to_string(home.path("source")).unwrap().trim().parse().unwrap();
    assert!(all.contains(&source) && all.len() >= 3, "run, worker and source: {all:?}, {source}");
    for pid in all.iter().rev().map(|pid| Pid::from_raw(*pid).unwrap()) {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        assert!(limits.lines().any(|line| line.starts_with("Max core file size        0 ")), "{limits}");
        if pid.as_raw_pid() != source && std::fs::read(format!("/proc/{pid}/comm")).unwrap().starts_with(b"seabed") {
            // Collectors of cores that are programs do not ask for the limit: it must not hang on that alone.
            let unlimited = Rlimit { current: None, maximum: None };
            prlimit(Some(pid), Resource::Core, unlimited).map(|_| ()).unwrap_or(());
        }
        kill_process(pid, Signal::ABORT).unwrap_or(());
    }
    let status = child.wait_with_output().unwrap().status;
    assert!(status.signal() == Some(Signal::ABORT.as_raw()) && !status.core_dumped(), "{status:?}");
    until("all of them are gone", || all.iter().all(|pid| !alive(&pid.to_string())));
    let names = || fs::read_dir(home.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names().find(|name| name.starts_with("core")), None, "a core lies there");
}

#[test]
fn set_up_from_nothing() {
    let home = Home::new();
    let out = home.ends(0, &["setup", "--yes", "src"]);
    assert!(out.contains("wrote") && out.contains("schedule install") && out.contains("key export"), "{out}");
    let config = home.path(".config/seabed/seabed.toml");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&config).unwrap().permissions()) & 0o777, 0o600);
    home.ends(0, &["config", "check"]);
    home.ends(0, &["run"]);
    home.ends(0, &["restore", "nightly@latest", "--target", "back", "--no-privileged"]);
    assert!(home.ends(0, &["status"]).contains("good"));
    assert!(home.ends(0, &["recover-plan"]).contains("seabed restore nightly@latest --source files"));
    // Not a second time.
    home.ends(25, &["setup", "--yes", "src"]);
    // From the file that an application has already.
    let other = Home::new();
    other.write("app/.env", "DB_CONNECTION=pgsql\nDB_HOST=db.example\nDB_DATABASE=shop\nDB_USERNAME=ann\nDB_PASSWORD=hunter22\n");
    other.ends(0, &["setup", "--yes", "--from", "app/.env", "src", "--no-run"]);
    let text = fs::read_to_string(other.path(".config/seabed/seabed.toml")).unwrap();
    assert!(text.contains("kind = \"postgres\"") && text.contains("${DB_PASSWORD}") && !text.contains("hunter22"), "{text}");
    other.ends(0, &["config", "check"]);
    assert!(!other.ends(0, &["config", "show"]).contains("hunter22"));
}

#[test]
fn a_job_is_restored_as_far_as_it_was_stored_and_a_run_by_its_id() {
    // Of two sources one was never stored: the other was restored, and then the restore ended as failed. The id of one source's snapshot
    // failed likewise, at the source that has no such snapshot.
    let home = bench(&format!(
        "{FILES}[source.cmd]\nkind = \"command\"\ncommand = \"${{CMD:-echo hello}}\"\n[job.j]\nsources = [\"src\", \"cmd\"]\nrepos = \"a\"\n"
    ));
    let run = |command: &str| home.command(&["run"]).env("CMD", command).output().unwrap();
    ended(3, &run("exit 1"), &["run"]);
    let out = home.run(&["restore", "j@latest", "--target", "one", "--no-privileged"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(3) && said.contains("nothing is stored of cmd"), "{said}");
    assert!(files_below(&home.path("one")).iter().any(|path| path.ends_with("src/a.txt")));
    home.ends(1, &["restore", "j@latest", "--source", "cmd", "--target", "two"]);
    assert!(!home.path("two").exists());
    let whole = home.command(&["run", "--json"]).env("CMD", "echo whole").output().unwrap();
    let whole = report(&whole)["run"].clone();
    ended(3, &run("exit 1"), &["run"]);
    // The newest of each: of two runs, which is said.
    let out = home.run(&["restore", "j@latest", "--target", "three", "--no-privileged"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(0) && said.contains("of different runs"), "{said}");
    // All of one run, and one snapshot of it.
    let out = home.run(&["restore", &format!("j@{}", &whole.as_str().unwrap()[..8]), "--target", "four", "--no-privileged"]);
    assert!(out.status.code() == Some(0) && !String::from_utf8_lossy(&out.stderr).contains("different runs"), "{out:?}");
    assert_eq!(fs::read_to_string(home.path("four/cmd")).unwrap(), "whole\n");
    let id = snapshots(&home, "@a").into_iter().find(|snapshot| snapshot["series"] == "j/cmd").unwrap()["id"].as_str().unwrap().to_owned();
    home.ends(0, &["restore", &format!("j@{id}"), "--target", "five", "--no-privileged"]);
    assert!(home.path("five/cmd").exists() && !files_below(&home.path("five")).iter().any(|path| path.ends_with("a.txt")));
    home.ends(1, &["restore", "j@00000000", "--target", "six"]);
}

#[test]
fn a_damaged_snapshot_is_taken_from_the_next_repository_or_an_older_one() {
    let home = bench(&format!("{FILES}[job.j]\nsources = \"src\"\nrepos = [\"a\", \"b\"]\n"));
    home.ends(0, &["run"]);
    home.write("src/a.txt", &"newer\n".repeat(5000));
    home.ends(0, &["run"]);
    let newest = |repo: &str| {
        let packs = packs(&home.path(repo).join("data"));
        packs.into_iter().max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
    };
    let spoil = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[60] ^= 1;
        bytes[middle] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    spoil(&newest("a"));
    let out = home.run(&["restore", "j@latest", "--target", "back", "--no-privileged"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(text.contains("trying snapshot") && text.contains("in b"), "{text}");
    let restored = |target: &str| fs::read_to_string(home.path(target).join(home.path("src/a.txt").strip_prefix("/").unwrap())).unwrap();
    assert!(restored("back").starts_with("newer\n"));
    // Nowhere whole: an older one, with a word and another exit status.
    spoil(&newest("b"));
    let out = home.run(&["restore", "j@latest", "--target", "older", "--no-privileged"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{text}");
    assert!(text.contains("taking the older snapshot"), "{text}");
    assert_eq!(restored("older"), "alpha\n");
    // A repository that is away is no reason to give up, either.
    fs::rename(home.path("a"), home.path("a.away")).unwrap();
    let out = home.run(&["restore", "j@latest~1", "--target", "away", "--no-privileged"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(restored("away"), "alpha\n");
}

fn packs(below: &Path) -> Vec<std::path::PathBuf> {
    let found = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    found.flat_map(|path| if path.is_dir() { packs(&path) } else { vec![path] }).collect()
}

#[test]
fn a_restore_is_of_a_time_and_of_one_run_and_hooks_are_around_it() {
    let home = bench(&format!(
        "{FILES}[job.j]\nsources = \"src\"\nrepos = \"a\"\nhooks = {{ quiesce = \"echo down >> log\", resume = \"echo up >> log\" }}\n\
         restore = {{ post = \"echo post >> log\" }}\n"
    ));
    home.ends(0, &["run"]);
    let first = snapshots(&home, "@a")[0]["time"].as_str().unwrap().to_owned();
    home.write("src/a.txt", "changed\n");
    home.ends(0, &["run"]);
    fs::remove_file(home.path("log")).unwrap();
    home.ends(0, &["restore", "j@latest", "--at", &first, "--target", "back", "--no-privileged", "--post", "echo own >> log"]);
    let below = home.path("back").join(home.path("src/a.txt").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(below).unwrap(), "alpha\n");
    assert_eq!(fs::read_to_string(home.path("log")).unwrap(), "down\nup\npost\nown\n");
    home.ends(0, &["restore", "j@latest", "--target", "quiet", "--no-privileged", "--no-hooks"]);
    assert_eq!(fs::read_to_string(home.path("log")).unwrap().lines().count(), 4);
    // What is there is stored first, where that is asked for.
    let before = snapshots(&home, "@a").len();
    home.ends(0, &["restore", "j@latest", "--target", "safe", "--no-privileged", "--safety-snapshot"]);
    assert_eq!(snapshots(&home, "@a").len(), before + 1);
    home.ends(1, &["restore", "j@latest", "--at", "2001-01-01 00:00", "--target", "none"]);
    home.ends(20, &["restore", "nope@latest", "--target", "none"]);
    home.ends(20, &["restore", "--guided"]);
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_line() {
    let home = bench(&format!("{FILES}[job.j]\nsources = \"src\"\nrepos = \"a\"\n"));
    let wrong = fs::read_to_string(home.path("seabed.toml")).unwrap() + "retries = 3\n";
    home.write("seabed.toml", &wrong);
    let out = home.run(&["run"]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(20));
    assert!(text.contains("seabed.toml:15: the key `retries` is not known here"), "{text}");
    let out = Command::new(crate::cli::binary()).env_clear().env("HOME", home.path("nobody")).current_dir("/").arg("run").output().unwrap();
    assert_eq!(out.status.code(), Some(20));
    assert!(String::from_utf8_lossy(&out.stderr).contains("seabed setup"), "{out:?}");
    // The environment of a container says what is other there.
    let good = fs::read_to_string(home.path("seabed.toml")).unwrap().replace("retries = 3\n", "");
    home.write("seabed.toml", &good);
    let shown = home
        .command(&["config", "show"])
        .env("SEABED_JOB__J__RUN__TRIES", "5")
        .env("SEABED_REPO__A__URL", "dir:elsewhere")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("tries = 5") && shown.contains("dir:elsewhere"), "{shown}");
    let out = home.command(&["config", "check"]).env("SEABED_JOB__J__RUN__TIMEOUT", "soon").output().unwrap();
    assert!(out.status.code() == Some(20) && String::from_utf8_lossy(&out.stderr).contains("SEABED_JOB__J__RUN__TIMEOUT"), "{out:?}");
}
