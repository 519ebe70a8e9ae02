//! What a PostgreSQL database has of its own beside what is in it: locale, owner, limits, settings, privileges. A dump that can go into any
//! database says nothing of them; the source stores them as lines of JSON, and a database that a restore makes gets them.
//! It must never put a text from there into a statement but as an identifier or a literal.

use super::{Dump, Restore};
use crate::exit::Fail;
use crate::jobs::clients::postgres::{identifier, literal};
use serde::Deserialize;

/// More than any server's databases come to.
const BYTES_MAX: u64 = 64 << 20;
/// Settings that are lists of names: each name is quoted, not the whole.
const LISTS: [&str; 6] = [
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
];

/// A line: the columns of `pg_database`, which differ between versions, and what the source adds.
#[derive(Debug, Default, Deserialize)]
pub struct Properties {
    datname: String,
    encoding: Option<String>,
    datcollate: Option<String>,
    datctype: Option<String>,
    /// From version 15 on: `c`, `i`, and from 17 on `b`.
    datlocprovider: Option<String>,
    /// Versions 15 and 16.
    daticulocale: Option<String>,
    /// From version 17 on.
    datlocale: Option<String>,
    daticurules: Option<String>,
    datconnlimit: Option<i64>,
    owner: Option<String>,
    comment: Option<String>,
    /// Grantee (none: everybody), privilege, whether it may be passed on. None where nobody changed them.
    grants: Option<Vec<(Option<String>, String, bool)>>,
    /// Role (none: all), and `name=value`.
    settings: Option<Vec<(Option<String>, Vec<String>)>>,
}

impl Properties {
    /// Those of a database, if the snapshot has them: from before they were stored, or without `globals`, it has none.
    pub fn of(restore: &Restore<'_>, stream: Option<&Dump>, database: &str) -> Result<Option<Self>, Fail> {
        let Some(stream) = stream else { return Ok(None) };
        let text = restore.small(stream, BYTES_MAX)?;
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        Ok(lines.filter_map(|line| serde_json::from_slice::<Properties>(line).ok()).find(|own| own.datname == database))
    }

    /// The words of CREATE DATABASE.
    pub fn creation(&self, server_major: u32) -> String {
        let mut words = String::new();
        let mut add = |word: &str, value: &Option<String>| {
            if let Some(value) = value {
                words.push_str(&format!(" {word} {}", literal(value)));
            }
        };
        add("ENCODING", &self.encoding);
        add("LC_COLLATE", &self.datcollate);
        add("LC_CTYPE", &self.datctype);
        let locale = if self.datlocale.is_some() { &self.datlocale } else { &self.daticulocale };
        match self.datlocprovider.as_deref() {
            Some("i") if server_major >= 15 => {
                add("ICU_LOCALE", locale);
                if server_major >= 16 {
                    add("ICU_RULES", &self.daticurules);
                }
                words.push_str(" LOCALE_PROVIDER icu");
            }
            Some("b") if server_major >= 17 => {
                add("BUILTIN_LOCALE", locale);
                words.push_str(" LOCALE_PROVIDER builtin");
            }
            _ => {}
        }
        words
    }

