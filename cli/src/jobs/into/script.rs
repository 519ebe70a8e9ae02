//! A dump of MySQL or MariaDB on its way into a client: one database out of several, single tables, and without the first line that older
//! clients trip over.
//! It must never take for a heading what stands in a text or in the body of a routine, and never hold more than a line.

use crate::jobs::clients::mysql::identifier;
use glob::Pattern;
use memchr::memchr;
use std::io::{self, Write};

/// What passes.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Of this database alone, without the statements that make and choose it: the client is in the one that it goes to.
    pub database: Option<String>,
    /// Only these tables, if any is named.
    pub tables: Vec<String>,
    /// The database that it goes to, which gets the character set of the one that it comes from.
    pub to: String,
}

/// See the module's text.
pub struct Script<W> {
    to: W,
    pass: Pass,
    patterns: Vec<(Pattern, bool)>,
    partial: Vec<u8>,
    scan: Scan,
    /// What the section is of that goes by.
    database: Option<String>,
    table: Section,
    found: bool,
    /// A statement of several lines is left out up to its end.
    skips: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    /// Settings, before anything.
    Head,
    /// A table, or what stands for a view.
    Table(String),
    /// Routines, events, views.
    Other,
}

impl<W: Write> Script<W> {
    /// Writes to `to`.
    pub fn new(to: W, pass: Pass) -> Self {
        let pattern = |text: &String| (Pattern::new(text).or_else(|_| Pattern::new(&Pattern::escape(text))).unwrap_or_default(), false);
        let patterns = pass.tables.iter().map(pattern).collect();
        Script {
            to,
            found: pass.database.is_none(),
            pass,
            patterns,
            partial: Vec::new(),
            scan: Scan::default(),
            database: None,
            table: Section::Head,
            skips: false,
        }
    }

    /// The rest goes out. Returns what the dump does not have.
    pub fn finish(&mut self) -> io::Result<Option<String>> {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.line(&rest)?;
        }
        self.to.flush()?;
        if !self.found {
            return Ok(self.pass.database.as_ref().map(|name| format!("database `{name}`")));
        }
        let table = self.pass.tables.iter().zip(&self.patterns).find(|(_, (_, found))| !found);
        Ok(table.map(|(name, _)| format!("table `{name}`")))
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let at_top = self.scan.at_top();
        if at_top {
            self.heading(line);
            if line.starts_with(b"/*!999999\\-") || line.starts_with(b"/*M!999999\\-") {
                return Ok(());
            }
            // One that makes or chooses the database, where another takes its place.
            let makes = line.starts_with(b"CREATE DATABASE ");
            self.skips = self.pass.database.is_some() && (makes || line.starts_with(b"USE `"));
            if self.skips && makes && self.passes() && self.patterns.is_empty() {
                let alter = altered(line, self.database.as_deref().unwrap_or_default(), &self.pass.to);
                self.to.write_all(&alter.unwrap_or_default())?;
            }
        }
        self.scan.line(line);
        let skips = self.skips;
        if self.scan.at_top() {
            self.skips = false;
        }
        if !skips && self.passes() { self.to.write_all(line) } else { Ok(()) }
    }

    fn passes(&self) -> bool {
        if self.table == Section::Head {
            return true;
        }
        // A dump of one database alone has no heading that names it.
        let database = match (&self.pass.database, &self.database) {
            (Some(wanted), Some(is)) => wanted == is,
            _ => true,
        };
        database
            && match &self.table {
                _ if self.patterns.is_empty() => true,
                Section::Table(name) => self.patterns.iter().any(|(pattern, _)| pattern.matches(name)),
                _ => false,
            }
    }

    fn heading(&mut self, line: &[u8]) {
        let Some(rest) = line.strip_prefix(b"-- ") else { return };
        let rest = String::from_utf8_lossy(rest);
        if let Some(name) = rest.strip_prefix("Current Database: ").and_then(quoted) {
            self.found |= self.pass.database.as_deref() == Some(name.as_str());
            self.database = Some(name);
            self.table = Section::Other;
            return;
        }
        let tables = ["Table structure for table ", "Dumping data for table ", "Sequence structure for "];
        if let Some(name) = tables.iter().find_map(|start| rest.strip_prefix(start)).and_then(quoted) {
            let here = self.pass.database.is_none() || self.database.is_none() || self.pass.database == self.database;
            if here {
                self.patterns.iter_mut().filter(|(pattern, _)| pattern.matches(&name)).for_each(|(_, found)| *found = true);
            }
            self.table = Section::Table(name);
            return;
        }
        let others = [
            "Temporary table structure for view ",
            "Temporary view structure for view ",
            "Final view structure for view ",
            "Dumping events for database ",
            "Dumping routines for database ",
        ];
        if others.iter().any(|start| rest.starts_with(start)) {
            self.table = Section::Other;
        }
    }
}

