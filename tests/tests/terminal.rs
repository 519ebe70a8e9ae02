//! What a terminal shows, and what everything else is spared: bars that never wrap, no control codes where nobody reads them, an answer to
//! SIGUSR1 whatever the program waits for, and signals that stay ignored. The real binary on real terminals (pseudo terminals of the
//! kernel). It obeys README.md (on a terminal).

use crate::cli::{Home, ended, lines};
use crate::s3_cli::Site;
use rustix::process::{Pid, Signal, kill_process};
use seabed_tests::pty::{Terminal, screen};
use seabed_tests::s3_server::{Fault, Operation, Outcome, Rule};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// Back to the beginning of the line, and away with what was there.
const ERASE: &str = "\r\x1b[J";

/// A dump that takes its time: so many pieces of 1 MB, twenty a second.
fn slow(pieces: u32) -> String {
    format!("x=i=0; while [ $i -lt {pieces} ]; do head -c 1000000 /dev/zero; sleep 0.05; i=$((i+1)); done")
}

/// A home with a repository.
fn ready() -> Home {
    let home = Home::new();
    home.ends(0, &["init"]);
    home
}

/// A command on a terminal.
fn on_terminal(home: &Home, args: &[&str], size: (u16, u16)) -> Terminal {
    let mut command = home.command(args);
    command.env("TERM", "xterm").env("SEABED_PROGRESS_FPS", "50");
    Terminal::run(&command, size)
}

/// What was drawn as a bar: everything between a line that was cleared and the cursor's way back to its beginning.
fn bars(text: &str) -> Vec<&str> {
    text.split(ERASE).skip(1).filter_map(|rest| rest.split_once('\r').map(|(bar, _)| bar)).filter(|bar| bar.starts_with("backup")).collect()
}

#[test]
fn a_bar_is_never_wider_than_its_terminal() {
    let home = ready();
    let dump = slow(30);
    for columns in [80, 40, 20, 10] {
        let (status, text) = on_terminal(&home, &["backup", "--exec", &dump], (columns, 24)).end();
        assert!(status.success(), "{text}");
        let bars = bars(&text);
        assert!(bars.len() > 5, "{text:?}");
        for bar in &bars {
            assert!(bar.chars().count() < usize::from(columns), "{columns}: {bar:?}");
        }
        // The last figure of all is in the summary: nothing of the bar stays.
        let screen = screen(&text, usize::from(columns));
        assert!(screen.iter().all(|line| !line.starts_with("backup")), "{columns}: {screen:#?}");
        assert!(text.contains("saved"), "{text}");
    }
    // From the second run on it is known how much came the last time.
    let (_, text) = on_terminal(&home, &["backup", "--exec", &dump], (100, 24)).end();
    assert!(bars(&text).iter().any(|bar| bar.contains(" of about 28.6 MiB last time")), "{text:?}");
}

#[test]
fn a_window_that_gets_narrower_is_obeyed() {
    let home = ready();
    let dump = slow(80);
    let terminal = on_terminal(&home, &["backup", "--exec", &dump], (80, 24));
    terminal.until(|text| bars(text).len() > 3);
    let before = terminal.bytes().len();
    terminal.resize((20, 24));
    let text = terminal.until(|text| bars(&text[before..]).len() > 10);
    // One may have been on its way.
    let after = &bars(&text[before..])[2..];
    assert!(after.iter().all(|bar| bar.chars().count() < 20), "{after:?}");
    let (status, _) = terminal.end();
    assert!(status.success());
}

/// A first run had no total, and a percentage of nothing would be 0 %.
#[test]
fn a_first_run_counts_beside_and_says_no_more_than_it_knows() {
    let home = ready();
    for n in 0..300 {
        home.write(&format!("src/{n}"), &"x".repeat(200_000));
    }
    let (_, text) = on_terminal(&home, &["backup", "--exec", &slow(20)], (100, 24)).end();
    let stream = bars(&text).iter().any(|bar| bar.contains('%') || bar.contains("left"));
    assert!(!stream, "nobody knows how long a first stream is: {text:?}");
    let status = home.command(&["backup", "src", "--json", "--no-scan"]).env("SEABED_PROGRESS_FPS", "60").output().unwrap();
    let told = lines(&ended(0, &status, &["status"]));
    assert!(told.iter().filter(|m| m["message_type"] == "status").all(|m| m.get("percent_done").is_none()), "{told:?}");
}