    /// What the database gets when it holds what it should: one statement each, with what it is for people. Owner last: who restores may
    /// do nothing more to it then.
    pub fn statements(&self, database: &str) -> Vec<(String, String)> {
        let name = identifier(database);
        let mut all = Vec::new();
        if let Some(comment) = &self.comment {
            all.push(("its comment".to_owned(), format!("COMMENT ON DATABASE {name} IS {}", literal(comment))));
        }
        if let Some(limit) = self.datconnlimit.filter(|limit| *limit >= 0) {
            all.push(("its connection limit".to_owned(), format!("ALTER DATABASE {name} CONNECTION LIMIT {limit}")));
        }
        for (role, settings) in self.settings.iter().flatten() {
            let of = match role {
                Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", identifier(role)),
                None => format!("ALTER DATABASE {name}"),
            };
            for (setting, value) in settings.iter().filter_map(|text| text.split_once('=')) {
                // A name of an extension's setting has a dot.
                let quoted = setting.split('.').map(identifier).collect::<Vec<_>>().join(".");
                all.push((format!("its setting {setting}"), format!("{of} SET {quoted} TO {}", setting_value(setting, value))));
            }
        }
        if let Some(grants) = &self.grants {
            all.push(("its privileges".to_owned(), format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")));
            for (grantee, privilege, passed_on) in grants {
                let privilege = match privilege.as_str() {
                    word @ ("CREATE" | "CONNECT" | "TEMPORARY") => word,
                    _ => continue,
                };
                let to = grantee.as_deref().map_or("PUBLIC".to_owned(), identifier);
                let option = if *passed_on { " WITH GRANT OPTION" } else { "" };
                all.push((
                    format!("{privilege} for {}", grantee.as_deref().unwrap_or("all")),
                    format!("GRANT {privilege} ON DATABASE {name} TO {to}{option}"),
                ));
            }
        }
        if let Some(owner) = &self.owner {
            all.push((format!("its owner {owner}"), format!("ALTER DATABASE {name} OWNER TO {}", identifier(owner))));
        }
        all
    }
}

/// A value as SQL has it.
fn setting_value(setting: &str, value: &str) -> String {
    if !LISTS.contains(&setting.to_ascii_lowercase().as_str()) {
        return literal(value);
    }
    let (mut names, mut rest) = (Vec::new(), value.trim());
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix('"') {
            Some(inner) => quoted(inner),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim_end().to_owned(), &rest[end..])
            }
        };
        names.push(literal(&name));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    if names.is_empty() { literal("") } else { names.join(", ") }
}

/// A name up to its second `"`, where two of them stand for one, and what is behind it.
fn quoted(text: &str) -> (String, &str) {
    let (mut name, mut rest) = (String::new(), text);
    while let Some((part, after)) = rest.split_once('"') {
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (name, after),
        }
    }
    (name + rest, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_into_a_statement_unquoted() {
        let line = r#"{"datname": "x", "encoding": "UTF8", "datcollate": "C'; DROP", "datctype": "C", "datlocprovider": "i", "daticulocale": "de",
            "owner": "a\"b", "comment": "it's", "datconnlimit": 7, "grants": [[null, "CONNECT", false], ["r\"s", "CREATE", true], ["q", "DROP", false]],
            "settings": [[null, ["work_mem=1MB", "search_path=\"$user\", pu\"blic, \"a,\"\"b\""]], ["ann", ["my.x='; DROP"]]], "datnew": 3}"#;
        let own: Properties = serde_json::from_str(line).unwrap();
        assert_eq!(own.creation(15), " ENCODING 'UTF8' LC_COLLATE 'C''; DROP' LC_CTYPE 'C' ICU_LOCALE 'de' LOCALE_PROVIDER icu");
        assert_eq!(own.creation(14), " ENCODING 'UTF8' LC_COLLATE 'C''; DROP' LC_CTYPE 'C'");
        let all: Vec<String> = own.statements("n\"m").into_iter().map(|(_, sql)| sql).collect();
        assert_eq!(
            all,
            [
                "COMMENT ON DATABASE \"n\"\"m\" IS 'it''s'",
                "ALTER DATABASE \"n\"\"m\" CONNECTION LIMIT 7",
                "ALTER DATABASE \"n\"\"m\" SET \"work_mem\" TO '1MB'",
                "ALTER DATABASE \"n\"\"m\" SET \"search_path\" TO '$user', 'pu\"blic', 'a,\"b'",
                "ALTER ROLE \"ann\" IN DATABASE \"n\"\"m\" SET \"my\".\"x\" TO '''; DROP'",
                "REVOKE ALL ON DATABASE \"n\"\"m\" FROM PUBLIC",
                "GRANT CONNECT ON DATABASE \"n\"\"m\" TO PUBLIC",
                "GRANT CREATE ON DATABASE \"n\"\"m\" TO \"r\"\"s\" WITH GRANT OPTION",
                "ALTER DATABASE \"n\"\"m\" OWNER TO \"a\"\"b\"",
            ]
        );
        assert_eq!(setting_value("search_path", ""), "''");
        assert_eq!(setting_value("search_path", "\"open"), "'open'");
    }
}