impl<W: Write> Write for Script<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            if self.partial.is_empty() {
                self.line(line)?;
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                self.line(&whole)?;
                self.partial = whole;
                self.partial.clear();
            }
        }
        self.partial.extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What gives a database the properties that `CREATE DATABASE` gave the one it comes from.
fn altered(line: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let name = identifier(from);
    let at = memchr::memmem::find(line, name.as_bytes())?;
    let rest = line[at + name.len()..].trim_ascii();
    // Without any there is nothing to say.
    (rest.len() > 1).then(|| [b"ALTER DATABASE ", identifier(to).as_bytes(), b" ", rest, b"\n"].concat())
}

/// `` `name` `` with its quotes, doubled where they are a part of it.
fn quoted(text: &str) -> Option<String> {
    let inner = text.trim_end().strip_prefix('`')?.strip_suffix('`')?;
    Some(inner.replace("``", "`"))
}

/// Where in the script one is.
#[derive(Default)]
struct Scan {
    inside: Option<Inside>,
    in_statement: bool,
    /// `DELIMITER` says that a body follows, up to the line that says `;` again.
    body: bool,
}

#[derive(Clone, Copy)]
enum Inside {
    /// Ends with this, and `\` escapes.
    Text(u8),
    Name,
    Comment,
}

impl Scan {
    fn at_top(&self) -> bool {
        self.inside.is_none() && !self.in_statement && !self.body
    }