#[test]
fn where_there_is_no_terminal_there_are_no_control_codes() {
    let home = ready();
    let dump = slow(20);
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let output = home.command(args).env("TERM", "xterm").envs(env.iter().copied()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.status.success(), "{err}");
        assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}') && !err.contains('\r'), "{out:?} {err:?}");
        err
    };
    assert_eq!(run(&["backup", "--exec", &dump], &[]), "");
    let told = run(&["backup", "--exec", &dump], &[("SEABED_PROGRESS_FPS", "20")]);
    // Behind the backup the path index is filled.
    let expected = |line: &str| line.starts_with("backup ") || line.starts_with("indexing ");
    assert!(told.lines().filter(|line| line.starts_with("backup ")).count() > 3 && told.lines().all(expected), "{told}");
    assert_eq!(run(&["backup", "--quiet", "--exec", &dump], &[("SEABED_PROGRESS_FPS", "20")]), "");
    assert_eq!(run(&["backup", "--exec", &dump], &[("SEABED_PROGRESS_FPS", "0")]), "");
    run(&["--help"], &[]);
    for wrong in ["fast", "-1", "", "nan"] {
        let output = home.command(&["snapshots"]).env("SEABED_PROGRESS_FPS", wrong).output().unwrap();
        ended(20, &output, &["SEABED_PROGRESS_FPS", wrong]);
    }
}

#[test]
fn a_terminal_that_can_do_nothing_is_asked_for_nothing() {
    let home = ready();
    let dump = slow(10);
    for term in [Some("dumb"), Some(""), None] {
        let mut command = home.command(&["backup", "--exec", &dump]);
        if let Some(term) = term {
            command.env("TERM", term);
        }
        let (status, text) = Terminal::run(&command, (80, 24)).end();
        assert!(status.success() && !text.contains('\u{1b}') && text.contains("saved"), "{term:?}: {text:?}");
    }
    // 0 is for whoever wants the summary and no bar.
    let mut command = home.command(&["backup", "--exec", &dump]);
    command.env("TERM", "xterm").env("SEABED_PROGRESS_FPS", "0");
    let (_, text) = Terminal::run(&command, (80, 24)).end();
    assert!(!text.contains('\u{1b}') && text.contains("saved"), "{text:?}");
}

#[test]
fn no_color_is_obeyed() {
    let home = Home::new();
    let shown = |args: &[&str], no_color: bool, term: &str| {
        let mut command = home.command(args);
        command.env("TERM", term);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        Terminal::run(&command, (80, 24)).end().1
    };
    for args in [&["--help"][..], &["backup", "--frob"], &["snapshots"]] {
        for (no_color, term) in [(true, "xterm"), (false, "dumb")] {
            let text = shown(args, no_color, term);
            assert!(!text.contains('\u{1b}'), "{args:?} {term}: {text:?}");
        }
    }
    assert!(shown(&["--help"], false, "xterm").contains('\u{1b}'), "there is nothing that NO_COLOR would have to turn off");
    // Help that is wider than the terminal is folded.
    for line in screen(&shown(&["backup", "--help"], true, "xterm"), 200) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Standard error of a child, line by line.
fn told(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap)
}

