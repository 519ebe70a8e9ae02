//! Single tables out of a plain dump of PostgreSQL, while it goes by: definition, data, indexes, constraints, sequences.
//! It must never take for a heading of `pg_dump` what stands in data or in the text of a function, and never hold more than a line and a
//! small statement.

use super::scan::Scan;
use glob::Pattern;
use memchr::memchr;
use std::collections::BTreeSet;
use std::io::{self, Write};

/// A line of data that is longer goes out in parts.
const LINE_BYTES_MAX: usize = 1 << 20;

/// See the module's text. Without tables all passes.
pub struct PostgresTables<W> {
    to: W,
    tables: Vec<Wanted>,
    /// `\restrict` lines are left out.
    plain: bool,
    partial: Vec<u8>,
    /// A long line of data goes out in parts: this is not its first one.
    inside_line: bool,
    scan: Scan,
    block: Block,
    /// What a block holds whose text decides about it.
    held: Vec<u8>,
    /// A sequence that belongs to whatever its next block says.
    sequence: Option<(String, Vec<u8>)>,
    sequences: BTreeSet<String>,
    schemas: BTreeSet<String>,
    /// Indexes that went out, those of constraints too: `schema.name`.
    indexes: BTreeSet<String>,
}

struct Wanted {
    text: String,
    pattern: Pattern,
    found: bool,
}

/// What becomes of the block of the dump that goes by.
#[derive(Clone, PartialEq, Eq)]
enum Block {
    Keep,
    Drop,
    /// Its heading does not say which table it is of.
    Hold(Heading),
}

/// `-- Name: …; Type: …; Schema: …; Owner: …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heading {
    name: String,
    kind: String,
    schema: String,
}

impl<W: Write> PostgresTables<W> {
    /// Writes to `to`; `plain` leaves out what only newer versions of `psql` know.
    pub fn new(to: W, tables: &[String], plain: bool) -> Self {
        let wanted = |text: &String| {
            // What is no pattern is a name.
            let pattern = Pattern::new(text).or_else(|_| Pattern::new(&Pattern::escape(text))).unwrap_or_default();
            Wanted { text: text.clone(), pattern, found: false }
        };
        PostgresTables {
            to,
            tables: tables.iter().map(wanted).collect(),
            plain,
            partial: Vec::new(),
            inside_line: false,
            scan: Scan::default(),
            block: Block::Keep,
            held: Vec::new(),
            sequence: None,
            sequences: BTreeSet::new(),
            schemas: BTreeSet::new(),
            indexes: BTreeSet::new(),
        }
    }

