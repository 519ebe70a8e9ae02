//! What a backup reads: paths from the command line and from lists, standard input, commands, and the rules of what stays out.
//! It must never wait for a silent stream so that Ctrl-C is not heard. It obeys DESIGN's words: a stream lies beside the tree, under a name of its own.

use crate::commands::backup::Args;
use crate::exit::{Fail, plain};
use crate::open::Opened;
use crate::size;
use seabed_engine::backup::StreamSource;
use seabed_engine::format::entry::name_is_valid;
use seabed_engine::source::Excludes;
use seabed_engine::source::roots::{Root, display};
use seabed_engine::source::stream::{CommandStream, FdStream, Stream, StreamFailure};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Standard input and commands, in the order in which they are read.
pub fn streams(args: &Args) -> Result<Vec<StreamSource>, Fail> {
    let mut out: Vec<StreamSource> = Vec::new();
    let mut add = |name: Vec<u8>, argv: Vec<Vec<u8>>, open: Box<dyn FnOnce() -> Result<Box<dyn Stream>, StreamFailure> + Send>| {
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
        let bytes = spec.as_bytes();
        let at = bytes.iter().position(|b| *b == b'=');
        let (name, command) =
            at.map(|at| (&bytes[..at], &bytes[at + 1..])).filter(|(_, command)| !command.trim_ascii().is_empty()).ok_or_else(|| {
                Fail::config(format!("--exec {} names no command", spec.to_string_lossy())).hint("write --exec NAME='COMMAND ARGUMENTS'")
            })?;
        let command = String::from_utf8(command.to_vec())
            .map_err(|_| Fail::config("a command of --exec is not UTF-8").hint("put it into a script and name that"))?;
        let argv = [&b"/bin/sh"[..], b"-c", command.as_bytes()].map(<[u8]>::to_vec).to_vec();
        let open = move || Ok(Box::new(CommandStream::start(&command)?) as Box<dyn Stream>);
        add(stream_name(name)?, argv, Box::new(open))?;
    }
    Ok(out)
}

/// A stored path for a stream: relative or absolute as typed, always below `/`.
fn stream_name(text: &[u8]) -> Result<Vec<u8>, Fail> {
    let parts: Vec<&[u8]> = text.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
    if parts.is_empty() || parts.iter().any(|p| !name_is_valid(p)) {
        return Err(Fail::config(format!("`{}` cannot be the name of a stream", String::from_utf8_lossy(text)))
            .hint("write a path without `..`, such as shop/dump.sql"));
    }
    Ok(parts.join(&b'/'))
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
    let cwd = std::env::current_dir().map_err(|e| {
        Fail::config(format!("cannot find the current directory: {}", plain(&e)))
            .hint("it may be gone: `cd` to one that is there, or write whole paths")
    })?;
    let mut out: Vec<PathBuf> = Vec::with_capacity(given.len());
    for path in given {
        let root = Root::new(&path, &cwd)
            .ok_or_else(|| Fail::config(format!("`{}` cannot be a path", path.display())).hint("leave it out, or correct it"))?;
        let mut full = display(&root.path);
        if root.follow && full.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
            let mut text = full.into_os_string();
            text.push("/");
            full = text.into();
        }
        if !out.contains(&full) {
            out.push(full);
        }
    }
    Ok(out)
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

/// A stream that stands where the tree has or may have something would hide it, or be hidden, on restore.
pub fn no_collisions(paths: &[PathBuf], streams: &[StreamSource]) -> Result<(), Fail> {
    for stream in streams {
        let name = display(&stream.name);
        if let Some(path) = paths.iter().find(|path| name.starts_with(path) || path.starts_with(&name)) {
            let fail = Fail::config(format!("the stream {} lies where {} is stored", name.display(), path.display()));
            return Err(fail.hint("give the stream another name"));
        }
    }
    Ok(())
}

/// The rules, and their text for the manifest.
pub fn excludes(args: &Args, opened: &Opened) -> Result<(Excludes, Vec<String>), Fail> {
    let mut rules = Excludes::new();
    let mut text = Vec::new();
    for (patterns, fold_case) in [(&args.exclude, false), (&args.iexclude, true)] {
        for pattern in patterns {
            rules.pattern(pattern.as_bytes(), fold_case)?;
            text.push(pattern.to_string_lossy().into_owned());
        }
    }
    for (files, fold_case) in [(&args.exclude_file, false), (&args.iexclude_file, true)] {
        for file in files {
            rules.file(file, fold_case)?;
            text.push(format!("(file {})", file.display()));
        }
    }
    for spec in &args.exclude_if_present {
        rules.if_present(spec.as_bytes())?;
    }
    if args.exclude_caches {
        rules.caches();
    }
    if let Some(limit) = &args.exclude_larger_than {
        rules.larger_than(size::parse(limit).map_err(Fail::config)?);
    }
    rules.ignore_files(!args.no_ignore_files);
    // The repository and its cache are never backed up into themselves: a home directory holds both by default. Last, so that no `!` takes them back.
    for own in [opened.place.directory(), opened.cache.as_ref()].into_iter().flatten() {
        for path in [Some(own.clone()), own.canonicalize().ok()].into_iter().flatten() {
            rules.pattern(&escape(path.as_os_str()), false)?;
        }
    }
    Ok((rules, text))
}

/// A path as a pattern that matches only itself.
fn escape(path: &OsStr) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in OsString::from(path).into_vec() {
        if b"\\[]*?!".contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}
