//! The secret: where it comes from, and key files that this program makes.
//! It must never print a secret, pass one to a shell, or overwrite a key file. It obeys spec chapter 3 (secrets).

use crate::args::Global;
use crate::exit::{Code, Fail, plain};
use crate::open::directory;
use crate::output::Output;
use crate::signals;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use seabed_engine::format::repo::Sheet;
use seabed_engine::id::unhex;
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::sheet;
use seabed_engine::seal::{Key, random};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Longest passphrase or key file that is read.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// How often a person may mistype.
pub const TRIES: u32 = 3;
const FILE_NAMED_BY: &str = "--password-file and SEABED_PASSWORD_FILE name it";
const COMMAND_NAMED_BY: &str = "--password-command or SEABED_PASSWORD_COMMAND";

/// Where the user said that the secret is.
pub enum Given {
    /// Here it is.
    Secret(Secret),
    /// In this key file, which need not exist yet.
    KeyFile(PathBuf),
    /// Nowhere.
    Nothing,
}

/// A passphrase or password from bytes: one line end at its end is the editor's, not the user's.
fn passphrase(bytes: &[u8], place: &str) -> Result<Zeroizing<Vec<u8>>, Fail> {
    let text = bytes.strip_suffix(b"\n").map_or(bytes, |t| t.strip_suffix(b"\r").unwrap_or(t));
    if text.is_empty() {
        return Err(Fail::config(format!("the passphrase from {place} is empty")).hint("an empty passphrase protects nothing; give one"));
    }
    Ok(Zeroizing::new(text.to_vec()))
}

fn read_limited(mut from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    from.by_ref().take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is longer than 64 KiB"));
    }
    Ok(bytes)
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error, named_by: &str) -> Fail {
    Fail::config(format!("cannot read the {what} {}: {}", path.display(), plain(error)))
        .hint(format!("look whether it is there and this user may read it; {named_by}"))
}

/// A password that opens no repository: from the file that `flag` names, else from an environment variable. `None` where neither is given.
pub fn other(file: Option<&Path>, flag: &str, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Fail> {
    match (file, variable(name)) {
        (Some(path), _) => {
            let bytes =
                File::open(path).and_then(read_limited).map_err(|e| unreadable("password file", path, &e, &format!("{flag} names it")))?;
            passphrase(&bytes, &path.display().to_string()).map(Some)
        }
        (None, Some(value)) => passphrase(&Zeroizing::new(value.into_vec()), name).map(Some),
        (None, None) => Ok(None),
    }
}

/// A passphrase from a file; who named it is said where it cannot be read.
pub fn from_file(path: &Path, named_by: &str) -> Result<Secret, Fail> {
    let bytes = File::open(path).and_then(read_limited).map_err(|e| unreadable("passphrase file", path, &e, named_by))?;
    passphrase(&bytes, &path.display().to_string()).map(Secret::Passphrase)
}

/// A passphrase that a command prints.
pub fn from_command(line: &str, named_by: &str) -> Result<Secret, Fail> {
    // Its first word, no more: an argument may be a secret, or what a shell would take for an assignment.
    let first = line.split_whitespace().next().and_then(|word| word.split('=').next()).unwrap_or_default();
    let bad = |why: String| {
        Fail::config(format!("the passphrase command `{first}` {why}"))
            .hint(format!("run what {named_by} says by hand: it must print the passphrase and end with 0"))
    };
    let words =
        shlex::split(line).filter(|w| !w.is_empty()).ok_or_else(|| bad("cannot be split into words: a quote is open".to_owned()))?;
    let (program, arguments) = words.split_first().ok_or_else(|| bad("is empty".to_owned()))?;
    // Standard input stays ours: `backup --stdin` would lose its first bytes to the command.
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| bad(format!("cannot be started: {}", plain(&e))))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(bad(format!("failed: {}", output.status)));
    }
    passphrase(&text, "the passphrase command").map(Secret::Passphrase)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// What flags say, else what the environment says. Two ways at once are a mistake that would surface in the wrong year.
pub fn given(global: &Global) -> Result<Given, Fail> {
    if let Some(secret) = &global.secret {
        return Ok(Given::Secret(Secret::Passphrase(secret.clone())));
    }
    if let Some(path) = &global.password_file {
        return from_file(path, FILE_NAMED_BY).map(Given::Secret);
    }
    if let Some(line) = &global.password_command {
        return from_command(line, COMMAND_NAMED_BY).map(Given::Secret);
    }
    if let Some(path) = &global.key_file {
        return Ok(Given::KeyFile(path.clone()));
    }
    const NAMES: [&str; 4] = ["PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND", "KEY_FILE"];
    let whole = |name: &str| global.secrets_of.variable(name);
    let set: Vec<&str> = NAMES.into_iter().filter(|name| variable(&whole(name)).is_some()).collect();
    if let [first, second, ..] = set[..] {
        return Err(Fail::config(format!("both {} and {} are set", whole(first), whole(second))).hint("unset all but one of them"));
    }
    let Some((which, value)) = set.first().and_then(|name| variable(&whole(name)).map(|value| (*name, value))) else {
        return Ok(Given::Nothing);
    };
    let name = whole(which);
    if value.is_empty() {
        return Err(Fail::config(format!("{name} is set but empty")).hint("unset it, or give it a value"));
    }
    match which {
        "PASSWORD" => passphrase(&Zeroizing::new(value.into_vec()), &name).map(Secret::Passphrase).map(Given::Secret),
        "PASSWORD_FILE" => from_file(Path::new(&value), FILE_NAMED_BY).map(Given::Secret),
        "PASSWORD_COMMAND" => {
            let line = value
                .into_string()
                .map_err(|_| Fail::config(format!("{name} is not UTF-8")).hint("give the passphrase by a file: --password-file FILE"))?;
            from_command(&line, COMMAND_NAMED_BY).map(Given::Secret)
        }
        _ => Ok(Given::KeyFile(value.into())),
    }
}

