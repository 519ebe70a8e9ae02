//! A restore into PostgreSQL: `psql` in one transaction, fed with the dump, or with what `pg_restore` makes of one in its own format.
//! It must never leave half a restore: whatever fails before the end, nothing is committed, and to have it committed is the last thing that
//! `psql` is told. A database that it made goes away again.

use super::clear::{CLEAR, HOLDS};
use super::feed::{Client, Trouble};
use super::properties::Properties;
use super::table::PostgresTables;
use super::{Dump, Restore, refuse_full};
use crate::exit::{Code, Fail, Run, plain};
use crate::jobs::clients::ask;
use crate::jobs::clients::postgres::{Server, identifier, literal};
use crate::jobs::config::secret::{Given, Hidden};
use crate::jobs::sources::postgres::{CUSTOM, GLOBALS, PLAIN, PROPERTIES};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Instant;

/// Roles of a server are text, and few.
const GLOBALS_BYTES_MAX: u64 = 256 << 20;
/// Where the encoding of a dump stands.
const HEAD_BYTES: usize = 4096;
const MAGIC: &[u8] = b"PGDMP";
const ABOUT: &str = "the server";

/// Restores what was chosen.
pub fn run(restore: &Restore<'_>, url: &Hidden) -> Run {
    let file = Given { file: restore.options.into_password_file.as_deref(), ..Given::default() };
    let server = Server::new(url.reveal(), file.read("the password")?, restore.options.programs.clone())?;
    let is_globals = |dump: &Dump| dump.format == GLOBALS;
    let is_one = |dump: &Dump| dump.format == PLAIN || dump.format == CUSTOM || dump.format.is_empty();
    let chosen = restore.chosen(server.database(), is_one)?;
    // All that may be refused is, before anything is written.
    let mut made = Vec::new();
    for (dump, database) in &chosen {
        made.push(Place { exists: look(restore, &server, database)?, head: restore.head(dump, HEAD_BYTES)? });
    }
    restore.whole(chosen.iter().map(|(dump, _)| dump))?;
    let own = restore.dumps.iter().find(|dump| dump.format == PROPERTIES);
    let mut code = Code::Done;
    if restore.options.globals {
        let dump = restore.dumps.iter().find(|dump| is_globals(dump)).ok_or_else(|| {
            Fail::config("the snapshot has no roles")
                .hint("its source has globals = false: leave out --globals, and make the roles by hand")
        })?;
        globals(restore, &server, dump)?;
    }
    for ((dump, database), place) in chosen.iter().zip(&made) {
        let began = Instant::now();
        let own = if place.exists { None } else { Properties::of(restore, own, &dump.database())? };
        if !place.exists {
            create(restore, &server, database, (&place.head, own.as_ref()))?;
        }
        match load(restore, &server, dump, database, place) {
            Ok(bytes) => {
                restore.said(dump, &format!("database `{database}`"), bytes, began.elapsed());
                if !own.is_none_or(|own| given(restore, &server, database, &own)) {
                    code = Code::Incomplete;
                }
            }
            Err(fail) => {
                if !place.exists {
                    let gone = sql(&server, &maintenance(&server, database), &format!("DROP DATABASE {}", identifier(database)));
                    gone.unwrap_or_else(|_| {
                        restore.out.warn(&format!("the database `{database}`, made for this and empty, is still there"))
                    });
                }
                return Err(fail);
            }
        }
    }
    Ok(code)
}

/// A database that a dump goes to.
struct Place {
    /// It is there already.
    exists: bool,
    /// The beginning of the dump.
    head: Vec<u8>,
}

/// Whether the database is there; refuses one that holds something.
fn look(restore: &Restore<'_>, server: &Server, database: &str) -> Result<bool, Fail> {
    let holds = match server.query(database, HOLDS, ABOUT) {
        Ok(holds) => holds,
        Err(fail) if fail.detail.as_deref().is_some_and(|text| text.contains(&format!("\"{database}\" does not exist"))) => {
            return Ok(false);
        }
        Err(fail) => return Err(unreachable(fail)),
    };
    match holds.first() {
        // A table goes beside what is there; one of its name fails, and all of it is rolled back.
        Some(holds) if !restore.options.force && restore.options.tables.is_empty() => {
            let force = "and what it holds is dropped in the transaction that restores";
            Err(refuse_full(database, holds, force))
        }
        _ => Ok(true),
    }
}

/// A client that could not ask is no failed source here.
fn unreachable(fail: Fail) -> Fail {
    Fail { code: Code::Failed, ..fail }
}