fn spawned(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Asks until it is answered: before the handler stands, in the first moments of a process, the signal would end it as it should.
fn asked(child: &mut Child) -> String {
    let mut told = told(child);
    signal(child, Signal::USR1);
    let line = told.next().expect("an answer");
    // The rest is read, so that nobody waits for room in a pipe.
    std::thread::spawn(move || told.for_each(drop));
    line
}

/// Waits until the command that `--exec` runs has begun: then the program runs, too.
fn begun(home: &Home, file: &str) {
    let patience = std::time::Instant::now();
    while !home.path(file).exists() {
        assert!(patience.elapsed().as_secs() < 60, "it never began");
        std::thread::yield_now();
    }
}

#[test]
fn who_asks_is_answered() {
    let home = ready();
    let dump = "x=touch begun; echo 1; cat wait";
    for (more, starts) in [(&[][..], "seabed: backup"), (&["--quiet"], "seabed: backup"), (&["--json"], "{\"message_type\":\"status\"")] {
        rustix::fs::mknodat(rustix::fs::CWD, home.path("wait"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let mut child = spawned(&mut home.command(&[&["backup", "--exec", dump], more].concat()));
        begun(&home, "begun");
        let line = asked(&mut child);
        assert!(line.starts_with(starts) && !line.contains('\u{1b}'), "{line}");
        // Whoever waits for a dump is let go on.
        drop(std::fs::File::options().write(true).open(home.path("wait")).unwrap());
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{out}");
        std::fs::remove_file(home.path("wait")).unwrap();
        std::fs::remove_file(home.path("begun")).unwrap();
    }
}

/// With a store that does not answer at all: the thread that waits for it is not the one that speaks.
#[test]
fn who_asks_is_answered_while_the_store_is_slow() {
    let site = Site::stored();
    site.home.write("src/more.txt", "more");
    site.server.inject(Rule::new(Fault::StallBefore).on(Operation::PutObject).key("data/").for_ever());
    let mut child = spawned(&mut site.command(&["backup", "src"]));
    site.server.wait_until(|log| log.iter().any(|request| request.outcome == Outcome::Stalled));
    let line = asked(&mut child);
    assert!(line.starts_with("seabed: backup "), "{line}");
    signal(&child, Signal::INT);
    site.server.release_stalls();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Of a signal that asks a question a program that did not know it died.
#[test]
fn no_command_dies_of_a_question() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let help = home.ends(0, &["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands =
        list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let (mut asked, mut heard) = (0, 0);
    for command in commands {
        // Each with what it asks for, as far as it does: how it ends is not the point, but that it does not end by the signal.
        let mut child = spawned(home.command(&[command, "latest"]).env("SEABED_PROGRESS_FPS", "0"));
        drop(child.stdin.take());
        let handles = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        // It hears the question from its first instructions on: one that never does would die of it, and one that is gone cannot.
        let caught = |status: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(|hex| u64::from_str_radix(hex.trim(), 16).unwrap());
            mask.is_some_and(|mask| mask >> 9 & 1 == 1)
        };
        let over = |status: &str| status.is_empty() || status.contains("State:\tZ");
        while !caught(&handles()) && !over(&handles()) {
            std::thread::yield_now();
        }
        heard += u64::from(caught(&handles()));
        for _ in 0..5 {
            kill_process(Pid::from_child(&child), Signal::USR1).unwrap_or(());
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code().is_some(), "`{command}` died: {:?}", output.status);
        asked += 1;
    }
    // Some are over before they can be looked at; that most were not is what makes this a test.
    assert!(asked > 20 && heard > asked / 2, "{heard} of {asked}");
}

/// A passphrase that is typed: the question stays, and the answer to the other question comes between.
#[test]
fn who_asks_at_a_prompt_is_answered() {
    let home = Home::new();
    home.write("pass", "secret\n");
    home.ends(0, &["--repo", "r", "init", "--password-file", "pass"]);
    let mut terminal = on_terminal(&home, &["--repo", "r", "snapshots"], (80, 24));
    terminal.until(|text| text.contains("Passphrase for"));
    signal(terminal.child(), Signal::USR1);
    terminal.until(|text| text.contains("seabed: snapshots preparing"));
    terminal.types("secret\n");
    let (status, text) = terminal.end();
    assert!(status.success() && !text.contains("secret"), "{text:?}");
}

/// `nohup seabed backup &` and a closed terminal: the handler of our own took the place of nohup's, and the backup stopped.
#[test]
fn what_was_to_be_ignored_stays_ignored() {
    let home = ready();
    for (ignored, code) in [(true, 0), (false, 130)] {
        for (name, number) in [("HUP", Signal::HUP), ("INT", Signal::INT)] {
            let seabed = home.command(&[]).get_program().to_str().unwrap().to_owned();
            let trap = if ignored { format!("trap '' {name}; ") } else { String::new() };
            let script = format!("{trap}exec {seabed} backup --quiet --exec 'x=touch begun; echo 1; sleep 1.5'");
            let mut command = Command::new("sh");
            command.args(["-c", &script]).current_dir(home.path("")).env_clear().env("HOME", home.path("")).env("PATH", "/usr/bin:/bin");
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            begun(&home, "begun");
            signal(&child, number);
            assert_eq!(child.wait().unwrap().code(), Some(code), "{name}, ignored: {ignored}");
            std::fs::remove_file(home.path("begun")).unwrap();
        }
    }
}

/// A mount takes its signals over in a way of its own, which ended `nohup seabed mount m &` with its terminal; and who asked it was told
/// that it prepared, for as long as it was there.
#[test]
fn a_mount_tells_that_it_works_and_lets_be_ignored_what_was() {
    assert!(std::path::Path::new("/dev/fuse").exists(), "this test needs /dev/fuse");
    let home = ready();
    std::fs::create_dir(home.path("mnt")).unwrap();
    let is_mounted = || home.path("mnt/snapshots").exists();
    let seabed = home.command(&[]).get_program().to_str().unwrap().to_owned();
    for (name, number, json) in [("HUP", Signal::HUP, "--json"), ("INT", Signal::INT, "")] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("trap '' {name}; exec {seabed} mount mnt {json}")]).current_dir(home.path("")).env_clear();
        let mut child = spawned(command.env("HOME", home.path("")).env("PATH", "/usr/bin:/bin"));
        let (mut out, mut said) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        out.read_line(&mut said).unwrap();
        let line = if said.contains("mounted") { asked(&mut child) } else { String::new() };
        signal(&child, number);
        // Longer than it takes to look whether somebody wants an end.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let stays = is_mounted();
        signal(&child, Signal::TERM);
        let status = child.wait().unwrap();
        // Only now, so that no mount outlives this.
        assert!(said.contains("mounted") && stays && !is_mounted(), "{name}: {said}");
        assert_eq!(status.code(), Some(0), "{name}");
        let works = if json.is_empty() { "seabed: mount, 0:" } else { "\"stage\":\"working\"" };
        assert!(line.contains(works), "{line}");
    }
}

#[test]
fn ctrl_c_takes_the_bar_away() {
    let home = ready();
    let dump = slow(400);
    let mut terminal = on_terminal(&home, &["backup", "--exec", &dump], (80, 24));
    terminal.until(|text| bars(text).len() > 3);
    terminal.types("\u{3}");
    let (status, text) = terminal.end();
    assert_eq!(status.code(), Some(130), "{text:?}");
    let screen = screen(&text, 80);
    assert!(screen.iter().any(|line| line.contains("once more ends it at once")), "{screen:#?}");
    assert!(screen.iter().all(|line| !line.starts_with("backup")), "{screen:#?}");
}

/// `seabed dump --json` wrote its status between the bytes of the file as soon as it took longer than a second.
#[test]
fn data_on_standard_output_is_data() {
    let home = ready();
    home.ends(0, &["backup", "--exec", "x=head -c 200000000 /dev/zero | tr '\\0' 'x'"]);
    let output = home.command(&["dump", "latest", "x", "--json"]).env("SEABED_PROGRESS_FPS", "60").output().unwrap();
    ended(0, &output, &["dump"]);
    assert!(output.stdout.len() == 200_000_000 && output.stdout.iter().all(|byte| *byte == b'x'), "{}", output.stdout.len());
    // Nor does a bar stand in the midst of a file that is shown on the terminal.
    home.write("src/page", &"line\n".repeat(200));
    home.ends(0, &["backup", "src", "--as-path", "/data", "--series", "p"]);
    let (_, text) = on_terminal(&home, &["dump", "latest", "/data/page"], (80, 24)).end();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    // One document is one: what is looked at for a while has no lines before it.
    let output = home.command(&["stats", "--json"]).env("SEABED_PROGRESS_FPS", "60").output().unwrap();
    assert_eq!(ended(0, &output, &["stats"]).lines().count(), 1);
}

#[test]
fn tables_fit_and_letters_may_be_wide() {
    let home = ready();
    home.ends(0, &["backup", "src", "--series", "資料庫備份每日排程資料庫備份每日排程", "--host", "サーバー", "--tag", "nightly,weekly"]);
    home.write("src/a.txt", "alpha and more\n");
    home.write("src/new.txt", "new\n");
    for _ in 0..2 {
        home.ends(0, &["backup", "src", "--as-path", "/d", "--series", "docs"]);
    }
    home.write("src/a.txt", &"more\n".repeat(5000));
    std::fs::remove_file(home.path("src/new.txt")).unwrap();
    home.ends(0, &["backup", "src", "--as-path", "/d", "--series", "docs"]);
    for columns in [80, 60] {
        for (args, shows) in [
            (&["snapshots"][..], "サー"),
            (&["snapshots", "--sizes"], "Unique"),
            (&["find", "-l", "*.txt", "--series", "docs"], ".."),
            (&["find", "a.txt", "--series", "docs"], "/d/a.txt"),
            (&["history", "/d/a.txt"], "changed (content)"),
            (&["history", "/d/new.txt"], "vanished"),
            (&["diff", "latest~1", "latest", "--series", "docs"], "/d/a.txt"),
            (&["diff", "latest~1", "latest", "--series", "docs", "--stat"], "/d/a.txt"),
            (&["diff", "latest~1", "latest", "--series", "docs", "--stat=dir"], "/d/"),
            (&["stats"], "Compression"),
            (&["stats", "--mode", "raw-data"], "Compressed"),
            (&["stats", "--growth"], "Stored"),
            (&["stats", "--growth", "--by", "week"], "Week"),
            (&["ls", "-l", "latest:/d", "--series", "docs", "--no-recursive"], "/d/a.txt"),
            (&["ls", "-l", "latest:/d", "--series", "docs", "--no-recursive", "--human-readable", "--sort", "size"], "/d/a.txt"),
            (&["forget", "--keep-last", "1", "--dry-run"], "no rule keeps it"),
        ] {
            let mut command = home.command(args);
            command.env("TERM", "xterm").env("SEABED_PROGRESS_FPS", "0");
            let (status, text) = Terminal::run(&command, (columns, 24)).end();
            assert!(status.success() && text.contains(shows), "{args:?}: {text}");
            // A path is never cut where it can be copied: where the repository is, and the commands that bring something back.
            let free = |line: &str| line.starts_with("repository ") || line.trim_start().starts_with("seabed ");
            for line in text.lines().filter(|line| !free(line)) {
                let width = line.trim_end().chars().map(|c| if c as u32 > 0x2e80 { 2 } else { 1 }).sum::<usize>();
                assert!(width <= usize::from(columns), "{args:?} {columns}: {line}");
            }
        }
    }
}
