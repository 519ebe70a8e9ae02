//! `[source.NAME]`: what is read: files, commands, databases, buckets. `kind` says which, and which further keys there are.

use super::repo::S3;
use super::secret::{Address, Given, Hidden};
use super::units::{Share, Size, Span, one_or_many};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::PathBuf;

/// A source.
#[derive(Clone, Debug)]
pub struct Source {
    /// What every source may say.
    pub common: Common,
    /// What it is.
    pub kind: Kind,
}

/// What every source may say.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// It is given up after so long [default: that of the job].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// It is given up when nothing came for so long [default: that of the job].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Span>,
    /// A dump with fewer bytes makes no snapshot [default: that of the job].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<Size>,
    /// A dump that is smaller than the median of the last seven by more than this makes no snapshot [default: that of the job].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_shrink: Option<Share>,
    /// Tags of its snapshots, beside those of the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Names of the keys of [`Common`].
const COMMON: [&str; 5] = ["timeout", "stall", "min_bytes", "max_shrink", "tags"];

/// What a source is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Files and directories.
    Files(Files),
    /// What a shell command prints.
    Command(Command),
    /// PostgreSQL, by `pg_dump`.
    Postgres(Postgres),
    /// MySQL and MariaDB, by their dump programs.
    Mysql(Mysql),
    /// SQLite files, by its backup API.
    Sqlite(Sqlite),
    /// Redis, by a replica's stream.
    Redis(Redis),
    /// Objects of a bucket.
    S3(Bucket),
    /// A named volume of Docker's, by its path.
    DockerVolume(DockerVolume),
}

impl Kind {
    /// The word that the file has for it, which is also the format that a manifest names.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Files(_) => "files",
            Kind::Command(_) => "command",
            Kind::Postgres(_) => "postgres",
            Kind::Mysql(mysql) if mysql.mariadb => "mariadb",
            Kind::Mysql(_) => "mysql",
            Kind::Sqlite(_) => "sqlite",
            Kind::Redis(_) => "redis",
            Kind::S3(_) => "s3",
            Kind::DockerVolume(_) => "docker-volume",
        }
    }
}

/// All words of `kind`.
pub const KINDS: [&str; 9] = ["files", "command", "postgres", "mysql", "mariadb", "sqlite", "redis", "s3", "docker-volume"];

/// What is left out of files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    /// Lists that come with this program: `laravel`, `django`, `rails`, `node`, `wordpress`, `home`.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub preset: Vec<String>,
    /// Patterns, as those of `--exclude`.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub globs: Vec<String>,
    /// Files with patterns.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// Directories in which a file of this name lies.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub if_present: Vec<String>,
    /// Files that are larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<Size>,
    /// Directories that say of themselves that they are caches [default: true].
    #[serde(default = "yes")]
    pub caches: bool,
}

impl Default for Exclude {
    fn default() -> Self {
        let (preset, globs, files, if_present) = Default::default();
        Exclude { preset, globs, files, if_present, larger_than: None, caches: true }
    }
}

/// `kind = "files"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Absolute paths.
    #[serde(deserialize_with = "one_or_many")]
    pub paths: Vec<PathBuf>,
    /// What is left out.
    #[serde(default)]
    pub exclude: Exclude,
    /// Files that usually hold secrets (`.env`, private keys …) are stored too.
    #[serde(default)]
    pub include_secrets: bool,
    /// Do not cross into other file systems.
    #[serde(default)]
    pub one_file_system: bool,
    /// Store the one path under this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_path: Option<PathBuf>,
    /// Do not compare inode numbers: for network file systems.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_inode: bool,
}

/// `kind = "command"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Run by `sh -c`, with `pipefail` where the shell knows it.
    pub command: String,
    /// The stream's name in the snapshot [default: that of the source].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// What it prints ends with this, or is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_marker: Option<String>,
    /// What it prints is a tar archive, whose entries become files.
    #[serde(default)]
    pub tar: bool,
    /// It may print nothing.
    #[serde(default)]
    pub allow_empty: bool,
}

/// `all`, or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Databases {
    /// All that the server has, but for its own.
    #[default]
    All,
    /// These.
    Named(Vec<String>),
}

impl<'de> Deserialize<'de> for Databases {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = one_or_many::<D, String>(from)?;
        match names.as_slice() {
            [] => Err(D::Error::custom("the list of databases is empty: name some, or write databases = \"all\"")),
            [all] if all == "all" => Ok(Databases::All),
            _ => Ok(Databases::Named(names)),
        }
    }
}

impl Serialize for Databases {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Databases::All => to.serialize_str("all"),
            Databases::Named(names) => names.serialize(to),
        }
    }
}

/// `kind = "postgres"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// How the server is reached: `host=db user=backup dbname=shop`, or `postgres://…`. A password in it is given to the client by a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsn: Option<Address>,
    /// Databases [default: that of `dsn`, or all].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<Databases>,
    /// Roles and tablespaces too [default: true].
    #[serde(default = "yes")]
    pub globals: bool,
    /// `plain`, or `custom` (pg_dump's own format, uncompressed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Tables that are left out, as `pg_dump --exclude-table`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_tables: Vec<String>,
    /// Tables of which only the definition is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_table_data: Vec<String>,
    /// Further words for `pg_dump`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Directory of the client programs, where more than one version is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<PathBuf>,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// A file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A command that prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
}

