//! How libpq is told where its server is: `host=db user=backup`, or `postgres://…`. Read here so that the password can be taken out.
//! It must never hand a secret on in what [`Conninfo::text`] returns: that becomes an argument.

use crate::exit::Fail;
use zeroize::Zeroizing;

/// What was said, in order; of two values for one key the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conninfo {
    words: Vec<(String, String)>,
}

impl Conninfo {
    /// Reads either form, and takes the password out.
    pub fn parse(text: &str) -> Result<(Self, Option<Zeroizing<String>>), Fail> {
        let text = text.trim();
        let url = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let mut words = match url {
            Some(rest) => url_words(rest),
            None if text.contains('=') => pairs(text),
            // As psql takes it.
            None if !text.is_empty() => Some(vec![("dbname".to_owned(), text.to_owned())]),
            None => Some(Vec::new()),
        }
        .ok_or_else(|| {
            // Not shown: it may hold a password in a place that only its author knows.
            Fail::config("a connection to PostgreSQL cannot be read").hint("write host=… user=… dbname=…, or postgres://USER@HOST/DATABASE")
        })?;
        if words.iter().any(|(key, _)| key == "sslpassword") {
            let fail = Fail::config("a connection to PostgreSQL holds sslpassword, which only an argument could hand to the client");
            return Err(fail.hint("use a key without a passphrase that only this user may read, or name the words by a service file"));
        }
        let password = words.iter().rposition(|(key, _)| key == "password").map(|at| Zeroizing::new(words.remove(at).1));
        words.retain(|(key, _)| key != "password");
        Ok((Conninfo { words }, password.filter(|password| !password.is_empty())))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.words.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// For an argument, with another database.
    pub fn text(&self, database: &str) -> String {
        let own = [("dbname".to_owned(), database.to_owned())];
        let words = self.words.iter().filter(|(key, _)| key != "dbname").chain(&own);
        let words: Vec<String> =
            words.map(|(key, value)| format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))).collect();
        words.join(" ")
    }
}

/// `key=value` words as libpq reads them.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let (mut out, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        let after = after.trim_start();
        let (quoted, body) = match after.strip_prefix('\'') {
            Some(body) => (true, body),
            None => (false, after),
        };
        let (mut value, mut end, mut chars) = (String::new(), None, body.char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '\'' if quoted => {
                    end = Some(at + 1);
                    break;
                }
                c if !quoted && c.is_whitespace() => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
        }
        if quoted && end.is_none() {
            return None;
        }
        out.push((key.to_owned(), value));
        rest = body[end.unwrap_or(body.len())..].trim_start();
    }
    Some(out)
}

/// What follows `postgres://`.
fn url_words(rest: &str) -> Option<Vec<(String, String)>> {
    let mut out = Vec::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // As libpq finds it: the first `@` before any `/`.
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (user, rest) = match rest[..authority_end].find('@') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => ("", rest),
    };
    let (user, password) = user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(v6) => {
                let (name, after) = v6.split_once(']')?;
                (name, after.strip_prefix(':').unwrap_or(""))
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(percent_decoded(name)?);
        ports.push(percent_decoded(port)?);
    }
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            out.push((key.to_owned(), value));
        }
    };
    put("user", percent_decoded(user)?);
    put("password", percent_decoded(password.unwrap_or(""))?);
    if names.iter().any(|name| !name.is_empty()) {
        put("host", names.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        put("port", ports.join(","));
    }
    put("dbname", percent_decoded(database)?);
    for word in query.split('&').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=')?;
        match (percent_decoded(key)?.as_str(), percent_decoded(value)?) {
            // libpq takes it for JDBC's sake.
            ("ssl", value) if value == "true" => out.push(("sslmode".to_owned(), "require".to_owned())),
            (key, value) => out.push((key.to_owned(), value)),
        }
    }
    Some(out)
}

/// `%41` becomes `A`.
pub fn percent_decoded(text: &str) -> Option<String> {
    super::names::decoded(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>) {
        let (info, password) = Conninfo::parse(text).unwrap();
        (info.text(info.get("dbname").unwrap_or("-")), password.map(|p| p.to_string()))
    }

    #[test]
    fn both_forms_say_the_same() {
        let wanted = ("user='ann b' host='db' port='5433' sslmode='require' dbname='shop'".to_owned(), Some("hunter@22".to_owned()));
        assert_eq!(read("postgres://ann%20b:hunter%4022@db:5433/shop?sslmode=require"), wanted);
        assert_eq!(read("user = 'ann b' host=db port=5433 password=hunter@22 sslmode=require dbname=shop"), wanted);
        assert_eq!(read("postgresql:///shop?host=/run/pg&password=x"), ("host='/run/pg' dbname='shop'".to_owned(), Some("x".to_owned())));
        assert_eq!(read("shop"), ("dbname='shop'".to_owned(), None));
        assert_eq!(read("postgres://%2Frun%2Fpg/shop"), ("host='/run/pg' dbname='shop'".to_owned(), None));
        assert_eq!(read("postgres://[::1]:99,b/x").0, "host='::1,b' port='99,' dbname='x'");
        assert_eq!(read(r"password='it\'s \\ me' user=a\ b"), (r"user='a b' dbname='-'".to_owned(), Some(r"it's \ me".to_owned())));
        for wrong in ["host='db", "a b=c", "=x", "postgres://[::1/x", "postgres://h/%zz", "sslpassword=x host=y"] {
            assert!(Conninfo::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_database_cannot_add_words() {
        let (info, _) = Conninfo::parse("host=db dbname=shop").unwrap();
        let text = info.text("x' host='evil\\");
        assert_eq!(text, r"host='db' dbname='x\' host=\'evil\\'");
        let (again, _) = Conninfo::parse(&text).unwrap();
        assert_eq!((again.get("host"), again.get("dbname")), (Some("db"), Some("x' host='evil\\")));
    }
}
