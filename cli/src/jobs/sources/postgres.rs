//! `kind = "postgres"`: `pg_dump` of each database, `pg_dumpall --globals-only`, and what databases have of their own beside what is in them.
//! It must never give a dump another name than its database's, nor let one pass for whole that the server cut short.
//! Each database is one snapshot of the server's, as PostgreSQL has it: two databases are two moments.

use super::whole::{Demands, Whole};
use super::{Asked, Prepared};
use crate::commands::sources::stream_name;
use crate::exit::{Code, Fail};
use crate::jobs::clients::names::encoded;
use crate::jobs::clients::postgres::{Server, programs};
use crate::jobs::clients::{shown, words};
use crate::jobs::config::source::{Databases, Postgres};
use seabed_engine::{CommandStream, Stream, StreamSource};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What the manifest says of a plain dump.
pub const PLAIN: &str = "postgres";
/// What it says of one in `pg_dump`'s own format.
pub const CUSTOM: &str = "postgres-custom";
/// What it says of roles and tablespaces.
pub const GLOBALS: &str = "postgres-globals";
/// What it says of what databases have of their own.
pub const PROPERTIES: &str = "postgres-databases";
/// What that ends with.
const PROPERTIES_END: &str = "{\"complete\": true}";
/// What a plain dump ends with.
const END: &str = "-- PostgreSQL database dump complete";
/// What `pg_dumpall` ends with.
const CLUSTER_END: &str = "-- PostgreSQL database cluster dump complete";
/// What may stand behind the end.
const AFTER: &[&[u8]] = &[b"\\unrestrict "];
/// Context of keys for `\restrict`.
const RESTRICT: &str = "seabed 2026 restrict key of pg_dump";

/// The server's version, and its databases: `1` those that are dumped, `2` those that are not.
const LIST: &str = "SELECT kind || name FROM (\
    SELECT 0 AS kind, current_setting('server_version_num') AS name UNION ALL \
    SELECT CASE WHEN datistemplate OR NOT datallowconn OR datconnlimit = -2 THEN 2 ELSE 1 END, datname::text FROM pg_catalog.pg_database\
    ) AS list ORDER BY kind, name COLLATE \"C\"";

/// A line of JSON for each database: what `pg_dump` writes only into a dump that makes the database itself, under the name it had. What changes
/// by itself is left out, so that what is equal stays equal.
const DATABASES: &str = "SELECT line FROM (SELECT datname, (\
    to_jsonb(d) - 'oid' - 'datdba' - 'datfrozenxid' - 'datminmxid' - 'dattablespace' - 'encoding' - 'datacl' || jsonb_build_object(\
    'owner', pg_catalog.pg_get_userbyid(d.datdba), 'encoding', pg_catalog.pg_encoding_to_char(d.encoding), \
    'comment', pg_catalog.shobj_description(d.oid, 'pg_database'), \
    'tablespace', (SELECT spcname FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace), \
    'grants', (SELECT jsonb_agg(jsonb_build_array(CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END, a.privilege_type, \
      a.is_grantable) ORDER BY a.grantee <> 0, pg_catalog.pg_get_userbyid(a.grantee), a.privilege_type) FROM pg_catalog.aclexplode(d.datacl) a), \
    'settings', (SELECT jsonb_agg(jsonb_build_array(r.rolname, s.setconfig) ORDER BY r.rolname NULLS FIRST) FROM pg_catalog.pg_db_role_setting s \
      LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = d.oid)\
    ))::text AS line FROM pg_catalog.pg_database d UNION ALL SELECT NULL, '{\"complete\": true}') AS list ORDER BY datname COLLATE \"C\" NULLS LAST";

/// The first version that understands it.
const DATABASES_SINCE: u32 = 10;

/// As the engine takes it.
pub fn postgres(asked: &Asked<'_>, config: &Postgres) -> Result<Prepared, Fail> {
    let about = format!("source {}", asked.name);
    let password = config.secret().read(&format!("the password of source {}", asked.name))?;
    let dsn = config.dsn.as_ref().map_or("", |dsn| dsn.reveal());
    let server = Server::new(dsn, password.clone(), programs(asked.config, config.programs.as_deref()))?;
    let (databases, version) = databases(&server, config, &about)?;
    let is_custom = config.format.as_deref() == Some("custom");
    let key = restrict_key(asked, password.as_deref().map_or("", String::as_str));
    let restrict = format!("--restrict-key={key}");
    let mut streams: Vec<(String, &'static str, &'static str, Command)> = Vec::new();
    if config.globals {
        let mut globals = server.command("pg_dumpall")?;
        globals.args(["--globals-only", "--no-password", "-d", &server.conninfo(databases.first().map_or("postgres", String::as_str))]);
        if server.knows("pg_dumpall", "--restrict-key")? {
            globals.arg(&restrict);
        }
        streams.push((format!("{}/globals.sql", asked.name), GLOBALS, CLUSTER_END, globals));
        if version >= DATABASES_SINCE {
            let mut properties = server.psql(databases.first().map_or("postgres", String::as_str))?;
            properties.env("PGCLIENTENCODING", "UTF8").args(["-A", "-t", "-c", DATABASES]);
            streams.push((format!("{}/databases.json", asked.name), PROPERTIES, PROPERTIES_END, properties));
        }
    }
    let knows = !is_custom && server.knows("pg_dump", "--restrict-key")?;
    for database in &databases {
        let mut dump = server.command("pg_dump")?;
        dump.args(["--no-password", "-d", &server.conninfo(database)]);
        if is_custom {
            // Uncompressed: what zlib made has nothing in common with yesterday's.
            dump.args(["--format=custom", "--compress=0"]);
        } else if knows {
            dump.arg(&restrict);
        }
        dump.args(config.exclude_tables.iter().map(|table| format!("--exclude-table={table}")));
        dump.args(config.exclude_table_data.iter().map(|table| format!("--exclude-table-data={table}")));
        dump.args(&config.options);
        let (suffix, format, end) = if is_custom { ("dump", CUSTOM, "") } else { ("sql", PLAIN, END) };
        streams.push((format!("{}/{}.{suffix}", asked.name, encoded(database)), format, end, dump));
    }
    let mut prepared = Prepared::default();
    let count = streams.len();
    for (at, (name, format, end, command)) in streams.into_iter().enumerate() {
        let end = (!end.is_empty()).then_some(end);
        let demands = Demands {
            name: stream_name(name.as_bytes())?,
            format,
            markers: end.iter().map(|end| end.as_bytes().to_vec()).collect(),
            after: AFTER,
            bounds: asked.bounds.clone(),
            last: at + 1 == count,
            packed: Arc::default(),
        };
        prepared.packed.push(demands.packed.clone());
        prepared.streams.push(source(command, demands, server.kept()));
    }
    Ok(prepared)
}