/// A database from which others are made and dropped.
fn maintenance(server: &Server, not: &str) -> String {
    let known = ["postgres", "template1"];
    let fits = |name: &&str| *name != not && server.query(name, "SELECT ''", ABOUT).is_ok();
    known.iter().copied().find(fits).unwrap_or("postgres").to_owned()
}

fn sql(server: &Server, database: &str, text: &str) -> Result<(), Fail> {
    let mut psql = server.psql(database)?;
    psql.args(["-c", text]);
    ask(psql, ABOUT).map(|_| ()).map_err(unreachable)
}

fn create(restore: &Restore<'_>, server: &Server, database: &str, (head, own): (&[u8], Option<&Properties>)) -> Result<(), Fail> {
    let from = maintenance(server, database);
    let make = |words: &str| sql(server, &from, &format!("CREATE DATABASE {} TEMPLATE template0{words}", identifier(database)));
    if let Some(own) = own {
        let version = server.query(&from, "SELECT current_setting('server_version_num')", ABOUT).map_err(unreachable)?;
        let major = version.first().and_then(|number| number.parse::<u32>().ok()).map_or(0, |number| number / 10_000);
        match make(&own.creation(major)) {
            Ok(()) => return Ok(()),
            // Another machine has other locales; what is in the database is worth more than how it sorts.
            Err(fail) => restore.out.warn(&format!(
                "the database `{database}` cannot be made with the locale that it had: {}",
                fail.detail.as_deref().unwrap_or(&fail.message)
            )),
        }
    }
    // A plain dump says in which encoding it is; that of a new database is the same, so that nothing is lost in it.
    let text = String::from_utf8_lossy(head);
    let encoding = text.split_once("SET client_encoding = '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
    let encoding = encoding.map_or(String::new(), |name| format!(" ENCODING {}", literal(name)));
    make(&encoding).map_err(|fail| Fail {
        message: format!("the database `{database}` is not there, and could not be made: {}", fail.message),
        hint: Some("make it by `createdb`, owned by who restores, or restore into another".to_owned()),
        ..fail
    })
}

/// Gives a new database what it had of its own; what it cannot have is said. Whether it got all. After it was filled: settings such as
/// `default_transaction_read_only` are for those who use it.
fn given(restore: &Restore<'_>, server: &Server, database: &str, own: &Properties) -> bool {
    let from = maintenance(server, database);
    let mut all = true;
    for (what, statement) in own.statements(database) {
        if let Err(fail) = sql(server, &from, &statement) {
            let why = fail.detail.unwrap_or(fail.message);
            restore.out.warn(&format!("the database `{database}` did not get {what}: {why}"));
            all = false;
        }
    }
    all
}

/// One dump into one database.
fn load(restore: &Restore<'_>, server: &Server, dump: &Dump, database: &str, place: &Place) -> Result<u64, Fail> {
    if let Some(packed) = crate::jobs::sources::whole::packed(&place.head).filter(|_| !place.head.starts_with(MAGIC)) {
        return Err(Fail::config(format!("{} is compressed ({packed})", dump.shown()))
            .hint("unpack it on its way: `seabed dump SNAPSHOT NAME | COMMAND -dc | psql -X -v ON_ERROR_STOP=1 -1 -d DATABASE`"));
    }
    let mut psql = server.psql(database)?;
    // Not --single-transaction: that commits when the input ends, also where it ends because this process was killed.
    psql.args(["-f", "-"]);
    let mut client = Client::start(psql, Stdio::null())?;
    let clear = if place.exists && restore.options.force && restore.options.tables.is_empty() { CLEAR } else { "" };
    if client.input()?.write_all(format!("BEGIN;\n{clear}").as_bytes()).is_err() {
        return Err(explained(client.why()));
    }
    // A psql that does not know what protects it from the dump's author would stop at it.
    let restricts = knows_restrict(server)?;
    // A second hand on the input: it is closed when both are gone, so that no accident on the way looks like the end.
    let hand = client.input()?.as_fd().try_clone_to_owned().map_err(|e| Fail::new(Code::Failed, plain(&e)))?;
    let mut sink = PostgresTables::new(File::from(hand), &restore.options.tables, !restricts);
    let poured = if place.head.starts_with(MAGIC) {
        through_pg_restore(restore, server, dump, &mut sink)
    } else {
        restore.pour(dump, &mut sink, "restore")
    };
    let bytes = match poured {
        Ok(bytes) => bytes,
        Err(Trouble::Client) => return Err(explained(client.why())),
        // The client is killed when it is dropped, before its input is closed.
        Err(Trouble::Fail(fail)) => return Err(fail),
    };
    if let Some(missing) = sink.finish().map_err(|_| ()).unwrap_or_default() {
        return Err(Fail::config(format!("{} has no table `{missing}`", dump.shown()))
            .hint("write it as it is in the dump, with its schema: public.orders"));
    }
    drop(sink);
    if client.input()?.write_all(b"\nCOMMIT;\n").is_err() {
        return Err(explained(client.why()));
    }
    client.end().map_err(explained)?;
    Ok(bytes)
}

/// What a dump in pg_dump's own format becomes.
fn through_pg_restore(restore: &Restore<'_>, server: &Server, dump: &Dump, sink: &mut PostgresTables<File>) -> Result<u64, Trouble> {
    let mut command = server.command("pg_restore")?;
    // To text, for `psql`: so it is one transaction with what empties the database.
    command.args(["-f", "-"]);
    let mut converter = Client::start(command, Stdio::piped())?;
    let mut output = converter.output()?;
    let (poured, copied) = std::thread::scope(|scope| {
        let copy = scope.spawn(move || copy(&mut output, sink));
        let poured = match converter.input() {
            Ok(input) => restore.pour(dump, input, "restore"),
            Err(fail) => Err(fail.into()),
        };
        let ended = match poured {
            Ok(bytes) => converter.end().map(|()| bytes).map_err(Trouble::Fail),
            Err(Trouble::Client) => Err(Trouble::Fail(converter.why())),
            Err(trouble) => {
                drop(converter);
                Err(trouble)
            }
        };
        (ended, copy.join())
    });
    // Where `psql` gave up, `pg_restore` only heard that nobody reads.
    if !matches!(copied, Ok(Ok(()))) {
        return Err(Trouble::Client);
    }
    poured
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            got => to.write_all(&buffer[..got])?,
        }
    }
}

