//! A MySQL or MariaDB server as its clients reach it.
//! It must never put a password into an argument or the environment: it stands in a file of options that the client reads first.

use super::secret_file::SecretFile;
use super::{CONNECT_SECONDS, ask, need};
use crate::exit::{Code, Fail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where the options of all clients of a machine are.
const GLOBAL: [&str; 2] = ["/etc/my.cnf", "/etc/mysql/my.cnf"];
/// Databases that are the server's own.
const OWN: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];
/// Longest row that a client takes: what the server sends or takes is the server's to say.
const PACKET: &str = "--max-allowed-packet=1G";

/// How a server is reached.
#[derive(Clone, Default)]
pub struct Reach {
    /// MariaDB's own programs are looked for first.
    pub mariadb: bool,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The socket.
    pub socket: Option<PathBuf>,
    /// The user.
    pub user: Option<String>,
    /// The user's own file of options.
    pub defaults_file: Option<PathBuf>,
    /// Directory of the programs.
    pub programs: Option<PathBuf>,
}

/// A server, and the programs that talk to it.
#[derive(Clone)]
pub struct Server {
    reach: Reach,
    file: Option<Arc<SecretFile>>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What a server says of itself.
pub struct About {
    /// It is MariaDB.
    pub is_mariadb: bool,
    /// All databases but its own.
    pub databases: Vec<String>,
}

impl Server {
    /// With a password, where there is one.
    pub fn new(reach: Reach, password: Option<Zeroizing<String>>) -> Result<Self, Fail> {
        let mut warnings = Vec::new();
        if let Some(file) = &reach.defaults_file {
            warnings.extend(looked_at(file)?);
        }
        // One file that is all the client reads: with `--defaults-extra-file` a ~/.my.cnf would come later, and count.
        let file = match (&reach.defaults_file, &password) {
            (None, None) => None,
            (own, password) => {
                let text = options(own.as_deref(), password.as_deref().map(String::as_str))?;
                Some(Arc::new(SecretFile::new(text.as_bytes(), "the password")?))
            }
        };
        Ok(Server { reach, file, warnings })
    }

    /// The file with the password, for whoever must keep it.
    pub fn kept(&self) -> Option<Arc<SecretFile>> {
        self.file.clone()
    }

    fn command(&self, names: [&'static str; 2], package: &str) -> Result<Command, Fail> {
        let names = if self.reach.mariadb { names } else { [names[1], names[0]] };
        let mut command = Command::new(need(self.reach.programs.as_deref(), &names, package)?);
        if let Some(file) = &self.file {
            // It must be the first.
            let mut first = std::ffi::OsString::from("--defaults-file=");
            first.push(file.path());
            command.arg(first);
            // MySQL reads this after all other files.
            command.env("MYSQL_TEST_LOGIN_FILE", "/dev/null").env_remove("MYSQL_PWD");
        }
        let reach = &self.reach;
        if let Some(host) = &reach.host {
            command.arg(format!("--host={host}"));
        }
        if let Some(port) = reach.port {
            // `localhost` means a socket, unless a port was asked for.
            command.args([format!("--port={port}"), "--protocol=tcp".to_owned()]);
        }
        if let Some(socket) = &reach.socket {
            let mut word = std::ffi::OsString::from("--socket=");
            word.push(socket);
            command.arg(word);
        }
        if let Some(user) = &reach.user {
            command.arg(format!("--user={user}"));
        }
        command.args([PACKET, "--default-character-set=utf8mb4"]);
        Ok(command)
    }

    fn package(&self) -> &'static str {
        if self.reach.mariadb { "mariadb-client" } else { "default-mysql-client" }
    }

    /// The program that dumps.
    pub fn dump(&self) -> Result<Command, Fail> {
        self.command(["mariadb-dump", "mysqldump"], self.package())
    }

