//! What a backup reads: paths from the command line and from lists, standard input, commands.
//! It must never wait for a silent stream so that Ctrl-C is not heard. It obeys DESIGN's words: a stream lies beside the tree, under a name of its own.

use crate::commands::backup::Args;
use crate::commands::cleaned;
use crate::exit::{Fail, plain};
use seabed_engine::backup::StreamSource;
use seabed_engine::format::entry::name_is_valid;
use seabed_engine::source::roots::{Root, display};
use seabed_engine::source::stream::{CommandStream, FdStream, Stream, StreamFailure};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Standard input and commands, in the order in which they are read.
pub fn streams(args: &Args) -> Result<Vec<StreamSource>, Fail> {
    let mut out: Vec<StreamSource> = Vec::new();
    let mut add = |name: Vec<u8>, argv: Vec<Vec<u8>>, open: Open| {
        if out.iter().any(|have| have.name == name) {
            return Err(Fail::config(format!("the name `{}` is given to two streams", String::from_utf8_lossy(&name)))
                .hint("give each a name of its own: --exec NAME=COMMAND, --stdin-filename NAME"));
        }
        out.push(StreamSource { name, argv, open: Mutex::new(Some(open)), allow_empty: args.allow_empty });
        Ok(())
    };
    if args.stdin {
        let name = stream_name(args.stdin_filename.as_deref().unwrap_or(OsStr::new("stdin")).as_bytes())?;
        add(name, Vec::new(), Box::new(|| Ok(Box::new(FdStream(io::stdin())))))?;
    }
    for spec in &args.exec {
        let (name, argv, open) = command("--exec", spec)?;
        add(name, argv, open)?;
    }
    Ok(out)
}

/// Opens a stream when its turn has come.
type Open = Box<dyn FnOnce() -> Result<Box<dyn Stream>, StreamFailure> + Send>;

/// Name, arguments and start of the command of `NAME=COMMAND`.
fn command(flag: &str, spec: &OsStr) -> Result<(Vec<u8>, Vec<Vec<u8>>, Open), Fail> {
    let bytes = spec.as_bytes();
    let at = bytes.iter().position(|b| *b == b'=');
    let (name, command) =
        at.map(|at| (&bytes[..at], &bytes[at + 1..])).filter(|(_, command)| !command.trim_ascii().is_empty()).ok_or_else(|| {
            Fail::config(format!("{flag} {} names no command", spec.to_string_lossy()))
                .hint(format!("write {flag} NAME='COMMAND ARGUMENTS'"))
        })?;
    let command = String::from_utf8(command.to_vec()).map_err(|_| {
        let fail = Fail::config(format!("a command of {flag} is not UTF-8"));
        fail.hint(format!("put it into a script, and name that: {flag} NAME=SCRIPT"))
    })?;
    let argv = [&b"/bin/sh"[..], b"-c", command.as_bytes()].map(<[u8]>::to_vec).to_vec();
    let open = move || Ok(Box::new(CommandStream::start(&command)?) as Box<dyn Stream>);
    Ok((stream_name(name)?, argv, Box::new(open)))
}

/// Tar archives, in the order in which they are read.
pub fn tars(args: &Args) -> Result<Vec<StreamSource>, Fail> {
    let mut out = Vec::new();
    if let Some(file) = &args.tar {
        let name = args.tar_name.as_ref().map_or(Ok(Vec::new()), |name| stream_name(name.as_bytes()))?;
        let open: Open = match file {
            file if file == Path::new("-") => {
                if args.stdin
                    || [&args.files_from, &args.files_from_verbatim, &args.files_from_raw].iter().any(|lists| lists.contains(file))
                {
                    let fail = Fail::config("standard input is asked for twice");
                    return Err(fail.hint("read one of the two from a file: --tar FILE, or --files-from FILE"));
                }
                Box::new(|| Ok(Box::new(FdStream(io::stdin()))))
            }
            file => {
                let (path, name) = (file.clone(), file.display().to_string());
                let failed = |e: &io::Error| Fail::config(format!("cannot read the archive {}: {}", file.display(), plain(e)));
                // Now, so that a mistyped name is no failed dump.
                let there = std::fs::metadata(file).map_err(|e| failed(&e).hint("name a file, or - for standard input"))?;
                if there.is_dir() {
                    let fail = Fail::config(format!("{} is a directory and no archive", file.display()));
                    return Err(fail.hint(format!("as a path it is backed up: seabed backup {}", file.display())));
                }
                Box::new(move || match std::fs::File::open(path) {
                    Ok(file) => Ok(Box::new(FdStream(file)) as Box<dyn Stream>),
                    Err(source) => Err(StreamFailure::Read { name, source }),
                })
            }
        };
        out.push(StreamSource { name, argv: Vec::new(), open: Mutex::new(Some(open)), allow_empty: args.allow_empty });
    }
    for spec in &args.exec_tar {
        let (name, argv, open) = command("--exec-tar", spec)?;
        out.push(StreamSource { name, argv, open: Mutex::new(Some(open)), allow_empty: args.allow_empty });
    }
    Ok(out)
}

/// The series of an archive without a name: its file tells which one it is.
pub fn series_of_tar(args: &Args) -> Option<String> {
    let file = args.tar.as_ref().filter(|_| args.tar_name.is_none() && args.exec.is_empty() && !args.stdin)?;
    Some(if file == Path::new("-") { "tar".to_owned() } else { file.file_name()?.to_string_lossy().into_owned() })
}

