//! A PostgreSQL server as its clients reach it.
//! It must never put a password into an argument or the environment, let a client ask for one, or a name of a database reach a shell.

use super::conninfo::Conninfo;
use super::secret_file::SecretFile;
use super::{CONNECT_SECONDS, ask, find, need};
use crate::exit::{Code, Fail};
use crate::jobs::config::secret::remember;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Debian's package of the clients.
const PACKAGE: &str = "postgresql-client";
/// Where Debian has the clients of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A server, and the programs that talk to it.
#[derive(Clone)]
pub struct Server {
    info: Conninfo,
    pass: Option<Arc<SecretFile>>,
    programs: Option<PathBuf>,
}

impl Server {
    /// As `dsn` says; `password` counts before one in it.
    pub fn new(dsn: &str, password: Option<Zeroizing<String>>, programs: Option<PathBuf>) -> Result<Self, Fail> {
        let (info, within) = Conninfo::parse(dsn)?;
        if let Some(within) = &within {
            remember(within);
        }
        let pass = password.or(within).map(|password| pass_file(&password)).transpose()?.map(Arc::new);
        Ok(Server { info, pass, programs })
    }

    /// The database that the connection names.
    pub fn database(&self) -> Option<&str> {
        self.info.get("dbname")
    }

    /// For an argument; holds no secret.
    pub fn conninfo(&self, database: &str) -> String {
        self.info.text(database)
    }

    /// The password file, for whoever must keep it.
    pub fn kept(&self) -> Option<Arc<SecretFile>> {
        self.pass.clone()
    }

    /// A client, ready to be given arguments.
    pub fn command(&self, program: &str) -> Result<Command, Fail> {
        let mut command = Command::new(need(self.programs.as_deref(), &[program], PACKAGE)?);
        // What the locale of a scheduler says is not what the database is in, and errors are to be understood.
        command.env_remove("PGCLIENTENCODING").env("LC_MESSAGES", "C");
        if let Some(pass) = &self.pass {
            // The variable would count before the file.
            command.env("PGPASSFILE", pass.path()).env_remove("PGPASSWORD");
        }
        if std::env::var_os("PGCONNECT_TIMEOUT").is_none() && self.info.get("connect_timeout").is_none() {
            command.env("PGCONNECT_TIMEOUT", CONNECT_SECONDS);
        }
        Ok(command)
    }

    /// `psql` without anybody's settings, which ends at the first error and never asks.
    pub fn psql(&self, database: &str) -> Result<Command, Fail> {
        let mut psql = self.command("psql")?;
        psql.args(["-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo(database)]);
        Ok(psql)
    }

    /// The rows of a query with one column.
    pub fn query(&self, database: &str, sql: &str, about: &str) -> Result<Vec<String>, Fail> {
        let mut psql = self.psql(database)?;
        psql.env("PGCLIENTENCODING", "UTF8").args(["-A", "-t", "-0", "-c", sql]);
        let answer = ask(psql, about)?;
        let answer = String::from_utf8(answer).map_err(|_| {
            Fail::new(Code::NoSource, format!("{about}: a name on the server is not UTF-8"))
                .hint("name the databases in the configuration, or rename that one")
        })?;
        Ok(answer.split_terminator('\0').map(|row| row.trim_end_matches('\n').to_owned()).collect())
    }

    /// Whether a client knows an option.
    pub fn knows(&self, program: &str, option: &str) -> Result<bool, Fail> {
        let mut command = self.command(program)?;
        command.arg("--help");
        let help = ask(command, program)?;
        Ok(memchr::memmem::find(&help, option.as_bytes()).is_some())
    }

    /// The major version of a client.
    pub fn major(&self, program: &str) -> Result<Option<u32>, Fail> {
        let mut command = self.command(program)?;
        command.arg("--version");
        Ok(major(&String::from_utf8_lossy(&ask(command, program)?)))
    }

    /// A directory with clients of at least this version, for advice.
    pub fn newer_programs(least: u32) -> Option<PathBuf> {
        let found = std::fs::read_dir(VERSIONS).ok()?.filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let programs = path.join("bin");
            (version >= least && find(Some(&programs), &["pg_dump"]).is_some()).then_some((version, programs))
        });
        found.min().map(|(_, programs)| programs)
    }
}

/// `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn major(text: &str) -> Option<u32> {
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What PGPASSFILE names: the password for any server, because the clients are started for this one.
fn pass_file(password: &str) -> Result<SecretFile, Fail> {
    if password.contains(['\n', '\r', '\0']) {
        return Err(Fail::config("a password of PostgreSQL has a line end in it, which its password files cannot hold")
            .hint("give it another one: ALTER ROLE … PASSWORD '…'"));
    }
    let escaped = Zeroizing::new(password.replace('\\', "\\\\").replace(':', "\\:"));
    let line = Zeroizing::new(format!("*:*:*:*:{}\n", escaped.as_str()));
    SecretFile::new(line.as_bytes(), "the password")
}

/// A name as SQL has it.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The directory of the programs, from where the configuration lies.
pub fn programs(config: &crate::jobs::config::Config, programs: Option<&Path>) -> Option<PathBuf> {
    programs.map(|programs| config.beside(programs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("pg_dump (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn passwords_fit_into_the_file() {
        let file = pass_file(r"a:b\c").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"*:*:*:*:a\\:b\\\\c\n");
        assert!(pass_file("a\nb").is_err());
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\"), r" E'a\\'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