impl Postgres {
    /// The password, as far as it is not in `dsn`.
    pub fn secret(&self) -> Given<'_> {
        Given { value: self.password.as_ref(), file: self.password_file.as_deref(), command: self.password_command.as_deref() }
    }
}

/// `kind = "mysql"` and `kind = "mariadb"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mysql {
    /// `mariadb` was written: its own programs are looked for first.
    #[serde(skip)]
    pub mariadb: bool,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file of options for the clients, with user and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults_file: Option<PathBuf>,
    /// Databases [default: all].
    #[serde(default)]
    pub databases: Databases,
    /// Users and grants too [default: true].
    #[serde(default = "yes")]
    pub globals: bool,
    /// Tables that are left out, as DATABASE.TABLE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_tables: Vec<String>,
    /// Further words for the dump program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Directory of the client programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<PathBuf>,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// A file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A command that prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
}

impl Mysql {
    /// The password.
    pub fn secret(&self) -> Given<'_> {
        Given { value: self.password.as_ref(), file: self.password_file.as_deref(), command: self.password_command.as_deref() }
    }
}

/// `kind = "sqlite"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// Database files; patterns are expanded.
    #[serde(deserialize_with = "one_or_many")]
    pub paths: Vec<PathBuf>,
}

/// `kind = "redis"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The host [default: 127.0.0.1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port [default: 6379].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The user, of servers that have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Talk over TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// A file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A command that prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
}

impl Redis {
    /// The password.
    pub fn secret(&self) -> Given<'_> {
        Given { value: self.password.as_ref(), file: self.password_file.as_deref(), command: self.password_command.as_deref() }
    }
}

/// `kind = "s3"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// `s3://BUCKET/PREFIX`.
    pub url: String,
    /// `https://HOST` of a store that is not AWS'; the same as `s3.endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How it is talked to.
    #[serde(default)]
    pub s3: S3,
    /// Only keys that match one of these patterns.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Not keys that match one of these patterns.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// `kind = "docker-volume"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DockerVolume {
    /// The volume's name.
    pub volume: String,
    /// Where Docker keeps volumes [default: /var/lib/docker/volumes].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// What is left out.
    #[serde(default)]
    pub exclude: Exclude,
    /// Files that usually hold secrets are stored too.
    #[serde(default)]
    pub include_secrets: bool,
}

fn yes() -> bool {
    true
}

impl<'de> Deserialize<'de> for Source {
    /// In two parts, by hand: keys of all kinds first, then those of its own. serde's own way to do this forgets which keys are unknown.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut table = toml::Table::deserialize(from)?;
        let wrong = D::Error::custom;
        let kind = match table.remove("kind") {
            Some(toml::Value::String(kind)) => kind,
            Some(_) => return Err(wrong(format!("kind is a text: one of {}", KINDS.join(", ")))),
            None => return Err(wrong(format!("a source needs a kind: one of {}", KINDS.join(", ")))),
        };
        let common: toml::Table = COMMON.iter().filter_map(|key| table.remove_entry(*key)).collect();
        let common: Common = common.try_into().map_err(told)?;
        let kind = match kind.as_str() {
            "files" => Kind::Files(table.try_into().map_err(told)?),
            "command" => Kind::Command(table.try_into().map_err(told)?),
            "postgres" => Kind::Postgres(table.try_into().map_err(told)?),
            "mysql" => Kind::Mysql(table.try_into().map_err(told)?),
            "mariadb" => Kind::Mysql(Mysql { mariadb: true, ..table.try_into().map_err(told)? }),
            "sqlite" => Kind::Sqlite(table.try_into().map_err(told)?),
            "redis" => Kind::Redis(table.try_into().map_err(told)?),
            "s3" => Kind::S3(table.try_into().map_err(told)?),
            "docker-volume" => Kind::DockerVolume(table.try_into().map_err(told)?),
            other => return Err(wrong(super::advice::unknown_word("kind", other, &KINDS))),
        };
        return Ok(Source { common, kind });

        fn told<E: serde::de::Error>(error: toml::de::Error) -> E {
            let text = error.message();
            // Those of every kind are known too.
            match text.contains("unknown field") {
                true => E::custom(format!("{text}, {}", COMMON.map(|key| format!("`{key}`")).join(", "))),
                false => E::custom(text),
            }
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let table = |value: Result<toml::Table, toml::ser::Error>| value.map_err(S::Error::custom);
        let mut all = toml::Table::new();
        all.insert("kind".to_owned(), self.kind.word().into());
        let own = match &self.kind {
            Kind::Files(files) => table(toml::Table::try_from(files))?,
            Kind::Command(command) => table(toml::Table::try_from(command))?,
            Kind::Postgres(postgres) => table(toml::Table::try_from(postgres))?,
            Kind::Mysql(mysql) => table(toml::Table::try_from(mysql))?,
            Kind::Sqlite(sqlite) => table(toml::Table::try_from(sqlite))?,
            Kind::Redis(redis) => table(toml::Table::try_from(redis))?,
            Kind::S3(bucket) => table(toml::Table::try_from(bucket))?,
            Kind::DockerVolume(volume) => table(toml::Table::try_from(volume))?,
        };
        all.extend(own);
        all.extend(table(toml::Table::try_from(&self.common))?);
        all.serialize(to)
    }
}
