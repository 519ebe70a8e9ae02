//! Client programs of databases: how they are found, told where their server is, and given a password.
//! It must never put a password into an argument or a variable of the environment: whoever may see the list of processes would read it.

pub mod conninfo;
pub mod mysql;
pub mod names;
pub mod postgres;
pub mod secret_file;

use crate::exit::{Code, Fail, without_number};
use crate::jobs::config::secret::redacted;
use seabed_engine::{CommandStream, Stream, StreamFailure};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long a client may try to connect, where nobody says otherwise: a server that is away must not hold a job all night.
pub const CONNECT_SECONDS: &str = "30";
/// More than any list of databases, any version, any role has.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where a program is: in `directory` where one is named, else the first of `names` that PATH knows.
pub fn find(directory: Option<&Path>, names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = match directory {
        Some(directory) => vec![directory.to_owned()],
        None => std::env::split_paths(&path).collect(),
    };
    let is_program = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    names.iter().find_map(|name| places.iter().map(|place| place.join(name)).find(is_program))
}

/// The same, with the next step where there is none.
pub fn need(directory: Option<&Path>, names: &[&str], package: &str) -> Result<PathBuf, Fail> {
    find(directory, names).ok_or_else(|| {
        let name = names.join("` or `");
        match directory {
            Some(directory) => Fail::config(format!("there is no program `{name}` in {}", directory.display()))
                .hint("`programs` names the directory in which the clients lie"),
            None => Fail::config(format!("there is no program `{name}` on this machine"))
                .hint(format!("install the clients (Debian: {package}), or name their directory: programs = \"/…\"")),
        }
    })
}

/// Program and arguments as they are shown and stored.
pub fn words(command: &Command) -> Vec<Vec<u8>> {
    [command.get_program()].into_iter().chain(command.get_args()).map(|word| word.as_bytes().to_vec()).collect()
}

/// How a command is spoken of: the name of its program.
pub fn shown(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

/// Runs a client to its end and returns what it printed; it gets no input.
pub fn ask(command: Command, about: &str) -> Result<Vec<u8>, Fail> {
    let shown = shown(&command);
    let failed = |failure| client_failed(failure, about);
    let mut stream = Box::new(CommandStream::spawn(command, &shown).map_err(failed)?);
    let mut answer = Vec::new();
    let read = Read::take(&mut *stream, ANSWER_BYTES_MAX).read_to_end(&mut answer);
    read.map_err(|source| failed(StreamFailure::Read { name: shown, source }))?;
    stream.finish().map_err(failed)?;
    Ok(answer)
}

/// A client that did not do what it was asked for: its own words are the reason.
pub fn client_failed(failure: StreamFailure, about: &str) -> Fail {
    let mut fail = Fail::new(Code::NoSource, without_number(&format!("{about}: {failure}")));
    match failure {
        StreamFailure::Exit { stderr, .. } | StreamFailure::Killed { stderr, .. } => {
            let text = redacted(String::from_utf8_lossy(&stderr).trim_end());
            fail.detail = (!text.is_empty()).then_some(text);
        }
        StreamFailure::Start { .. } => {
            fail.hint = Some("install the client, or name the directory it lies in: programs = \"/…\"".to_owned());
        }
        _ => {}
    }
    fail
}
