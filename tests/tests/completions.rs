//! Completions and manual pages: loaded by the shells that they are for, and read by the program that sets pages.
//! `.ci/run` installs what Debian has of these: bash, zsh, fish, elvish, groff. For PowerShell it has nothing: only the text is looked at.

use crate::cli::{Home, ended};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// What a shell says to a script, in an empty home. What it complains about is a failure.
fn shell(home: &Home, program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home.path("")).env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TERM", "dumb");
    let output = command.current_dir(home.path("")).stdin(Stdio::null()).args(args).output();
    let Output { status, stdout, stderr } = output.unwrap_or_else(|e| panic!("{program} (Debian has it): {e}"));
    let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(status.success() && err.is_empty(), "{program} {status}: {out} {err}");
    out
}

/// The script for a shell, in a file.
fn script(home: &Home, shell: &str) -> PathBuf {
    let path = home.path(&format!("seabed.{shell}"));
    fs::write(&path, home.ends(0, &["completions", shell])).unwrap();
    path
}

#[test]
fn bash_completes() {
    let home = Home::new();
    script(&home, "bash");
    let complete = |words: &str, at: usize| {
        let text = format!(
            "source ./seabed.bash; COMP_WORDS=({words}); COMP_CWORD={at}; at={at}; _seabed seabed \"${{COMP_WORDS[at]}}\" \"${{COMP_WORDS[at-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        shell(&home, "bash", &["--norc", "-c", &text])
    };
    assert_eq!(complete("seabed back", 1).trim(), "backup");
    assert!(complete("seabed backup --exclude-", 2).contains("--exclude-caches"));
    assert_eq!(complete("seabed restore --overwrite if-", 3).trim(), "if-changed if-newer");
    assert!(complete("seabed completions ''", 2).contains("zsh"));
    assert_eq!(complete("seabed serve web", 2).trim(), "webdav");
    assert!(complete("seabed serve webdav --list", 3).contains("--listen"));
    assert!(complete("seabed stats --mode ''", 3).contains("blobs-per-file"));
}

#[test]
fn zsh_completes() {
    let home = Home::new();
    script(&home, "zsh");
    shell(&home, "zsh", &["-f", "-n", "seabed.zsh"]);
    // A key is pressed in a shell on a terminal of its own.
    home.write(
        "press.zsh",
        "zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; autoload -U compinit; compinit -u -D; source ./seabed.zsh; seabed() { :; }; bindkey \"^I\" complete-word; echo REA\"\"DY'
zpty -r z out '*READY*'
zpty -w -n z $'seabed bac\\t-x\\n'
zpty -w z 'echo DO\"\"NE'
zpty -r z out '*DONE*'
print -r -- \"$out\"
",
    );
    let shown = shell(&home, "zsh", &["-f", "press.zsh"]);
    assert!(shown.contains("seabed backup"), "{shown:?}");
}

#[test]
fn fish_completes() {
    let home = Home::new();
    script(&home, "fish");
    let complete = |line: &str| shell(&home, "fish", &["--no-config", "-c", &format!("source seabed.fish; complete -C '{line}'")]);
    assert!(complete("seabed back").starts_with("backup\t"));
    assert!(complete("seabed backup --exclude-").contains("--exclude-caches\t"));
    assert!(complete("seabed restore --overwrite ").contains("if-newer\t"));
    assert!(complete("seabed completions ").contains("powershell\n"));
    assert!(complete("seabed serve web").starts_with("webdav\t"));
    assert!(complete("seabed ls --sort ").contains("extension\t"));
}

#[test]
fn elvish_completes() {
    let home = Home::new();
    script(&home, "elvish");
    // Without a terminal elvish has no editor: the two things of it that the script uses are given to it.
    home.write(
        "press.elv",
        "fn candidate {|text &display=''| put $text}
var edit: = (ns [&complex-candidate~=$candidate~ &completion:=(ns [&arg-completer=[&]])])
eval (slurp < seabed.elvish) &ns=(ns [&edit:=$edit:])
$edit:completion:arg-completer[seabed] seabed '' | each {|c| echo $c}
$edit:completion:arg-completer[seabed] seabed backup -- '' | each {|c| echo $c}
",
    );
    let shown = shell(&home, "elvish", &["-norc", "press.elv"]);
    assert!(shown.contains("backup\n") && shown.contains("--exclude-caches\n"), "{shown}");
}

#[test]
fn powershell_is_told_of_every_command() {
    let home = Home::new();
    let text = home.ends(0, &["completions", "powershell"]);
    assert!(text.contains("Register-ArgumentCompleter -Native -CommandName 'seabed'"), "{text}");
    for part in ["'seabed;backup'", "'--exclude-caches'", "'seabed;self-test'"] {
        assert!(text.contains(part), "{part}");
    }
    home.ends(20, &["completions", "tcsh"]);
}

/// Pages that a page-setter has nothing to say about, one for each command.
#[test]
fn manual_pages_are_set_without_a_warning() {
    let home = Home::new();
    let said = home.ends(0, &["man", "share/man1"]);
    let mut pages: Vec<PathBuf> = fs::read_dir(home.path("share/man1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    assert!(said.contains(&format!("wrote {} pages", pages.len())) && pages.len() > 20, "{said}");
    for page in &pages {
        let page = page.to_str().unwrap();
        let text = shell(&home, "groff", &["-ww", "-Tutf8", "-man", "-P-cbou", page]);
        for part in ["NAME", "SYNOPSIS", "EXAMPLES", "EXIT STATUS", "refused by a guard", "SEE ALSO"] {
            assert!(text.contains(part), "{page} has no {part}");
        }
        let source = fs::read_to_string(page).unwrap();
        assert!(source.is_ascii(), "{page}: what is no ASCII has a name of its own in troff");
    }
    // Those of a command in a command are named as they are, and there.
    for page in &pages {
        let source = fs::read_to_string(page).unwrap().replace("\\-", "-");
        for other in source.split("\\fB").filter_map(|part| part.split_once("\\fR(1)")).map(|(name, _)| name) {
            assert!(home.path(&format!("share/man1/{other}.1")).exists(), "{} speaks of {other}(1)", page.display());
        }
    }
    assert!(fs::read_to_string(home.path("share/man1/seabed-serve-webdav.1")).unwrap().contains("\\-\\-listen"));
    let page = fs::read_to_string(home.path("share/man1/seabed-backup.1")).unwrap();
    assert!(page.contains("\\-\\-exclude\\-caches") && page.contains("CACHEDIR.TAG"), "{page}");
    // Variables that the program reads are on its page.
    let page = fs::read_to_string(home.path("share/man1/seabed.1")).unwrap();
    let mut todo = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("cli/src")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        for word in fs::read_to_string(&path)
            .unwrap()
            .split(|c: char| !c.is_ascii_uppercase() && c != '_')
            .filter(|word| word.starts_with("SEABED_"))
        {
            assert!(word == "SEABED_" || page.contains(word.trim_end_matches('_')), "{word} of {} is not on the page", path.display());
        }
    }
    ended(1, &home.run(&["man", "src/a.txt"]), &["man"]);
}
