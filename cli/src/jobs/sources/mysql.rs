//! `kind = "mysql"` and `kind = "mariadb"`: one `mariadb-dump` or `mysqldump` of all databases, and the users with their grants.
//! It must never let two databases of one dump be of different moments: applications write into both. So there is one stream for all of them,
//! from one transaction, and a restore of one database takes its part out of it. What no transaction covers is warned of.

use super::postgres::source;
use super::whole::Demands;
use super::{Asked, Prepared};
use crate::commands::sources::stream_name;
use crate::exit::{Code, Fail};
use crate::jobs::clients::mysql::{About, Reach, Server, literal};
use crate::jobs::clients::names::encoded;
use crate::jobs::config::source::{Databases, Mysql};
use seabed_engine::{ReaderStream, Stream, StreamSource};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What the manifest says of a dump of MySQL's.
pub const MYSQL: &str = "mysql";
/// What it says of one of MariaDB's.
pub const MARIADB: &str = "mariadb";
/// What it says of users and grants.
pub const GLOBALS: &str = "mysql-globals";
/// What a dump ends with; with a date, where the configuration's own words want one.
const END: &str = "-- Dump completed";
/// Engines whose tables one transaction shows as of one moment.
const TRANSACTIONAL: [&str; 4] = ["InnoDB", "ROCKSDB", "TokuDB", "SEQUENCE"];
/// How many tables a warning names.
const NAMED_MAX: usize = 5;

/// As the engine takes it.
pub fn mysql(asked: &Asked<'_>, config: &Mysql) -> Result<Prepared, Fail> {
    let about = format!("source {}", asked.name);
    let password = config.secret().read(&format!("the password of source {}", asked.name))?;
    let reach = Reach {
        mariadb: config.mariadb,
        host: config.host.clone(),
        port: config.port,
        socket: config.socket.clone(),
        user: config.user.clone(),
        defaults_file: config.defaults_file.as_deref().map(|file| asked.config.beside(file)),
        programs: config.programs.as_deref().map(|programs| asked.config.beside(programs)),
    };
    let server = Server::new(reach, password)?;
    let is = server.about(&about)?;
    let databases = databases(config, &is, &about)?;
    let mut prepared = Prepared { warnings: server.warnings.clone(), ..Prepared::default() };
    prepared.warnings.extend(not_transactional(&server, &databases, config, &about)?);
    let format = if is.is_mariadb { MARIADB } else { MYSQL };
    let ours = server.is_mariadb_dump()?;
    let count = usize::from(config.globals) + 1;
    let mut demands = |name: String, format: &'static str| -> Result<Demands, Fail> {
        let demands = Demands {
            name: stream_name(name.as_bytes())?,
            format,
            markers: vec![END.as_bytes().to_vec()],
            after: &[],
            bounds: asked.bounds.clone(),
            last: prepared.packed.len() + 1 == count,
            packed: Arc::default(),
        };
        prepared.packed.push(demands.packed.clone());
        Ok(demands)
    };
    let mut streams = Vec::new();
    if config.globals {
        let demands = demands(format!("{}/globals.sql", asked.name), GLOBALS)?;
        streams.push(if is.is_mariadb && ours {
            let mut globals = server.dump()?;
            // So that users who are there when this is restored are no error.
            globals.args(["--skip-dump-date", "--insert-ignore", "--system=users"]);
            source(globals, demands, server.kept())
        } else {
            accounts(&server, demands, &about)?
        });
    }
    let mut dump = server.dump()?;
    dump.args([
        "--single-transaction",
        "--quick",
        "--routines",
        "--events",
        "--triggers",
        "--hex-blob",
        "--skip-dump-date",
        "--no-tablespaces",
    ]);
    if !ours {
        // Identifiers of transactions would have to be let in where it is restored.
        dump.arg("--set-gtid-purged=OFF");
        if is.is_mariadb {
            dump.arg("--column-statistics=0");
        }
    }
    dump.args(config.exclude_tables.iter().map(|table| format!("--ignore-table={table}")));
    dump.args(&config.options);
    // Last, so that a restore finds the names in what the manifest has of the command.
    named(&mut dump, &databases);
    let name = match &databases[..] {
        [one] => encoded(one),
        _ => "databases".to_owned(),
    };
    streams.push(source(dump, demands(format!("{}/{name}.sql", asked.name), format)?, server.kept()));
    prepared.streams = streams;
    Ok(prepared)
}

/// What stands before the names of databases.
const DATABASES: [&[u8]; 2] = [b"--databases", b"--"];

fn named(dump: &mut Command, databases: &[String]) {
    dump.args(["--databases", "--"]).args(databases);
}

/// The databases of a dump, by the command that made it; `None` where that says nothing.
pub fn named_in(argv: &[Vec<u8>]) -> Option<Vec<String>> {
    let at = argv.windows(2).rposition(|pair| pair[0] == DATABASES[0] && pair[1] == DATABASES[1])?;
    argv[at + 2..].iter().map(|name| String::from_utf8(name.clone()).ok()).collect()
}

fn databases(config: &Mysql, is: &About, about: &str) -> Result<Vec<String>, Fail> {
    let databases = match &config.databases {
        Databases::All => is.databases.clone(),
        Databases::Named(names) => names.clone(),
    };
    // `mysql` itself may be asked for by name.
    let own = ["mysql", "sys"];
    if let Some(gone) = databases.iter().find(|name| !is.databases.contains(name) && !own.contains(&name.as_str())) {
        let fail = Fail::new(Code::NoSource, format!("{about}: there is no database `{gone}` on the server, or this user may not see it"));
        return Err(fail.hint(format!("it sees {}", is.databases.join(", "))));
    }
    if databases.is_empty() {
        return Err(Fail::new(Code::NoSource, format!("{about}: this user sees no database on the server"))
            .hint("grant it SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES and PROCESS"));
    }
    Ok(databases)
}