    /// The rest goes out. Returns a table that the dump does not have.
    pub fn finish(&mut self) -> io::Result<Option<String>> {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.line(&rest)?;
        }
        self.decide()?;
        self.to.flush()?;
        Ok(self.tables.iter().find(|table| !table.found).map(|table| table.text.clone()))
    }

    fn wants(&self, schema: &str, name: &str) -> bool {
        let whole = format!("{schema}.{name}");
        self.tables.iter().any(|table| table.pattern.matches(name) || table.pattern.matches(&whole))
    }

    /// Whether a qualified name, as SQL has it, is that of a table that is wanted.
    fn wants_sql(&self, text: &str) -> bool {
        qualified(text).is_some_and(|(schema, name)| self.wants(&schema, &name))
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let at_top = self.scan.at_top();
        if at_top && !self.tables.is_empty() {
            let heading = [&b"-- Name: "[..], b"-- Data for Name: "].iter().find_map(|start| line.strip_prefix(*start));
            if let Some(heading) = heading.and_then(heading_of) {
                self.decide()?;
                self.block = self.judge(heading);
            }
        }
        let is_restrict = at_top && (line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict "));
        self.scan.line(line);
        if is_restrict {
            // They come in pairs and belong to no block.
            return if self.plain { Ok(()) } else { self.to.write_all(line) };
        }
        // So are settings, which stand before the heading of the block that they are for.
        let is_setting = at_top && line.starts_with(b"SET ");
        match &self.block {
            _ if is_setting => self.to.write_all(line),
            Block::Keep => self.to.write_all(line),
            Block::Drop => Ok(()),
            Block::Hold(_) => {
                self.held.extend_from_slice(line);
                Ok(())
            }
        }
    }

    /// By its heading alone.
    fn judge(&mut self, heading: Heading) -> Block {
        let Heading { name, kind, schema } = &heading;
        let first = name.split(' ').next().unwrap_or(name);
        let keep = match kind.as_str() {
            "TABLE" | "FOREIGN TABLE" => {
                let is = self.wants(schema, name);
                let whole = format!("{schema}.{name}");
                self.tables
                    .iter_mut()
                    .filter(|table| table.pattern.matches(name) || table.pattern.matches(&whole))
                    .for_each(|table| table.found = true);
                if is && schema != "public" && self.schemas.insert(schema.clone()) {
                    let schema = crate::jobs::clients::postgres::identifier(schema);
                    // The target may have it: a restore of a table touches nothing else.
                    if self.to.write_all(format!("CREATE SCHEMA IF NOT EXISTS {schema};\n").as_bytes()).is_err() {
                        return Block::Drop;
                    }
                }
                is
            }
            "TABLE DATA" => self.wants(schema, name),
            // `orders orders_pkey`: a table with a blank in its name is tried in full.
            "DEFAULT" | "CONSTRAINT" | "CHECK CONSTRAINT" => {
                let of = name.match_indices(' ').map(|(at, _)| at).find(|at| self.wants(schema, &name[..*at]));
                if let Some(at) = of.filter(|_| kind == "CONSTRAINT") {
                    // The index behind it has its name.
                    self.indexes.insert(format!("{schema}.{}", &name[at + 1..]));
                }
                of.is_some() || self.wants(schema, first)
            }
            "COMMENT" | "ACL" => match name.split_once(' ') {
                Some(("TABLE", table)) => self.wants(schema, table),
                Some(("COLUMN", column)) => column.rsplit_once('.').is_some_and(|(table, _)| self.wants(schema, table)),
                Some(("SEQUENCE", sequence)) => self.sequences.contains(&format!("{schema}.{sequence}")),
                _ => false,
            },
            "SEQUENCE SET" => self.sequences.contains(&format!("{schema}.{name}")),
            "INDEX" | "INDEX ATTACH" | "FK CONSTRAINT" | "SEQUENCE" | "SEQUENCE OWNED BY" | "TABLE ATTACH" => return Block::Hold(heading),
            _ => false,
        };
        if keep { Block::Keep } else { Block::Drop }
    }

    /// The block that was held is there in full.
    fn decide(&mut self) -> io::Result<()> {
        let Block::Hold(heading) = std::mem::replace(&mut self.block, Block::Drop) else { return Ok(()) };
        let held = std::mem::take(&mut self.held);
        let text = String::from_utf8_lossy(&held).into_owned();
        let behind = |word: &str| text.find(word).map(|at| text[at + word.len()..].trim_start().trim_start_matches("ONLY ").to_owned());
        let is_of = |word: &str| behind(word).is_some_and(|rest| self.wants_sql(&rest));
        let sequence = format!("{}.{}", heading.schema, heading.name);
        let keep = match heading.kind.as_str() {
            "INDEX" => {
                let is = is_of(" ON ");
                if is {
                    self.indexes.insert(format!("{}.{}", heading.schema, heading.name));
                }
                is
            }
            // Without it the index of a partitioned table stays invalid.
            "INDEX ATTACH" => {
                let went = |word: &str| {
                    behind(word)
                        .and_then(|rest| qualified(&rest))
                        .is_some_and(|(schema, name)| self.indexes.contains(&format!("{schema}.{name}")))
                };
                went("ALTER INDEX ") && went(" ATTACH PARTITION ")
            }
            "FK CONSTRAINT" => is_of("ALTER TABLE ") && is_of(" REFERENCES "),
            "TABLE ATTACH" => is_of("ALTER TABLE ") && is_of(" ATTACH PARTITION "),
            // An identity says here which column it is of; any other sequence in the block that follows.
            "SEQUENCE" if text.contains("ADD GENERATED ") => {
                let is = is_of("ALTER TABLE ");
                if is {
                    self.sequences.insert(sequence);
                }
                is
            }
            "SEQUENCE" => {
                self.sequence = Some((sequence, held));
                return Ok(());
            }
            _ => {
                let owner = behind(" OWNED BY ").and_then(|rest| owner_of(&rest));
                let is = owner.is_some_and(|(schema, table)| self.wants(&schema, &table));
                if is && let Some((_, held)) = self.sequence.take_if(|(name, _)| *name == sequence) {
                    self.to.write_all(&held)?;
                    self.sequences.insert(sequence);
                }
                is
            }
        };
        if keep { self.to.write_all(&held) } else { Ok(()) }
    }
}

