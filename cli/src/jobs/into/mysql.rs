//! A restore into MySQL or MariaDB: their own client, fed with the dump, or the part of it that is of one database or table.
//! These servers commit every statement as it comes. So it must never begin to overwrite before all of the dump was read and verified, and a
//! database that it made itself goes away again when the restore fails.

use super::feed::{Client, Trouble};
use super::script::{Pass, Script};
use super::url::Mysql;
use super::{Dump, Restore, refuse_full};
use crate::exit::{Code, Fail, Run};
use crate::jobs::clients::ask;
use crate::jobs::clients::mysql::{Reach, Server, identifier, literal};
use crate::jobs::config::secret::Given;
use crate::jobs::sources::mysql::{GLOBALS, MARIADB, MYSQL, holds, named_in};
use std::process::Stdio;
use std::time::Instant;

const ABOUT: &str = "the server";

/// A part of a dump and where it goes.
struct Part {
    dump: Dump,
    /// The database in the dump; `None` where the dump is of one and does not say its name.
    from: Option<String>,
    to: String,
}

/// Restores what was chosen.
pub fn run(restore: &Restore<'_>, url: &Mysql) -> Run {
    let server = server(restore, url)?;
    let is_one = |dump: &Dump| [MYSQL, MARIADB, ""].contains(&dump.format.as_str());
    let parts = parts(restore, url.database.as_deref(), is_one)?;
    let there = server.about(ABOUT).map_err(unreachable)?.databases;
    for part in &parts {
        if there.contains(&part.to) {
            refuse(restore, &server, part)?;
        }
    }
    let globals = restore.options.globals.then(|| restore.dumps.iter().find(|dump| dump.format == GLOBALS));
    if let Some(globals) = globals {
        let dump = globals.ok_or_else(|| {
            Fail::config("the snapshot has no users")
                .hint("its source has globals = false: leave out --globals, and make the users by hand")
        })?;
        let began = Instant::now();
        let bytes = feed(restore, &server, dump, Pass::default(), None)?;
        restore.said(dump, "the server's users", bytes, began.elapsed());
    }
    for part in &parts {
        one(restore, &server, part, there.contains(&part.to))?;
    }
    Ok(Code::Done)
}

fn server(restore: &Restore<'_>, url: &Mysql) -> Result<Server, Fail> {
    let file = Given { file: restore.options.into_password_file.as_deref(), ..Given::default() };
    let inline = Given { value: url.password.as_ref(), ..Given::default() };
    let password = file.read("the password")?.map_or_else(|| inline.read("the password"), |text| Ok(Some(text)))?;
    let reach = Reach {
        mariadb: url.mariadb || restore.dumps.iter().any(|dump| dump.format == MARIADB),
        host: url.host.clone(),
        port: url.port,
        socket: url.socket.clone(),
        user: url.user.clone(),
        defaults_file: url.defaults_file.clone(),
        programs: restore.options.programs.clone(),
    };
    let server = Server::new(reach, password)?;
    server.warnings.iter().for_each(|warning| restore.out.warn(warning));
    Ok(server)
}

/// A client that could not ask is no failed source here.
fn unreachable(fail: Fail) -> Fail {
    Fail { code: Code::Failed, ..fail }
}

/// Which part of which dump goes where.
fn parts(restore: &Restore<'_>, target: Option<&str>, is_one: impl Fn(&Dump) -> bool) -> Result<Vec<Part>, Fail> {
    let all: Vec<(Dump, Option<Vec<String>>)> =
        restore.dumps.iter().filter(|dump| is_one(dump)).map(|dump| (dump.clone(), named_in(&dump.argv))).collect();
    // A dump that somebody else's command made says its database by its own name, if at all.
    if all.is_empty() || all.iter().any(|(_, named)| named.is_none()) {
        let chosen = restore.chosen(target, is_one)?;
        return Ok(chosen.into_iter().map(|(dump, to)| Part { dump, from: None, to }).collect());
    }
    let known: Vec<(&Dump, &String)> = all.iter().flat_map(|(dump, named)| named.iter().flatten().map(move |name| (dump, name))).collect();
    let names = || known.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    let part = |(dump, name): &(&Dump, &String), to: &str| Part { dump: (*dump).clone(), from: Some((*name).clone()), to: to.to_owned() };
    let wanted = restore.options.database.as_deref();
    match (wanted, target) {
        (Some(wanted), _) => match known.iter().find(|(_, name)| *name == wanted) {
            Some(found) => Ok(vec![part(found, target.unwrap_or(wanted))]),
            None => Err(Fail::config(format!("the snapshot has no database `{wanted}`")).hint(format!("it has {}", names()))),
        },
        (None, Some(target)) => match (known.iter().find(|(_, name)| *name == target), &known[..]) {
            (Some(found), _) | (None, [found]) => Ok(vec![part(found, target)]),
            _ => Err(Fail::config(format!("the snapshot has several databases, and none is called `{target}`"))
                .hint(format!("say which with --database NAME: {}", names()))),
        },
        (None, None) => Ok(known.iter().map(|found| part(found, found.1)).collect()),
    }
}