fn knows_restrict(server: &Server) -> Result<bool, Fail> {
    let mut psql = server.command("psql")?;
    psql.arg("--help=commands");
    let help = ask(psql, "psql").map_err(unreachable)?;
    Ok(memchr::memmem::find(&help, b"\\restrict").is_some())
}

/// With what helps.
fn explained(fail: Fail) -> Fail {
    let text = fail.detail.clone().unwrap_or_default();
    let hint = if text.contains("role \"") && text.contains("does not exist") {
        "nothing was changed; make the role, or restore all of them first: --globals"
    } else if text.contains("max_locks_per_transaction") {
        "nothing was changed; raise max_locks_per_transaction on the server, or restore into a new database"
    } else if text.contains("already exists") {
        "nothing was changed; restore into a database that does not have it"
    } else {
        "nothing was changed: all of it is one transaction"
    };
    Fail { message: format!("the restore was rolled back: {}", fail.message), ..fail }.hint(hint)
}

/// Roles and tablespaces. Those that are there stay, and get the attributes and grants that they had.
fn globals(restore: &Restore<'_>, server: &Server, dump: &Dump) -> Result<(), Fail> {
    let began = Instant::now();
    let text = restore.small(dump, GLOBALS_BYTES_MAX)?;
    let database = maintenance(server, "");
    let rows = "SELECT 'CREATE ROLE ' || quote_ident(rolname) || ';' FROM pg_catalog.pg_roles UNION ALL \
                SELECT 'CREATE TABLESPACE ' || quote_ident(spcname) || ' ' FROM pg_catalog.pg_tablespace";
    let there = server.query(&database, rows, ABOUT).map_err(unreachable)?;
    let restricts = knows_restrict(server)?;
    let is_left_out = |line: &[u8]| {
        let line = line.trim_ascii_end();
        let exists =
            there.iter().any(|start| if start.ends_with(';') { line == start.as_bytes() } else { line.starts_with(start.as_bytes()) });
        exists || (!restricts && (line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ")))
    };
    let kept: Vec<u8> = text.split_inclusive(|b| *b == b'\n').filter(|line| !is_left_out(line)).flatten().copied().collect();
    let mut psql = server.psql(&database)?;
    // Not in one transaction: tablespaces cannot be made in any.
    psql.args(["-f", "-"]);
    let mut client = Client::start(psql, Stdio::null())?;
    if client.input()?.write_all(&kept).is_err() {
        return Err(client.why());
    }
    client.end().map_err(|fail| fail.hint("roles that were made so far are there; nothing else was touched"))?;
    restore.said(dump, "the server's roles", text.len() as u64, began.elapsed());
    Ok(())
}
