//! What stands behind `--into`: where a restore goes.

use crate::exit::Fail;
use crate::jobs::clients::conninfo::percent_decoded;
use crate::jobs::config::secret::{Hidden, remember};
use crate::jobs::config::source::Kind;
use std::fmt;
use std::path::PathBuf;

/// Where a restore goes.
pub enum Target {
    /// A PostgreSQL server, as libpq has it.
    Postgres(Hidden),
    /// A MySQL or MariaDB server.
    Mysql(Mysql),
    /// A Redis server, which takes none.
    Redis,
    /// A bucket.
    Bucket(String),
    /// A file.
    File(PathBuf),
}

/// `mysql://USER:PASSWORD@HOST:PORT/DATABASE?socket=/…`.
#[derive(Default)]
pub struct Mysql {
    /// `mariadb://` was written.
    pub mariadb: bool,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The socket.
    pub socket: Option<PathBuf>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Hidden>,
    /// The database.
    pub database: Option<String>,
    /// A file of options for the client.
    pub defaults_file: Option<PathBuf>,
}

impl fmt::Debug for Target {
    /// Without what may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Target {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, Fail> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(Fail::config("--into is empty").hint("write postgres://…, mysql://…, s3://… or a path")),
                path => Ok(Target::File(path.into())),
            };
        };
        Ok(match scheme {
            "postgres" | "postgresql" => Target::Postgres(Hidden::new(text)),
            "mysql" | "mariadb" => Target::Mysql(mysql(scheme == "mariadb", rest)?),
            "redis" | "rediss" => Target::Redis,
            // `s3:https://HOST/BUCKET` has its scheme before the other one.
            "s3" | "s3:http" | "s3:https" => Target::Bucket(text.to_owned()),
            "file" => Target::File(rest.into()),
            other => {
                return Err(Fail::config(format!("nothing can be restored into `{other}://`"))
                    .hint("it goes into postgres://, mysql://, mariadb://, s3:// or a path"));
            }
        })
    }

    /// Whether a source of this kind can go there.
    pub fn takes(&self, source: &Kind) -> bool {
        match self {
            Target::Postgres(_) => matches!(source, Kind::Postgres(_)),
            Target::Mysql(_) => matches!(source, Kind::Mysql(_)),
            Target::Redis => matches!(source, Kind::Redis(_)),
            Target::Bucket(_) => matches!(source, Kind::S3(_)),
            Target::File(_) => !matches!(source, Kind::Files(_) | Kind::DockerVolume(_) | Kind::S3(_)),
        }
    }

    /// For people.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Postgres(_) => "PostgreSQL",
            Target::Mysql(mysql) if mysql.mariadb => "MariaDB",
            Target::Mysql(_) => "MySQL",
            Target::Redis => "Redis",
            Target::Bucket(_) => "a bucket",
            Target::File(_) => "a file",
        }
    }
}

fn mysql(mariadb: bool, rest: &str) -> Result<Mysql, Fail> {
    let wrong = || {
        Fail::config("the URL behind --into cannot be read").hint("write mysql://USER@HOST:PORT/DATABASE, or mysql:///DATABASE?socket=/…")
    };
    let decoded = |text: &str| percent_decoded(text).ok_or_else(wrong);
    let some = |text: String| (!text.is_empty()).then_some(text);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, port)) => (v6, port.strip_prefix(':').unwrap_or("")),
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let port = if port.is_empty() { None } else { Some(port.parse().map_err(|_| wrong())?) };
    let password = some(decoded(password)?);
    if let Some(password) = &password {
        remember(password);
    }
    let mut out = Mysql {
        mariadb,
        host: some(decoded(host)?),
        port,
        user: some(decoded(user)?),
        password: password.map(Hidden::new),
        database: some(decoded(database)?),
        ..Mysql::default()
    };
    for word in query.split('&').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("socket", path)) => out.socket = some(decoded(path)?).map(PathBuf::from),
            Some(("defaults_file", path)) => out.defaults_file = some(decoded(path)?).map(PathBuf::from),
            _ => {
                let name = word.split('=').next().unwrap_or_default();
                return Err(Fail::config(format!("`{name}` is not known in a URL of MySQL"))
                    .hint("socket and defaults_file are; all else goes into that file"));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_known() {
        for (text, kind) in [
            ("postgres://h/d", "PostgreSQL"),
            ("mysql://h/d", "MySQL"),
            ("mariadb:///d?socket=/run/s", "MariaDB"),
            ("redis://h", "Redis"),
            ("s3://b/p", "a bucket"),
            ("/tmp/x", "a file"),
        ] {
            assert_eq!(Target::parse(text).unwrap().kind(), kind);
        }
        for wrong in ["", "ftp://x", "mysql://h:port/d", "mysql://h/d?ssl=1", "mysql://h/%zz"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_of_mysql_is_taken_apart() {
        let Ok(Target::Mysql(url)) = Target::parse("mysql://ann%40x:p%3Aw@[::1]:3307/a%2Fb?socket=/run/my%20s") else { panic!() };
        assert_eq!((url.user.as_deref(), url.host.as_deref(), url.port), (Some("ann@x"), Some("::1"), Some(3307)));
        assert_eq!((url.database.as_deref(), url.password.as_ref().map(Hidden::reveal)), (Some("a/b"), Some("p:w")));
        assert_eq!(url.socket.as_deref(), Some(std::path::Path::new("/run/my s")));
        assert!(!format!("{:?}", Target::Mysql(url)).contains("p:w"));
    }
}