impl<W: Write> Write for PostgresTables<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tables.is_empty() && !self.plain {
            return self.to.write(bytes);
        }
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            if self.inside_line {
                self.inside_line = false;
                self.part(line)?;
            } else if self.partial.is_empty() {
                self.line(line)?;
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                self.line(&whole)?;
                self.partial = whole;
                self.partial.clear();
            }
        }
        if self.inside_line {
            self.part(rest)?;
        } else {
            self.partial.extend_from_slice(rest);
            if self.partial.len() > LINE_BYTES_MAX && self.scan.copying {
                let part = std::mem::take(&mut self.partial);
                self.part(&part)?;
                self.inside_line = true;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write> PostgresTables<W> {
    /// A part of a line of data.
    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.block == Block::Keep { self.to.write_all(bytes) } else { Ok(()) }
    }
}

fn heading_of(text: &[u8]) -> Option<Heading> {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end();
    // From the end: a name may hold anything.
    let (rest, _) = text.rsplit_once("; Owner: ")?;
    let (rest, schema) = rest.rsplit_once("; Schema: ")?;
    let (name, kind) = rest.rsplit_once("; Type: ")?;
    Some(Heading { name: name.to_owned(), kind: kind.to_owned(), schema: schema.to_owned() })
}

/// One identifier at the beginning of a text.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let end = rest.find('"')?;
            name.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(after) => {
                    name.push('"');
                    rest = after;
                }
                None => return Some((name, rest)),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

/// `schema.table` at the beginning of a text.
fn qualified(text: &str) -> Option<(String, String)> {
    let (schema, rest) = identifier(text)?;
    let (name, _) = identifier(rest.strip_prefix('.')?)?;
    Some((schema, name))
}

/// The table of `schema.table.column`.
fn owner_of(text: &str) -> Option<(String, String)> {
    qualified(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"--
-- PostgreSQL database dump
--

\restrict key

SET statement_timeout = 0;

--
-- Name: evil(); Type: FUNCTION; Schema: public; Owner: ann
--

CREATE FUNCTION public.evil() RETURNS text LANGUAGE sql AS $_$
--
-- Name: orders; Type: TABLE; Schema: public; Owner: ann
--
SELECT 'it''s $$';
$_$;


SET default_tablespace = '';

--
-- Name: orders; Type: TABLE; Schema: public; Owner: ann
--

CREATE TABLE public.orders (
    id integer NOT NULL,
    note text DEFAULT E'it\'s; --'::text
);

--
-- Name: orders_id_seq; Type: SEQUENCE; Schema: public; Owner: ann
--

CREATE SEQUENCE public.orders_id_seq
    START WITH 1;

--
-- Name: orders_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: ann
--

ALTER SEQUENCE public.orders_id_seq OWNED BY public.orders.id;

--
-- Name: other_seq; Type: SEQUENCE; Schema: public; Owner: ann
--

CREATE SEQUENCE public.other_seq;

--
-- Name: users; Type: TABLE; Schema: sales; Owner: ann
--

CREATE TABLE sales.users (id integer);

--
-- Name: orders id; Type: DEFAULT; Schema: public; Owner: ann
--

ALTER TABLE ONLY public.orders ALTER COLUMN id SET DEFAULT nextval('public.orders_id_seq'::regclass);

--
-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: ann
--

COPY public.orders (id, note) FROM stdin;
1	-- Name: users; Type: TABLE; Schema: sales; Owner: ann
2	it's
\.


--
-- Data for Name: users; Type: TABLE DATA; Schema: sales; Owner: ann
--

COPY sales.users (id) FROM stdin;
7
\.


--
-- Name: orders_id_seq; Type: SEQUENCE SET; Schema: public; Owner: ann
--

SELECT pg_catalog.setval('public.orders_id_seq', 2, true);

--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: ann
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);

--
-- Name: orders_note; Type: INDEX; Schema: public; Owner: ann
--

CREATE INDEX orders_note ON public.orders USING btree (note);

--
-- Name: users_id; Type: INDEX; Schema: sales; Owner: ann
--

CREATE INDEX users_id ON sales.users USING btree (id);

--
-- Name: orders orders_user; Type: FK CONSTRAINT; Schema: public; Owner: ann
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_user FOREIGN KEY (id) REFERENCES sales.users(id);

--
-- PostgreSQL database dump complete
--

\unrestrict key

"#;

    fn filtered(tables: &[&str], plain: bool, step: usize) -> (String, Option<String>) {
        let tables: Vec<String> = tables.iter().map(|t| (*t).to_owned()).collect();
        let mut out = Vec::new();
        let mut filter = PostgresTables::new(&mut out, &tables, plain);
        DUMP.as_bytes().chunks(step).for_each(|part| filter.write_all(part).unwrap());
        let missing = filter.finish().unwrap();
        (String::from_utf8(out).unwrap(), missing)
    }

    #[test]
    fn one_table_comes_with_what_is_its_own() {
        let (text, missing) = filtered(&["orders"], false, 7);
        assert_eq!(missing, None);
        for part in [
            "CREATE TABLE public.orders",
            "CREATE SEQUENCE public.orders_id_seq",
            "OWNED BY",
            "SET DEFAULT nextval",
            "2\tit's",
            "setval",
            "orders_pkey",
            "CREATE INDEX orders_note",
            "\\restrict",
            "\\unrestrict",
            "SET default_tablespace",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        for part in ["evil", "other_seq", "sales", "orders_user"] {
            let text = text.replace("1\t-- Name: users; Type: TABLE; Schema: sales; Owner: ann\n", "");
            assert!(!text.contains(part), "{part} is there:\n{text}");
        }
        assert_eq!(filtered(&["orders"], false, 1).0, text);
        assert_eq!(filtered(&["public.orders"], false, 100_000).0, text);
    }

    #[test]
    fn patterns_schemas_and_what_is_not_there() {
        let (text, _) = filtered(&["sales.*", "orders"], true, 100);
        assert!(text.contains("CREATE SCHEMA IF NOT EXISTS \"sales\";") && text.contains("orders_user") && text.contains("users_id"));
        assert!(!text.contains("restrict"));
        assert_eq!(filtered(&["order"], true, 100).1.as_deref(), Some("order"));
        let (all, _) = filtered(&[], true, 3);
        assert_eq!(all, DUMP.replace("\\restrict key\n", "").replace("\\unrestrict key\n", ""));
        assert_eq!(filtered(&[], false, 3).0, DUMP);
    }

    #[test]
    fn a_long_line_of_data_goes_by_in_parts() {
        let line = "x".repeat(3 * LINE_BYTES_MAX);
        let dump = format!(
            "-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: x\n\nCOPY public.a (b) FROM stdin;\n{line}\n\\.\n\n-- Data for Name: c; Type: TABLE DATA; Schema: public; Owner: x\nno\n"
        );
        let mut out = Vec::new();
        let mut filter = PostgresTables::new(&mut out, &["a".to_owned()], false);
        dump.as_bytes().chunks(50_000).for_each(|part| {
            filter.write_all(part).unwrap();
            assert!(filter.partial.len() <= LINE_BYTES_MAX + 50_000);
        });
        filter.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&line) && text.trim_end().ends_with("\\."), "{}", &text[text.len() - 100..]);
    }
}
