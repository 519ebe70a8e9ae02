//! Secrets of a configuration: where they are, how they are read, and that nobody prints them.
//! It must never put a secret into a message, an argument or a log. Files and commands are asked only when a secret is used.

use crate::exit::{Fail, plain};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// What stands for a secret where a configuration is shown.
pub const SHOWN: &str = "********";
/// Longest secret that is read from a file or command.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// Shorter ones are not looked for in logs: they would blank out half of every line.
const REDACTED_BYTES_MIN: usize = 4;
/// Prefix of a path that systemd's `LoadCredential=` gave a name.
const CREDENTIAL: &str = "credential:";

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    /// Hides it.
    pub fn new(text: impl Into<String>) -> Self {
        Hidden(Zeroizing::new(text.into()))
    }

    /// Itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Hidden::new(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(SHOWN)
    }
}

/// A text of which a part may be a secret: a URL with a password, a list of `key=value` words.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Address(Hidden);

impl Address {
    /// Itself.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Without what stands for a password in it.
    pub fn shown(&self) -> String {
        shown(self.reveal())
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Address(text.into())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.shown())
    }
}

/// A URL or a list of `key=value` words without its password.
fn shown(text: &str) -> String {
    if let Some((scheme, rest)) = text.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let hidden = authority.rsplit_once('@').map_or(authority.to_owned(), |(user, host)| match user.split_once(':') {
            Some((name, _)) => format!("{name}:{SHOWN}@{host}"),
            None => format!("{user}@{host}"),
        });
        // A parameter may hold one too: `?password=…`.
        let tail = match tail.split_once('?') {
            Some((path, query)) => {
                let parts: Vec<String> = query.split('&').map(hidden_word).collect();
                format!("{path}?{}", parts.join("&"))
            }
            None => tail.to_owned(),
        };
        return format!("{scheme}://{hidden}{tail}");
    }
    if text.contains("password") {
        // A quoted value may have blanks in it: from the first one on nothing is shown.
        let at = text.find("password").unwrap_or(text.len());
        return format!("{}password={SHOWN}", &text[..at]);
    }
    text.to_owned()
}

fn hidden_word(word: &str) -> String {
    match word.split_once('=') {
        Some((key, _)) if is_secret_name(key) => format!("{key}={SHOWN}"),
        _ => word.to_owned(),
    }
}

/// Whether a variable or parameter of this name most likely holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "api_key", "apikey", "access_key", "private"].iter().any(|part| name.contains(part))
        && !["_file", "_command", "_id"].iter().any(|end| name.ends_with(end))
}

/// The three ways in which a secret is given; at most one of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// The secret itself, most often from a variable.
    pub value: Option<&'a Hidden>,
    /// A file that holds it, or `credential:NAME`.
    pub file: Option<&'a Path>,
    /// A command that prints it.
    pub command: Option<&'a str>,
}

impl Given<'_> {
    /// How many ways are used.
    pub fn ways(&self) -> usize {
        usize::from(self.value.is_some()) + usize::from(self.file.is_some()) + usize::from(self.command.is_some())
    }

    /// Reads it; `None` where none is given. `what` is how errors speak of it: `the password of source pg`.
    pub fn read(&self, what: &str) -> Result<Option<Zeroizing<String>>, Fail> {
        let bytes = match (self.value, self.file, self.command) {
            (Some(value), ..) => Zeroizing::new(value.reveal().as_bytes().to_vec()),
            (_, Some(path), _) => from_file(path, what)?,
            (_, _, Some(line)) => from_command(line, what)?,
            _ => return Ok(None),
        };
        let text = bytes.strip_suffix(b"\n").map_or(&bytes[..], |t| t.strip_suffix(b"\r").unwrap_or(t));
        let fail = |why: &str| Fail::config(format!("{what} {why}"));
        let text = std::str::from_utf8(text).map_err(|_| fail("is not UTF-8").hint("write it as text"))?;
        if text.is_empty() {
            return Err(fail("is empty").hint("give it a value, or take the key out of the configuration"));
        }
        remember(text);
        Ok(Some(Zeroizing::new(text.to_owned())))
    }
}