    /// The client that runs what it is given, and obeys none of its own commands but DELIMITER: a dump may come from whoever wrote the data.
    pub fn client(&self) -> Result<Command, Fail> {
        let mut client = self.command(["mariadb", "mysql"], self.package())?;
        client.args(["--batch", "--binary-mode", &format!("--connect-timeout={CONNECT_SECONDS}")]);
        Ok(client)
    }

    /// Rows of a query, columns in hexadecimal digits: names may hold what separates columns.
    pub fn query(&self, sql: &str, about: &str) -> Result<Vec<Vec<String>>, Fail> {
        let mut client = self.client()?;
        client.args(["--skip-column-names", "-e", sql]);
        let answer = String::from_utf8_lossy(&ask(client, about)?).into_owned();
        let cell = |text: &str| {
            let bytes: Option<Vec<u8>> =
                (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok())).collect();
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
                Fail::new(Code::NoSource, format!("{about}: the answer of the client makes no sense"))
                    .hint("look whether an option file changes what it prints (xml, html, vertical)")
            })
        };
        answer.lines().map(|line| line.split('\t').map(cell).collect()).collect()
    }

    /// What it is, and what it has.
    pub fn about(&self, about: &str) -> Result<About, Fail> {
        let sql = "SELECT HEX(VERSION()) UNION ALL SELECT HEX(CONVERT(schema_name USING utf8mb4)) FROM information_schema.schemata";
        let mut rows = self.query(sql, about)?.into_iter().filter_map(|row| row.into_iter().next());
        let version = rows.next().unwrap_or_default();
        let mut databases: Vec<String> = rows.filter(|name| !OWN.contains(&name.to_ascii_lowercase().as_str())).collect();
        databases.sort_unstable();
        Ok(About { is_mariadb: version.contains("MariaDB"), databases })
    }

    /// Whether the programs are MariaDB's, whatever they are called.
    pub fn is_mariadb_dump(&self) -> Result<bool, Fail> {
        let mut command = Command::new(self.dump()?.get_program());
        command.arg("--version");
        Ok(memchr::memmem::find(&ask(command, "the dump program")?, b"MariaDB").is_some())
    }
}

/// A file that was named: it must be there, for clients pass over one that is not, and should be the user's own.
fn looked_at(file: &Path) -> Result<Option<String>, Fail> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: std::io::Error| {
        Fail::config(format!("cannot read defaults_file {}: {}", file.display(), crate::exit::plain(&error)))
            .hint("look whether it is there and this user may read it")
    };
    let there = std::fs::File::open(file).and_then(|open| open.metadata()).map_err(failed)?;
    let others = there.permissions().mode() & 0o077 != 0;
    Ok(others.then(|| format!("others may read {}, which holds a password: chmod 600 {0}", file.display())))
}

/// The file that the client is given.
fn options(own: Option<&Path>, password: Option<&str>) -> Result<Zeroizing<String>, Fail> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    for global in GLOBAL.iter().map(Path::new).filter(|path| path.exists()).chain(own) {
        text.push_str(&format!("!include {}\n", global.display()));
    }
    if let Some(password) = password {
        if password.contains('\0') {
            return Err(Fail::config("a password has a zero byte in it, which no client takes"));
        }
        text.push_str("[client]\npassword=\"");
        for c in password.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c => text.push(c),
            }
        }
        text.push_str("\"\n");
    }
    Ok(text)
}

/// A name as SQL has it.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL has it: in digits, so that no mode of the server changes what it means.
pub fn literal(text: &str) -> String {
    if text.is_empty() { "''".to_owned() } else { format!("CONVERT(x'{}' USING utf8mb4)", seabed_engine::id::hex(text.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_fit_into_the_file() {
        let text = options(None, Some("a\"b\\c#d 'e")).unwrap();
        assert!(text.ends_with("[client]\npassword=\"a\\\"b\\\\c#d 'e\"\n"), "{}", *text);
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's"), "CONVERT(x'69742773' USING utf8mb4)");
    }
}
