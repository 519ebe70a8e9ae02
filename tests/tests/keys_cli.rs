//! `seabed key` as a stranger meets it: several secrets, labels, recovery sheets from paper and from QR codes, what is refused and why.
//! What the objects are, and what happens when several do it at once, is tested in `keys`.

use crate::cli::{Home, lines};
use crate::copy_cli::two_take_turns;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn slots(home: &Home, more: &[&str]) -> Vec<Value> {
    lines(&home.ends(0, &[&["key", "list", "--json"], more].concat()))
}

/// A home with a repository and a snapshot.
fn begun() -> Home {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    home
}

fn hint(home: &Home, code: i32, args: &[&str]) -> String {
    let out = home.run(args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    // As it is said, whatever the width of the terminal.
    String::from_utf8(out.stderr).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn several_secrets_come_and_go() {
    let home = begun();
    home.write("pass", "a long passphrase\n");
    home.ends(0, &["key", "add", "--label", "laptop", "--new-key-file", "keys/laptop.key"]);
    assert_eq!(fs::metadata(home.path("keys/laptop.key")).unwrap().permissions().mode() & 0o7777, 0o600);
    home.ends(0, &["key", "add", "--label", "safe", "--new-password-file", "pass", "--kdf-memory", "19", "--kdf-passes", "1"]);
    for secret in [["--key-file", "keys/laptop.key"], ["--password-file", "pass"]] {
        assert!(home.ends(0, &[&["snapshots"][..], &secret].concat()).contains("src"));
    }
    let told = home.ends(0, &["key", "list"]);
    assert!(told.contains("laptop") && told.contains("19 MiB, 1×") && told.contains("in use"), "{told}");
    let listed = slots(&home, &["--password-file", "pass"]);
    let labels: Vec<&str> = listed.iter().map(|slot| slot["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["", "laptop", "safe"]);
    assert!(listed[2]["own"] == true && listed[0]["own"] == false);
    // By label, by the beginning of an id, and never the one in use.
    assert!(hint(&home, 25, &["key", "remove", "laptop", "--key-file", "keys/laptop.key"]).contains("in use"));
    assert!(hint(&home, 1, &["key", "remove", "desktop"]).contains("no slot is called"));
    home.ends(0, &["key", "remove", "laptop"]);
    let wrong = hint(&home, 12, &["snapshots", "--key-file", "keys/laptop.key"]);
    assert!(!wrong.contains("slot ") || wrong.contains("no key slot of"), "no hint which one was nearly right: {wrong}");
    home.ends(0, &["backup", "--quiet", "src"]);
    let id = slots(&home, &["--password-file", "pass"])[1]["id"].as_str().unwrap()[..10].to_owned();
    home.ends(0, &["key", "rotate", "--remove", &id]);
    home.ends(12, &["snapshots", "--password-file", "pass"]);
    assert_eq!(slots(&home, &[]).len(), 1);
    home.ends(0, &["check", "--read-data"]);
}

/// Two rewrites at once each made every snapshot anew.
#[test]
fn two_rewrites_of_a_machine_take_turns() {
    let home = begun();
    home.ends(0, &["key", "rotate"]);
    two_take_turns(&home, "rewrite.lock", "another rewrite of", &["key", "rewrite", "--grace", "0"]);
    assert_eq!(lines(&home.ends(0, &["snapshots", "--json"])).remove(0).as_array().unwrap().len(), 1);
    home.ends(0, &["check", "--read-data"]);
}

/// 32 random bytes are a key file, as the format says; a passphrase of 32 letters is none.
#[test]
fn raw_bytes_are_a_key_file() {
    let home = begun();
    let bytes: Vec<u8> = (0..32).map(|n| n * 7 + 3).collect();
    fs::write(home.path("raw.key"), &bytes).unwrap();
    home.ends(0, &["key", "add", "--new-key-file", "raw.key"]);
    home.ends(0, &["snapshots", "--key-file", "raw.key"]);
    assert_eq!(fs::read(home.path("raw.key")).unwrap(), bytes);
    home.write("text.key", "correct horse battery staple 123");
    assert!(hint(&home, 20, &["key", "add", "--new-key-file", "text.key"]).contains("no key file"));
}

/// A sheet that could not be written left a slot behind whose key stood nowhere.
#[test]
fn a_sheet_that_cannot_be_written_adds_no_slot() {
    let home = begun();
    let before = slots(&home, &[]).len();
    home.ends(1, &["key", "export", "--output", "no/such/directory/sheet"]);
    home.ends(1, &["key", "export", "--output", "sheet", "--html", "no/such/directory/sheet"]);
    assert!(!home.path("sheet").exists(), "nothing is left of the one that could be made");
    home.write("sheet", "there");
    home.ends(20, &["key", "export", "--output", "sheet"]);
    let long = "x".repeat(257);
    home.ends(20, &["key", "export", "--label", &long]);
    // A key file for it was made, and opened nothing.
    home.ends(20, &["key", "add", "--label", &long, "--new-key-file", "new.key"]);
    assert!(!home.path("new.key").exists());
    assert_eq!(slots(&home, &[]).len(), before);
    assert_eq!(fs::read_to_string(home.path("sheet")).unwrap(), "there");
}

#[test]
fn a_secret_is_replaced() {
    let home = begun();
    home.ends(0, &["key", "passwd", "--new-password-command", "echo another passphrase", "--kdf-memory", "19"]);
    home.ends(12, &["snapshots"]);
    home.write("new", "another passphrase");
    assert!(home.ends(0, &["snapshots", "--password-file", "new"]).contains("src"));
    home.ends(0, &["key", "passwd", "--password-file", "new", "--new-key-file", "again.key"]);
    home.ends(12, &["snapshots", "--password-file", "new"]);
    home.ends(0, &["backup", "--quiet", "src", "--key-file", "again.key"]);
    for (args, said) in [
        (&["key", "add"][..], "no new secret is given"),
        (&["key", "add", "--kdf-memory", "1"], "not between 19 and 1024"),
        (&["key", "add", "--kdf-passes", "65"], "not between 1 and 64"),
        (&["key", "add", "--new-password-file", "none"], "--new-password-file names it"),
        (&["key", "add", "--new-password-command", "false"], "--new-password-command says"),
    ] {
        let args = [args, &["--key-file", "again.key"]].concat();
        assert!(hint(&home, 20, &args).contains(said), "{args:?}");
    }
}

/// Everything on this machine is gone: what is left is the repository and the paper.
#[test]
fn a_sheet_from_paper_restores_on_a_bare_machine() {
    let home = begun();
    let sheet = home.ends(0, &["key", "export"]);
    assert!(sheet.starts_with("SEABED RECOVERY SHEET of repository "), "{sheet}");
    home.ends(0, &["key", "rotate"]);
    home.write("src/later.txt", "later\n");
    home.ends(0, &["backup", "--quiet", "src"]);
    let repository = home.repository();
    let place = repository.to_str().unwrap();

    for lost in [&[][..], &["slots", "keyring"], &["seabed"]] {
        let bare = Home::new();
        bare.write("typed", &sheet.to_lowercase());
        let store = bare.path("store");
        let copied = std::process::Command::new("cp").arg("-a").arg(place).arg(&store).status().unwrap();
        assert!(copied.success());
        for name in lost {
            let path = store.join(name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        // Its slot opens what was written after the rotation; where slots are lost there are the keys of the sheet, and what they do not
        // open is said.
        let code = if lost.contains(&"slots") { 3 } else { 0 };
        bare.ends(code, &["key", "import", "typed", "--repo", "store", "--new-key-file", "new.key", "--label", "new"]);
        let args = ["restore", "latest", "--repo", "store", "--key-file", "new.key", "--target", "back"];
        bare.ends(0, &args);
        let back = bare.path("back").join(home.path("src").strip_prefix("/").unwrap());
        assert_eq!(fs::read_to_string(back.join("a.txt")).unwrap(), "alpha\n");
        assert_eq!(back.join("later.txt").exists(), code == 0);
    }

    // It is a key file, too, and can be revoked.
    home.write("sheet", &sheet);
    assert!(home.ends(0, &["snapshots", "--key-file", "sheet"]).contains("src"));
    let label = slots(&home, &[])[1]["label"].as_str().unwrap().to_owned();
    assert!(label.starts_with("recovery sheet 20"), "{label}");
    home.ends(0, &["key", "remove", &label]);
    home.ends(12, &["snapshots", "--key-file", "sheet"]);
    // Without a slot it opens what is written until the next rotation, and says so.
    let without = home.ends(0, &["key", "export", "--no-slot"]);
    home.write("without", &without);
    assert!(hint(&home, 20, &["snapshots", "--key-file", "without"]).contains("seabed key import"));
    home.ends(0, &["key", "rotate"]);
    home.ends(0, &["backup", "--quiet", "src"]);
    assert!(hint(&home, 3, &["key", "import", "without", "--new-key-file", "old.key"]).contains("opens what was written before"));
    let old = lines(&home.ends(3, &["snapshots", "--json", "--no-cache", "--key-file", "old.key"])).remove(0);
    assert_eq!(old.as_array().unwrap().len(), 2);
    assert!(hint(&home, 25, &["backup", "src", "--no-cache", "--key-file", "old.key"]).contains("its slot was removed"));
}

#[test]
fn a_typing_error_is_named() {
    let home = begun();
    let sheet = home.ends(0, &["key", "export", "--no-slot"]);
    for (at, line) in sheet.lines().enumerate().filter(|(_, line)| line.get(2..3) == Some(":")) {
        let other = if &line[6..7] == "A" { "B" } else { "A" };
        let wrong: Vec<String> = sheet
            .lines()
            .enumerate()
            .map(|(n, text)| if n == at { format!("{}{other}{}", &text[..6], &text[7..]) } else { text.to_owned() })
            .collect();
        home.write("typed", &wrong.join("\n"));
        let number: u32 = line[..2].parse().unwrap();
        let said = hint(&home, 20, &["key", "import", "typed", "--new-key-file", "new.key"]);
        assert!(said.contains(&format!("line {number} is mistyped")), "{said}");
    }
    assert!(!home.path("new.key").exists(), "no key was made for nothing");
    let cut: Vec<&str> = sheet.lines().filter(|line| !line.starts_with("04:")).collect();
    home.write("typed", &cut.join("\n"));
    assert!(hint(&home, 20, &["key", "import", "typed", "--new-key-file", "new.key"]).contains("line 4 is missing"));
    home.write("typed", "nothing");
    assert!(hint(&home, 20, &["key", "import", "typed", "--new-key-file", "new.key"]).contains("no numbered lines"));
}

/// What a camera would make of what is dark: modules of several pixels.
fn scanned(width: usize, dark: impl Fn(usize, usize) -> bool) -> String {
    const PIXELS: usize = 4;
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(
            width * PIXELS,
            width * PIXELS,
            |x, y| {
                if dark(x / PIXELS, y / PIXELS) { 0 } else { 255 }
            },
        );
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code in the picture");
    grids[0].decode().unwrap().1
}

/// The codes that are drawn on a terminal, two modules in one character; what is drawn is light.
fn from_terminal(text: &str) -> Vec<String> {
    let mut codes: Vec<Vec<Vec<bool>>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.chars().count() < 20 || !line.chars().all(|c| matches!(c, ' ' | '▀' | '▄' | '█')) {
            inside = false;
            continue;
        }
        if !std::mem::replace(&mut inside, true) {
            codes.push(Vec::new());
        }
        let rows = codes.last_mut().unwrap();
        rows.push(line.chars().map(|c| !matches!(c, '▀' | '█')).collect());
        rows.push(line.chars().map(|c| !matches!(c, '▄' | '█')).collect());
    }
    let read = |rows: &Vec<Vec<bool>>| scanned(rows[0].len(), |x, y| rows.get(y).is_some_and(|row| row[x]));
    codes.iter().map(read).collect()
}

/// The codes of a page: paths of one square per dark module.
fn from_page(html: &str) -> Vec<String> {
    let number = |text: &str, name: &str| -> usize {
        let rest = text.split(&format!("{name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let code = |svg: &str| {
        let width = number(svg, "width");
        let squares: Vec<(usize, usize, usize)> = svg
            .split("d=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .split('M')
            .skip(1)
            .map(|square| {
                let numbers: Vec<usize> = square.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
                (numbers[0], numbers[1], numbers[2])
            })
            .collect();
        let side = squares[0].2;
        let dark: std::collections::HashSet<(usize, usize)> = squares.iter().map(|(x, y, _)| (x / side, y / side)).collect();
        scanned(width / side, |x, y| dark.contains(&(x, y)))
    };
    html.split("<svg").skip(1).map(code).collect()
}

#[test]
fn what_a_camera_reads_opens_the_repository() {
    let home = begun();
    let text = home.ends(0, &["key", "export", "--qr"]);
    let codes = from_terminal(&text);
    assert!(codes.len() > 2, "{} codes", codes.len());
    assert!(text.lines().all(|line| line.chars().count() <= 96), "{text}");
    assert!(text.lines().filter(|line| line.contains('█')).all(|line| line.chars().count() <= 80), "a terminal of 80 columns");
    // In any order, one below the other.
    home.write("scanned", &codes.iter().rev().map(String::as_str).collect::<Vec<_>>().join("\n"));
    assert!(home.ends(0, &["snapshots", "--key-file", "scanned"]).contains("src"));
    home.write("some", &codes[1..].join("\n"));
    assert!(hint(&home, 20, &["snapshots", "--key-file", "some"]).contains("line 1 is missing"));

    home.ends(0, &["key", "export", "--html", "sheet.html", "--output", "sheet.txt"]);
    for name in ["sheet.html", "sheet.txt"] {
        assert_eq!(fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    let html = fs::read_to_string(home.path("sheet.html")).unwrap();
    assert!(
        !html.contains("http://") || html.matches("http").count() == html.matches("http://www.w3.org/2000/svg").count(),
        "it needs nothing else"
    );
    home.write("scanned", &from_page(&html).join("\n"));
    home.ends(0, &["key", "import", "scanned", "--new-key-file", "new.key"]);
    assert!(home.ends(0, &["snapshots", "--key-file", "new.key"]).contains("src"));
    home.ends(0, &["snapshots", "--key-file", "sheet.txt"]);
    // Nothing is overwritten, and no slot is added for nothing.
    let before = slots(&home, &[]).len();
    assert!(hint(&home, 20, &["key", "export", "--html", "sheet.html"]).contains("is there already"));
    assert_eq!(slots(&home, &[]).len(), before);
}