/// Where a path of a secret leads: `credential:NAME` is what systemd's `LoadCredential=` gave this service.
pub fn path_of(path: &Path, what: &str) -> Result<PathBuf, Fail> {
    let Some(name) = path.to_str().and_then(|text| text.strip_prefix(CREDENTIAL)) else { return Ok(path.to_owned()) };
    let base = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|base| !base.is_empty()).ok_or_else(|| {
        Fail::config(format!("{what} is the credential `{name}`, and there is no CREDENTIALS_DIRECTORY"))
            .hint("credentials come from systemd's LoadCredential=: run it as a service, or name a file")
    })?;
    Ok(Path::new(&base).join(name))
}

fn from_file(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Fail> {
    let path = path_of(path, what)?;
    let unreadable = |why: String| {
        Fail::config(format!("cannot read {what} from {}: {why}", path.display()))
            .hint("look whether the file is there and this user may read it")
    };
    let mut file = std::fs::File::open(&path).map_err(|e| unreadable(plain(&e)))?;
    limited(&mut file).map_err(|e| unreadable(plain(&e)))
}

fn limited(from: &mut dyn std::io::Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    from.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(std::io::Error::other("it is longer than 64 KiB"));
    }
    Ok(bytes)
}

fn from_command(line: &str, what: &str) -> Result<Zeroizing<Vec<u8>>, Fail> {
    // Its first word, no more: an argument may be a secret.
    let words = shlex::split(line).filter(|words| !words.is_empty());
    let first = words.as_ref().map_or("", |words| &words[0]);
    let bad = |why: String| {
        Fail::config(format!("the command `{first}` for {what} {why}")).hint("run it by hand: it must print the secret and end with 0")
    };
    let Some(words) = &words else { return Err(bad("cannot be split into words".to_owned())) };
    let run = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = run.map_err(|e| bad(format!("cannot be started: {}", plain(&e))))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(bad(format!("failed: {}", output.status)));
    }
    if text.len() > SECRET_BYTES_MAX {
        return Err(bad("prints more than 64 KiB".to_owned()));
    }
    Ok(text)
}

/// Secrets that this process has read: what others write (a client's errors, a hook's output) is looked through for them.
static KNOWN: Mutex<Vec<Zeroizing<String>>> = Mutex::new(Vec::new());

/// From now on [`redacted`] takes it out.
pub fn remember(secret: &str) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if secret.len() >= REDACTED_BYTES_MIN && !known.iter().any(|old| old.as_str() == secret) {
        known.push(Zeroizing::new(secret.to_owned()));
    }
}

/// A text of somebody else's, without the secrets that are known.
pub fn redacted(text: &str) -> String {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().fold(
        text.to_owned(),
        |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), SHOWN) } else { text }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        let hidden = Hidden::new("hunter22");
        assert_eq!(format!("{hidden:?} {}", serde_json::to_string(&hidden).unwrap()), format!("{SHOWN} \"{SHOWN}\""));
        for text in [
            "postgres://ann:hunter22@db/shop?sslmode=require",
            "postgres://db/shop?user=ann&password=hunter22&sslmode=require",
            "host=db password='hunter22 and' dbname=shop",
        ] {
            let address = Address::from(text.to_owned());
            assert!(!format!("{address:?}").contains("hunter22"), "{address:?}");
            assert!(!serde_json::to_string(&address).unwrap().contains("hunter22"));
        }
        assert_eq!(shown("host=db dbname=shop"), "host=db dbname=shop");
        assert_eq!(shown("s3://bucket/prefix"), "s3://bucket/prefix");
    }

    #[test]
    fn what_is_read_is_taken_out_of_logs() {
        let value = Hidden::new("rotten-secret-99\n");
        let given = Given { value: Some(&value), ..Given::default() };
        assert_eq!(given.read("the password").unwrap().unwrap().as_str(), "rotten-secret-99");
        assert_eq!(redacted("FATAL: rotten-secret-99 is wrong"), format!("FATAL: {SHOWN} is wrong"));
        let command = Given { command: Some("printf 'from a command'"), ..Given::default() };
        assert_eq!(command.read("the password").unwrap().unwrap().as_str(), "from a command");
        assert!(Given { command: Some("false"), ..Given::default() }.read("the password").is_err());
        assert!(Given::default().read("the password").unwrap().is_none());
    }

    #[test]
    fn names_of_secrets_are_known() {
        for name in ["DB_PASSWORD", "PGPASS", "AWS_SECRET_ACCESS_KEY", "SLACK_TOKEN"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["AWS_ACCESS_KEY_ID", "PASSWORD_FILE", "S3_ENDPOINT", "HOME"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