/// Nothing is written over what is there, unless told.
fn refuse(restore: &Restore<'_>, server: &Server, part: &Part) -> Result<(), Fail> {
    if restore.options.force {
        return Ok(());
    }
    if restore.options.tables.is_empty() {
        return match holds(server, &part.to, ABOUT).map_err(unreachable)? {
            Some(holds) => Err(refuse_full(&part.to, &holds, "and the database is dropped once all of the dump was read and verified")),
            None => Ok(()),
        };
    }
    let sql =
        format!("SELECT HEX(CONVERT(table_name USING utf8mb4)) FROM information_schema.tables WHERE table_schema = {}", literal(&part.to));
    let there = server.query(&sql, ABOUT).map_err(unreachable)?;
    let patterns: Vec<glob::Pattern> = restore.options.tables.iter().filter_map(|text| glob::Pattern::new(text).ok()).collect();
    let found = there.iter().flatten().find(|name| patterns.iter().any(|pattern| pattern.matches(name)));
    found.map_or(Ok(()), |name| {
        Err(Fail::new(Code::Refused, format!("the database `{}` has a table `{name}` already", part.to))
            .hint("restore into another database, or --force, and the table is replaced"))
    })
}

fn one(restore: &Restore<'_>, server: &Server, part: &Part, exists: bool) -> Result<(), Fail> {
    let began = Instant::now();
    let Part { dump, from, to } = part;
    let tables = &restore.options.tables;
    let whole = tables.is_empty();
    if exists {
        // What cannot be taken back must not begin before it is known to come to its end.
        restore.pour(dump, &mut std::io::sink(), "verify").map_err(|trouble| trouble.or(|| Fail::new(Code::Failed, "reading failed")))?;
    }
    let fresh = !exists || (restore.options.force && whole);
    if exists && fresh {
        run_sql(server, &format!("DROP DATABASE {}", identifier(to)))?;
    }
    if fresh {
        run_sql(server, &format!("CREATE DATABASE {}", identifier(to)))?;
    }
    let pass = Pass { database: from.clone(), tables: tables.clone(), to: to.clone() };
    match feed(restore, server, dump, pass, Some(to)) {
        Ok(bytes) => {
            restore.said(dump, &format!("database `{to}`"), bytes, began.elapsed());
            Ok(())
        }
        Err(fail) if fresh => {
            let gone = run_sql(server, &format!("DROP DATABASE {}", identifier(to)));
            let hint = match gone {
                Ok(()) => "the database that it went to is gone again: half of one is none".to_owned(),
                Err(_) => format!("a part of it is in the database `{to}`: drop it"),
            };
            Err(fail.hint(hint))
        }
        Err(fail) => Err(fail.hint(format!("a part of it is in the database `{to}`"))),
    }
}

fn run_sql(server: &Server, sql: &str) -> Result<(), Fail> {
    let mut client = server.client()?;
    client.args(["-e", sql]);
    ask(client, ABOUT).map(|_| ()).map_err(unreachable)
}

fn feed(restore: &Restore<'_>, server: &Server, dump: &Dump, pass: Pass, to: Option<&str>) -> Result<u64, Fail> {
    let head = restore.head(dump, 64)?;
    if let Some(packed) = crate::jobs::sources::whole::packed(&head) {
        return Err(Fail::config(format!("{} is compressed ({packed})", dump.shown()))
            .hint("unpack it on its way: `seabed dump SNAPSHOT NAME | COMMAND -dc | mariadb DATABASE`"));
    }
    let mut command = server.client()?;
    if let Some(to) = to {
        command.arg(format!("--database={to}"));
    }
    let mut client = Client::start(command, Stdio::null())?;
    let (bytes, missing) = {
        let mut script = Script::new(client.input()?, pass);
        let poured = restore.pour(dump, &mut script, "restore");
        match poured {
            Ok(bytes) => (Some(bytes), script.finish().map_err(|_| Trouble::Client)),
            Err(trouble) => (None, Err(trouble)),
        }
    };
    match (bytes, missing) {
        (Some(bytes), Ok(None)) => client.end().map(|()| bytes),
        (_, Ok(missing)) => {
            let what = missing.unwrap_or_default();
            Err(Fail::config(format!("{} has no {what}", dump.shown())))
        }
        (_, Err(Trouble::Client)) => Err(client.why()),
        // The client is killed before its input is closed.
        (_, Err(Trouble::Fail(fail))) => Err(fail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_script_reaches_a_client_through_its_input() {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", "cat > /dev/null"]);
        let mut client = Client::start(command, Stdio::null()).unwrap();
        let mut script = Script::new(client.input().unwrap(), Pass::default());
        script.write_all(b"SELECT 1;\n").unwrap();
        assert_eq!(script.finish().unwrap(), None);
        client.end().unwrap();
    }
}