/// Tables that the transaction does not cover.
fn not_transactional(server: &Server, databases: &[String], config: &Mysql, about: &str) -> Result<Option<String>, Fail> {
    let known = TRANSACTIONAL.map(|engine| format!("'{engine}'")).join(", ");
    let sql = format!(
        "SELECT HEX(CONVERT(table_schema USING utf8mb4)), HEX(CONVERT(table_name USING utf8mb4)), HEX(engine) FROM information_schema.tables \
         WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND engine NOT IN ({known}) ORDER BY 1, 2"
    );
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in server.query(&sql, about)? {
        if let [schema, table, engine] = &row[..]
            && databases.contains(schema)
            && !config.exclude_tables.contains(&format!("{schema}.{table}"))
        {
            found.entry(engine.clone()).or_default().push(format!("{schema}.{table}"));
        }
    }
    let parts: Vec<String> = found
        .iter()
        .map(|(engine, tables)| {
            let named = tables.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = if tables.len() > NAMED_MAX { format!(" and {} more", tables.len() - NAMED_MAX) } else { String::new() };
            format!("{engine}: {named}{more}")
        })
        .collect();
    Ok((!parts.is_empty()).then(|| {
        format!(
            "tables without transactions may be of another moment than the rest of the dump ({}); ALTER TABLE … ENGINE=InnoDB mends that",
            parts.join("; ")
        )
    }))
}

/// Users and grants of MySQL, whose dump program has no words for them.
fn accounts(server: &Server, demands: Demands, about: &str) -> Result<StreamSource, Fail> {
    let rows =
        server.query("SELECT HEX(CONVERT(user USING utf8mb4)), HEX(CONVERT(host USING utf8mb4)) FROM mysql.user ORDER BY 1, 2", about)?;
    let own = ["mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys"];
    let accounts: Vec<(String, String)> = rows
        .into_iter()
        .filter_map(|row| {
            let mut cells = row.into_iter();
            Some((cells.next()?, cells.next()?))
        })
        .filter(|(user, _)| !own.contains(&user.as_str()))
        .collect();
    // MySQL hides the bytes of a hash that are no text, unless told.
    let mut sql = "SET @hex = IF(VERSION() LIKE '%MariaDB%', 'DO 0', 'SET SESSION print_identified_with_as_hex = ON'); \
                   PREPARE hex FROM @hex; EXECUTE hex; "
        .to_owned();
    for (user, host) in &accounts {
        let account = format!("{}@{}", quoted(user), quoted(host));
        sql.push_str(&format!("SHOW CREATE USER {account}; SHOW GRANTS FOR {account}; "));
    }
    let mut client = server.client()?;
    // As they are: a backslash of a hash is one.
    client.args(["--skip-column-names", "--raw", "-e", &sql]);
    let answer = crate::jobs::clients::ask(client, about)?;
    let mut text = b"-- Users and grants\n".to_vec();
    for line in answer.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        // Users who are there when this is restored are no error.
        match line.strip_prefix(b"CREATE USER ") {
            Some(rest) => text.extend([b"CREATE USER IF NOT EXISTS ", rest, b";\n"].concat()),
            None => text.extend([line, b";\n"].concat()),
        }
    }
    text.extend(format!("{END}\n").into_bytes());
    let name = demands.name.clone();
    let open = move || Ok(Box::new(super::whole::Whole::new(ReaderStream(Cursor::new(text)), demands)) as Box<dyn Stream>);
    Ok(StreamSource { name, argv: Vec::new(), open: Mutex::new(Some(Box::new(open))), allow_empty: false })
}

/// A part of an account's name. Statements that show accounts take no expression.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Whether a database holds anything: a word for it, or nothing.
pub fn holds(server: &Server, database: &str, about: &str) -> Result<Option<String>, Fail> {
    let name = literal(database);
    let sql = format!(
        "SELECT HEX(CONVERT(CONCAT('table ', table_name) USING utf8mb4)) FROM information_schema.tables WHERE table_schema = {name} \
         UNION ALL SELECT HEX(CONVERT(CONCAT('routine ', routine_name) USING utf8mb4)) FROM information_schema.routines WHERE routine_schema = {name} \
         UNION ALL SELECT HEX(CONVERT(CONCAT('event ', event_name) USING utf8mb4)) FROM information_schema.events WHERE event_schema = {name}"
    );
    let rows = server.query(&sql, about)?;
    let first = rows.first().and_then(|row| row.first()).cloned();
    Ok(first.map(|first| if rows.len() > 1 { format!("{first} and {} more", rows.len() - 1) } else { first }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_finds_the_databases_in_the_command() {
        let mut dump = Command::new("mariadb-dump");
        dump.args(["--databases=x", "--quick"]);
        named(&mut dump, &["shop".to_owned(), "--".to_owned(), "-x".to_owned()]);
        let argv = crate::jobs::clients::words(&dump);
        assert_eq!(named_in(&argv).unwrap(), ["shop", "--", "-x"]);
        assert_eq!(named_in(&argv[..3]), None);
    }
}
