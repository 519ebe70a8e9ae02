//! Programs of others that read and write archives: GNU tar, bsdtar, unzip, Python. What a test needs and does not find, it says; `.ci/run`
//! installs it.
//! It must never hide how a program ended.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program in `dir` with `input` on its standard input.
pub fn run(program: &str, args: &[&str], dir: &Path, input: &[u8]) -> Output {
    let mut command = Command::new(program);
    // Names are bytes, and messages are the same everywhere.
    command.env("LC_ALL", "C.UTF-8").args(args).current_dir(dir);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{program} cannot be started ({e}): .ci/run installs what tests need"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // One that has seen enough closes its end.
        scope.spawn(move || stdin.write_all(input).unwrap_or_default());
        child.wait_with_output().unwrap()
    })
}

/// The same, for what must end well. Returns what it printed.
pub fn ok(program: &str, args: &[&str], dir: &Path, input: &[u8]) -> Vec<u8> {
    let output = run(program, args, dir, input);
    assert!(output.status.success(), "{program} {args:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What GNU tar is told to leave nothing out.
pub const ALL: [&str; 4] = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"];

/// Unpacks with GNU tar into `dir`. It may have nothing to say.
pub fn untar(archive: &[u8], dir: &Path) {
    let output = run("tar", &[&["x", "-p"], &ALL[..]].concat(), dir, archive);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It warns of times before 1970 and of those to come, and restores them.
    let odd = |line: &str| line.contains("implausibly old time stamp") || line.contains("time stamp") && line.ends_with("s in the future");
    let said: Vec<&str> = said.lines().filter(|line| !odd(line)).collect();
    assert!(output.status.success() && said.is_empty(), "tar: {}\n{}", output.status, said.join("\n"));
}

/// A header of a tar archive, made by hand.
pub fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"14503463622\0");
    put(156, &[kind]);
    put(157, link);
    put(257, b"ustar\x0000");
    sealed(block)
}

/// A header with its checksum made right.
pub fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Content filled up to a block.
pub fn body(content: &[u8]) -> Vec<u8> {
    let mut out = content.to_vec();
    out.resize(content.len().next_multiple_of(512), 0);
    out
}

/// A file of a tar archive, made by hand.
pub fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    [header(name, b'0', content.len() as u64, b""), body(content)].concat()
}

/// An extended header.
pub fn pax(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let bytes = (1..).map(|digits| rest + digits).find(|bytes| bytes.to_string().len() + rest == *bytes).unwrap();
        text.extend_from_slice(format!("{bytes} {key}=").as_bytes());
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    [header(b"PaxHeaders/x", kind, text.len() as u64, b""), body(&text)].concat()
}

/// What ends an archive.
pub const END: [u8; 1024] = [0; 1024];