/// Reads a recovery sheet, as it was typed or scanned.
pub fn sheet_file(path: &Path) -> Result<Sheet, Fail> {
    let bytes = File::open(path).and_then(read_limited).map_err(|e| unreadable("recovery sheet", path, &e, "the command line names it"))?;
    read_sheet(path, &bytes)
}

fn read_sheet(path: &Path, bytes: &[u8]) -> Result<Sheet, Fail> {
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    sheet::parse(&text).map_err(|error| {
        let fail = Fail::config(format!("{}: {error}", path.display()));
        fail.hint("copy that line from the paper again; it is right when its last four letters fit")
    })
}

/// Reads a key file: 64 hexadecimal digits or 32 bytes, or a recovery sheet with a slot of its own.
pub fn key_file(path: &Path) -> Result<Secret, Fail> {
    let bytes =
        File::open(path).and_then(read_limited).map_err(|e| unreadable("key file", path, &e, "--key-file and SEABED_KEY_FILE name it"))?;
    if std::str::from_utf8(&bytes).is_ok_and(sheet::is_meant) {
        return read_sheet(path, &bytes)?.secret().ok_or_else(|| {
            Fail::config(format!("the recovery sheet {} has no slot of its own", path.display()))
                .hint("`seabed key import` opens the repository with it")
        });
    }
    let key = std::str::from_utf8(&bytes).ok().and_then(|text| unhex::<32>(text.trim_ascii()));
    // Or the bytes themselves, as `head -c 32 /dev/urandom` gives them.
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let key = key.or_else(|| bytes.as_slice().try_into().ok().filter(|_| !is_text));
    key.map(|key| Secret::KeyFile(Key::new(key))).ok_or_else(|| {
        Fail::config(format!("{} is no key file: 64 hexadecimal digits are one, or 32 random bytes", path.display()))
            .hint("a file that holds a passphrase goes with --password-file")
    })
}

/// Makes a key file, durable before anything depends on it: a repository whose key a power cut took is lost.
pub fn make_key_file(path: &Path) -> Result<Secret, Fail> {
    let failed = |e: std::io::Error| {
        Fail::config(format!("cannot create the key file {}: {}", path.display(), plain(&e)))
            .hint("name another place with --key-file, or give a passphrase with --password-file")
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let made = missing_directories(parent);
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
    let text = Zeroizing::new(format!("{}\n", seabed_engine::id::hex(&key[..])));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    for directory in [parent].into_iter().chain(made.iter().filter_map(|d| d.parent())) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory).and_then(|d| d.sync_all()).map_err(failed)?;
    }
    Ok(Secret::KeyFile(Key::new(*key)))
}

/// The directories above and at `path` that do not exist yet: the entries of these must be made durable too.
fn missing_directories(path: &Path) -> Vec<PathBuf> {
    path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).map(Path::to_path_buf).collect()
}

/// Where keys that this program made are.
pub fn key_directory() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME", ".config").map(|base| base.join("seabed"))
}

/// Whether a person can be asked: the question goes to the terminal itself, so redirected streams do not matter.
pub fn can_ask() -> bool {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").is_ok();
    terminal && std::io::stderr().is_terminal() && std::io::stdin().is_terminal()
}

/// A terminal that shows nothing of what is typed. Whoever is asked may answer before the question is out: rpassword turns its echo off only
/// behind that.
struct Dark {
    terminal: File,
    before: Termios,
}

impl Dark {
    fn new() -> Option<Self> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut dark = before.clone();
        dark.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &dark).ok()?;
        Some(Dark { terminal, before })
    }
}

impl Drop for Dark {
    fn drop(&mut self) {
        tcsetattr(&self.terminal, OptionalActions::Now, &self.before).unwrap_or(());
    }
}

/// Asks for a passphrase; `None` for an empty answer.
pub fn ask(question: &str) -> Result<Option<Secret>, Fail> {
    let asked = signals::while_asking(|| {
        let _dark = Dark::new();
        rpassword::prompt_password(question)
    });
    let text = asked.map_err(|e| match e.kind() {
        std::io::ErrorKind::Interrupted => Fail::new(Code::Interrupted, "interrupted"),
        _ => Fail::config(format!("cannot ask for the passphrase: {}", plain(&e)))
            .hint("give it otherwise: --password-file, --password-command, SEABED_PASSWORD …"),
    })?;
    let text = Zeroizing::new(text);
    Ok((!text.is_empty()).then(|| Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))))
}

/// Asks twice for a new passphrase; `None` for an empty answer.
pub fn ask_new(out: &Output) -> Result<Option<Secret>, Fail> {
    ask_twice(out, "New passphrase (empty: generate a key file): ")
}

/// The same with another question.
pub fn ask_twice(out: &Output, question: &str) -> Result<Option<Secret>, Fail> {
    for _ in 0..TRIES {
        let Some(first) = ask(question)? else { return Ok(None) };
        let again = ask("The same again: ")?;
        if let (Secret::Passphrase(a), Some(Secret::Passphrase(b))) = (&first, &again)
            && a == b
        {
            return Ok(Some(first));
        }
        out.warn("the two differ; once more");
    }
    Err(Fail::config("the two passphrases differ").hint("nothing was made: run it again, or give it by --password-file"))
}