/// A stored path for a stream: relative or absolute as typed, always below `/`.
pub fn stream_name(text: &[u8]) -> Result<Vec<u8>, Fail> {
    let name = cleaned(text);
    // Of nothing the only part is empty, which is no name either.
    if name.split(|b| *b == b'/').any(|part| !name_is_valid(part)) {
        return Err(Fail::config(format!("`{}` cannot be the name of a stream", String::from_utf8_lossy(text)))
            .hint("write a path without `..`, such as shop/dump.sql"));
    }
    Ok(name)
}

/// The paths, absolute. A trailing `/` stays only where it means something: behind a symlink that is to be followed.
pub fn paths(args: &Args) -> Result<Vec<PathBuf>, Fail> {
    let mut given: Vec<PathBuf> = args.paths.clone();
    for list in &args.files_from {
        for line in read_list(list)?.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty() && l[0] != b'#') {
            given.extend(expand(line));
        }
    }
    for list in &args.files_from_verbatim {
        let text = read_list(list)?;
        given.extend(text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| PathBuf::from(OsStr::from_bytes(l))));
    }
    for list in &args.files_from_raw {
        let text = read_list(list)?;
        if text.last().is_some_and(|b| *b != 0) {
            return Err(Fail::config(format!("{}: a list of --files-from-raw ends each path with a zero byte", list.display()))
                .hint("lists of lines are read with --files-from-verbatim; `find -print0` writes zero bytes"));
        }
        given.extend(text.split(|b| *b == 0).filter(|l| !l.is_empty()).map(|l| PathBuf::from(OsStr::from_bytes(l))));
    }
    let cwd = current_directory()?;
    let mut out: Vec<PathBuf> = Vec::with_capacity(given.len());
    for path in given {
        let (full, _) = root(&path, &cwd)?;
        if !out.contains(&full) {
            out.push(full);
        }
    }
    Ok(out)
}

/// Where relative paths begin.
pub fn current_directory() -> Result<PathBuf, Fail> {
    std::env::current_dir().map_err(|e| {
        Fail::config(format!("cannot find the current directory: {}", plain(&e)))
            .hint("it may be gone: `cd` to one that is there, or write whole paths")
    })
}

/// A path of this machine: as it is walked, and as it is stored.
pub fn root(path: &Path, cwd: &Path) -> Result<(PathBuf, Vec<u8>), Fail> {
    let root = Root::new(path, cwd)
        .ok_or_else(|| Fail::config(format!("`{}` cannot be a path", path.display())).hint("leave it out, or correct it"))?;
    let mut full = display(&root.path);
    // A slash behind a symlink means what it leads to.
    if root.follow && full.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
        let mut text = full.into_os_string();
        text.push("/");
        full = text.into();
    }
    Ok((full, root.path))
}

/// The path under which the only path is stored, absolute like it.
pub fn as_path(args: &Args, paths: &[PathBuf]) -> Result<Option<PathBuf>, Fail> {
    let Some(new) = &args.as_path else { return Ok(None) };
    if paths.len() != 1 {
        return Err(Fail::config(format!("--as-path needs exactly one path, and {} are given", paths.len()))
            .hint("name one, or make a backup for each"));
    }
    let root = Root::new(new, Path::new("/")).filter(|_| new.is_absolute());
    root.map(|root| Some(display(&root.path)))
        .ok_or_else(|| Fail::config(format!("`{}` is no absolute path", new.display())).hint("write --as-path /where/it/belongs"))
}

fn read_list(path: &Path) -> Result<Vec<u8>, Fail> {
    let text = if path == Path::new("-") {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(path)
    };
    text.map_err(|e| {
        Fail::config(format!("cannot read the list {}: {}", path.display(), plain(&e)))
            .hint("look whether it is there and this user may read it")
    })
}

/// The paths that a pattern of `--files-from` means. One that matches nothing stays, and is reported as missing like any path.
fn expand(line: &[u8]) -> Vec<PathBuf> {
    let literal = || vec![PathBuf::from(OsStr::from_bytes(line))];
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let Some(found) = std::str::from_utf8(line).ok().and_then(|text| glob::glob_with(text, options).ok()) else { return literal() };
    let mut found: Vec<PathBuf> = found.filter_map(Result::ok).collect();
    found.sort();
    if found.is_empty() { literal() } else { found }
}

/// A stream that stands where the tree has or may have something would hide it, or be hidden, on restore. An archive has the directory
/// at the top of its name to itself.
pub fn no_collisions(paths: &[PathBuf], streams: &[StreamSource], tars: &[StreamSource]) -> Result<(), Fail> {
    if tars.len() + streams.len() + paths.len() > 1 && tars.iter().any(|tar| tar.name.is_empty()) {
        return Err(Fail::config("a tar archive beside other sources needs a name").hint("give it one with --tar-name NAME"));
    }
    for tar in tars {
        let name = display(&tar.name);
        let top = |path: &Path| path.components().nth(1).map(|c| c.as_os_str().to_owned());
        if let Some(path) = paths.iter().find(|path| top(path).is_none_or(|own| Some(own) == top(&name))) {
            let fail = Fail::config(format!("the archive {} would lie beside what is stored of {}", name.display(), path.display()));
            return Err(fail.hint("give it a name that begins otherwise"));
        }
    }

    for stream in streams {
        let name = display(&stream.name);
        if let Some(path) = paths.iter().find(|path| name.starts_with(path) || path.starts_with(&name)) {
            let fail = Fail::config(format!("the stream {} lies where {} is stored", name.display(), path.display()));
            return Err(fail.hint("give the stream another name"));
        }
    }
    Ok(())
}