/// A client whose output is a stream. `kept` stays until it was read.
pub fn source<K: Send + 'static>(command: Command, demands: Demands, kept: K) -> StreamSource {
    let (name, argv, said) = (demands.name.clone(), words(&command), shown(&command));
    let open = move || {
        let started = CommandStream::spawn(command, &said)?;
        Ok(Box::new(Kept { inner: Whole::new(started, demands), _kept: kept }) as Box<dyn Stream>)
    };
    StreamSource { name, argv, open: Mutex::new(Some(Box::new(open))), allow_empty: false }
}

/// A stream with what must be there until its end.
struct Kept<S, K> {
    inner: S,
    _kept: K,
}

impl<S: std::io::Read, K> std::io::Read for Kept<S, K> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<S: Stream, K: Send> Stream for Kept<S, K> {
    fn ready(&self) -> std::io::Result<bool> {
        self.inner.ready()
    }

    fn format(&self) -> &str {
        self.inner.format()
    }

    fn finish(self: Box<Self>) -> Result<seabed_engine::source::stream::StreamEnd, seabed_engine::StreamFailure> {
        Box::new(self.inner).finish()
    }
}

/// The databases that are dumped, each there and by clients that know the server, and the server's major version.
fn databases(server: &Server, config: &Postgres, about: &str) -> Result<(Vec<String>, u32), Fail> {
    let named = match (&config.databases, server.database()) {
        (Some(Databases::Named(names)), _) => Some(names.clone()),
        (Some(Databases::All), _) | (None, None) => None,
        (None, Some(name)) => Some(vec![name.to_owned()]),
    };
    let first = match &named {
        // The user may be allowed nothing else.
        Some(names) => names.first().map_or("postgres", String::as_str),
        None => server.database().unwrap_or("postgres"),
    };
    let rows = server.query(first, LIST, about).or_else(|fail| {
        let is_gone = fail.detail.as_deref().is_some_and(|text| text.contains("\"postgres\" does not exist"));
        if named.is_none() && is_gone { server.query("template1", LIST, about) } else { Err(fail) }
    })?;
    let of = |kind: &str| rows.iter().filter_map(|row| row.strip_prefix(kind).map(str::to_owned)).collect::<Vec<String>>();
    let version = of("0").first().and_then(|number| number.parse::<u32>().ok()).map(|number| number / 10_000);
    let own = server.major("pg_dump")?;
    if let (Some(theirs), Some(own)) = (version, own)
        && own < theirs
    {
        let fail = Fail::new(
            Code::NoSource,
            format!("{about}: the server is PostgreSQL {theirs}, and this pg_dump of version {own} cannot dump it"),
        );
        return Err(match Server::newer_programs(theirs) {
            Some(programs) => fail.hint(format!("newer clients are on this machine: programs = \"{}\"", programs.display())),
            None => {
                fail.hint(format!("install postgresql-client-{theirs}, and name its directory where there are several: programs = \"/…\""))
            }
        });
    }
    let (whole, closed) = (of("1"), of("2"));
    let Some(named) = named else {
        if whole.is_empty() {
            return Err(Fail::new(Code::NoSource, format!("{about}: the server has no database that could be dumped")));
        }
        return Ok((whole, version.unwrap_or(0)));
    };
    match named.iter().find(|name| !whole.contains(name) && !closed.contains(name)) {
        None => Ok((named, version.unwrap_or(0))),
        Some(gone) => {
            let fail = Fail::new(Code::NoSource, format!("{about}: there is no database `{gone}` on the server"));
            Err(fail.hint(format!("it has {}", whole.join(", "))))
        }
    }
}

/// The key of `\restrict` lines: random ones would make every dump differ from the last. Whoever writes into the database must not guess it,
/// so the password is in it where there is one.
fn restrict_key(asked: &Asked<'_>, password: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(RESTRICT);
    for part in [asked.job, asked.name, password] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}