    fn line(&mut self, line: &[u8]) {
        if self.body {
            self.body = line.trim_ascii_end() != b"DELIMITER ;";
            return;
        }
        if self.at_top()
            && let Some(delimiter) = line.strip_prefix(b"DELIMITER ")
        {
            self.body = delimiter.trim_ascii() != b";";
            return;
        }
        let mut at = 0;
        while at < line.len() {
            let (byte, next) = (line[at], line.get(at + 1));
            at += 1;
            match self.inside {
                None => match (byte, next) {
                    (b'-', Some(b'-')) if line.get(at + 1).is_none_or(u8::is_ascii_whitespace) => return,
                    (b'#', _) => return,
                    // What a version of the server runs is no comment.
                    (b'/', Some(b'*')) if !matches!(line.get(at + 1), Some(b'!' | b'M')) => {
                        self.inside = Some(Inside::Comment);
                        at += 1;
                    }
                    (b'\'' | b'"', _) => {
                        self.inside = Some(Inside::Text(byte));
                        self.in_statement = true;
                    }
                    (b'`', _) => {
                        self.inside = Some(Inside::Name);
                        self.in_statement = true;
                    }
                    (b';', _) => self.in_statement = false,
                    _ => self.in_statement |= !byte.is_ascii_whitespace(),
                },
                // Nothing in a text matters but its end: most of a dump is texts.
                Some(Inside::Text(end)) => match byte {
                    b'\\' => at += 1,
                    byte if byte == end && next == Some(&end) => at += 1,
                    byte if byte == end => self.inside = None,
                    _ => {
                        let skip = memchr::memchr2(end, b'\\', &line[at..]).unwrap_or(line.len() - at);
                        at += skip;
                    }
                },
                Some(Inside::Name) => {
                    if byte == b'`' {
                        self.inside = None;
                    }
                }
                Some(Inside::Comment) => {
                    if byte == b'*' && next == Some(&b'/') {
                        self.inside = None;
                        at += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"/*!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19
/*!40101 SET NAMES utf8mb4 */;

--
-- Current Database: `a`
--

CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;

USE `a`;

--
-- Table structure for table `t`
--

CREATE TABLE `t` (
  `note` text DEFAULT 'it\'s; -- ',
  `odd
USE ``b`` name` int COMMENT '
-- Current Database: `b`
'
);

--
-- Dumping data for table `t`
--

INSERT INTO `t` VALUES ('x\n-- Current Database: `b`',1),('/* ',2);
DELIMITER ;;
CREATE PROCEDURE p() BEGIN
-- Current Database: `b`
SELECT 'unclosed;
END ;;
DELIMITER ;

--
-- Table structure for table `u`
--

CREATE TABLE `u` (i int);

--
-- Current Database: `b`
--

USE `b`;

--
-- Table structure for table `t`
--

CREATE TABLE `t` (of_b int);

--
-- Current Database: `a`
--

USE `a`;

--
-- Final view structure for view `v`
--

/*!50001 VIEW `v` AS select 1 */;
-- Dump completed
"#;

    fn passed(pass: Pass, step: usize) -> (String, Option<String>) {
        let mut out = Vec::new();
        let mut script = Script::new(&mut out, pass);
        DUMP.as_bytes().chunks(step).for_each(|part| script.write_all(part).unwrap());
        let missing = script.finish().unwrap();
        (String::from_utf8(out).unwrap(), missing)
    }

    #[test]
    fn all_of_it_but_for_the_first_line() {
        let (text, missing) = passed(Pass::default(), 5);
        assert_eq!((text.as_str(), missing), (DUMP.split_once('\n').unwrap().1, None));
    }

    #[test]
    fn one_database_of_several() {
        let pass = Pass { database: Some("a".to_owned()), to: "c`d".to_owned(), ..Pass::default() };
        let (text, missing) = passed(pass.clone(), 3);
        assert_eq!(missing, None);
        for part in [
            "SET NAMES",
            "INSERT INTO `t`",
            "CREATE PROCEDURE",
            "VIEW `v`",
            "odd\nUSE ``b`` name",
            "CREATE TABLE `u`",
            "ALTER DATABASE `c``d` /*!40100 DEFAULT",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.contains("of_b") && !text.contains("\nUSE `a`") && !text.contains("CREATE DATABASE"), "{text}");
        assert_eq!(passed(pass, 1).0, text);
        let (text, _) = passed(Pass { database: Some("b".to_owned()), ..Pass::default() }, 9);
        assert!(text.contains("of_b") && !text.contains("INSERT"), "{text}");
        assert_eq!(passed(Pass { database: Some("c".to_owned()), ..Pass::default() }, 9).1.as_deref(), Some("database `c`"));
    }

    #[test]
    fn one_table_of_one_database() {
        let pass = Pass { database: Some("a".to_owned()), tables: vec!["t".to_owned()], to: "c".to_owned() };
        let (text, missing) = passed(pass, 11);
        assert_eq!(missing, None);
        assert!(
            text.contains("INSERT INTO `t`") && !text.contains("of_b") && !text.contains("VIEW") && !text.contains("CREATE TABLE `u`"),
            "{text}"
        );
        let pass = Pass { database: Some("b".to_owned()), tables: vec!["u".to_owned()], to: "c".to_owned() };
        assert_eq!(passed(pass, 11).1.as_deref(), Some("table `u`"));
    }
}
