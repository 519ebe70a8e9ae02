//! PostgreSQL through `seabed run` and `seabed restore`, with a real server: what comes back is what was there, and what is not whole is nothing.

use crate::cli::{Home, ended};
use seabed_tests::dbms::{Postgres, Watch, Writers};
use seabed_tests::servers::databases_are_wanted;
use seabed_tests::trees::files_below;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

const PASSWORD: &str = "pg-pass:w\\ord 77";
const REPOSITORY: &str = "repository-pass-31";

/// A repository and a job `db` with one source `pg`.
fn bench(server: &Postgres, source: &str) -> Home {
    let home = Home::new();
    home.write("pw", &format!("{}\n", server.password));
    home.write("repo-pw", REPOSITORY);
    configure(&home, server, source);
    home.ends(0, &["init", "--repo", "@r"]);
    home
}

fn configure(home: &Home, server: &Postgres, source: &str) {
    let text = format!(
        "host = \"h\"\nstate_dir = \"state\"\n[repo.r]\nurl = \"dir:repo\"\nkey = {{ password_file = \"repo-pw\" }}\n\
         [source.pg]\nkind = \"postgres\"\ndsn = \"host={} user=postgres\"\npassword_file = \"pw\"\nprograms = \"{}\"\n{source}\n\
         [job.db]\nsources = \"pg\"\nrepos = \"r\"\n",
        server.host(),
        server.programs.display(),
    );
    home.write("seabed.toml", &text);
}

fn url(server: &Postgres, database: &str) -> String {
    format!("postgres://postgres@{}/{database}", server.host().replace('/', "%2F"))
}

fn into(home: &Home, server: &Postgres, database: &str, more: &[&str]) -> Output {
    let (url, programs) = (url(server, database), server.programs.display().to_string());
    let mut args = vec!["restore", "db@latest", "--into", &url, "--into-password-file", "pw", "--programs", &programs];
    args.extend(more);
    home.run(&args)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn snapshots(home: &Home) -> Vec<Value> {
    serde_json::from_str::<Value>(&home.ends(0, &["snapshots", "--repo", "@r", "--json"])).unwrap().as_array().unwrap().clone()
}

/// Something of all that a schema can have.
const SHOP: &str = r#"
CREATE ROLE clerk LOGIN PASSWORD 'clerk-pass-1'; CREATE ROLE readers; GRANT readers TO clerk;
CREATE DATABASE shop OWNER clerk TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' ICU_LOCALE 'de-DE' LOCALE_PROVIDER icu CONNECTION LIMIT 50;
ALTER DATABASE shop SET work_mem = '5MB'; ALTER ROLE clerk IN DATABASE shop SET search_path = sales, "$user", public;
REVOKE ALL ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO readers WITH GRANT OPTION; COMMENT ON DATABASE shop IS 'it''s the shop';
\connect shop
CREATE SCHEMA sales AUTHORIZATION clerk;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE EXTENSION pgcrypto;
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'ok', picture bytea, born date, tags text[], doc jsonb);
INSERT INTO customers (name, mood, picture, born, tags, doc)
  SELECT 'Größe 🐚 ' || i || E'\t\\\n', 'happy', decode(md5(i::text), 'hex'), date '1970-01-01' + i, ARRAY['a', NULL, 'c"'], jsonb_build_object('n', i)
  FROM generate_series(1, 2000) AS i;
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer integer NOT NULL REFERENCES customers ON DELETE CASCADE,
  net numeric(12,2) NOT NULL, gross numeric(12,2) GENERATED ALWAYS AS (net * 1.19) STORED, at timestamptz NOT NULL DEFAULT now(), CHECK (net >= 0));
CREATE INDEX orders_customer ON orders (customer) WHERE net > 10;
INSERT INTO orders (customer, net, at) SELECT 1 + i % 2000, i / 7.0, timestamptz '2026-01-01 UTC' + i * interval '1 minute' FROM generate_series(1, 5000) AS i;
CREATE TABLE sales.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE sales.events_old PARTITION OF sales.events FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE sales.events_new PARTITION OF sales.events FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');
CREATE INDEX events_at ON sales.events (at); ALTER TABLE sales.events ADD PRIMARY KEY (at, what);
INSERT INTO sales.events SELECT date '2010-01-01' + i * 7, 'event ' || i FROM generate_series(1, 1000) AS i;
CREATE VIEW big AS SELECT customer, sum(gross) AS gross FROM orders GROUP BY customer HAVING sum(gross) > 100;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n, sum(net) AS net FROM orders;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
-- Name: fake; Type: TABLE; Schema: public; Owner: nobody
NEW.name := coalesce(NEW.name, 'it''s $$ nothing'); RETURN NEW; END $body$;
CREATE TRIGGER touched BEFORE INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE PROCEDURE nothing() LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
CREATE SEQUENCE loose START 7; SELECT nextval('loose');
CREATE TABLE "odd ""name" ("a b" int, "sel'ect" text); INSERT INTO "odd ""name" VALUES (1, '\.'), (2, E'-- x\n\\.');
ALTER TABLE customers ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON customers FOR SELECT TO clerk USING (id > 0);
ALTER TABLE orders OWNER TO clerk; GRANT SELECT ON customers TO readers; GRANT UPDATE (name) ON customers TO clerk;
COMMENT ON COLUMN orders.net IS 'without tax; it''s net';
SELECT lo_from_bytea(0, 'a large object');
CREATE PUBLICATION p FOR TABLE orders;
"#;

/// A number for each table's content.
fn contents(server: &Postgres, database: &str) -> Vec<String> {
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
    let tables = server.sql(database, tables);
    let sum = |table: &str| {
        server.sql(database, &format!("SELECT md5(coalesce(array_agg(t::text ORDER BY t::text)::text, '')) FROM {table} AS t"))
    };
    tables.lines().map(|table| format!("{table} {}", sum(table))).collect()
}

/// What a database has of its own.
fn own(server: &Postgres, database: &str) -> String {
    let sql = format!(
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datlocprovider, daticulocale, datconnlimit, \
         shobj_description(oid, 'pg_database'), (SELECT array_agg(a::text ORDER BY a::text) FROM aclexplode(datacl) a), \
         (SELECT array_agg(setrole::regrole || setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) \
         FROM pg_database d WHERE datname = '{database}'"
    );
    // Roles that are made anew have other numbers.
    let text = server.sql("postgres", &sql);
    let mut roles: Vec<String> = server.sql("postgres", "SELECT oid || ' ' || rolname FROM pg_roles").lines().map(str::to_owned).collect();
    roles.sort_by_key(|role| std::cmp::Reverse(role.len()));
    roles
        .iter()
        .filter_map(|role| role.split_once(' '))
        .fold(text, |text, (oid, name)| if oid.len() > 4 { text.replace(oid, name) } else { text })
}

#[test]
fn t01_round_trip_postgres() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    server.script("postgres", SHOP);
    let (schema, rows, properties) = (server.dump("shop"), contents(&server, "shop"), own(&server, "shop"));
    assert!(rows.len() >= 6 && properties.contains("de-DE") && properties.contains("5MB"), "{rows:?} {properties}");
    for format in ["plain", "custom"] {
        let home = bench(&server, &format!("databases = \"shop\"\nformat = \"{format}\"\n"));
        let out = home.run(&["run", "db"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        // Into another database first, then into what is there, then where nothing is left, not even the roles.
        let out = into(&home, &server, "second", &[]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        assert_eq!((server.dump("second"), contents(&server, "second")), (schema.clone(), rows.clone()));
        let out = into(&home, &server, "second", &[]);
        assert_eq!(out.status.code(), Some(25), "{}", text(&out));
        assert!(text(&out).contains("not empty: it has table"), "{}", text(&out));
        server
            .sql("second", "DELETE FROM orders; CREATE TABLE more (a int); CREATE SCHEMA own; CREATE EXTENSION citext; DROP PUBLICATION p");
        let out = into(&home, &server, "second", &["--force"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        assert_eq!((server.dump("second"), contents(&server, "second")), (schema.clone(), rows.clone()));
        for sql in ["DROP DATABASE shop", "DROP DATABASE second", "DROP ROLE clerk", "DROP ROLE readers"] {
            server.sql("postgres", sql);
        }
        let out = into(&home, &server, "shop", &[]);
        assert_eq!(out.status.code(), Some(1), "{}", text(&out));
        assert!(text(&out).contains("--globals"), "{}", text(&out));
        assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'shop'"), "0", "half a restore stayed");
        let out = into(&home, &server, "shop", &["--globals"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        assert_eq!((server.dump("shop"), contents(&server, "shop")), (schema.clone(), rows.clone()));
        // A dump that can go anywhere says nothing of these: owner, collation, limits, settings and privileges were lost, with exit status 0.
        assert_eq!(own(&server, "shop"), properties);
        assert_eq!(server.sql("postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'clerk'"), "t");
    }
}

#[test]
fn t01_round_trip_of_a_whole_server_with_names_of_all_kinds() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    let odd = ["a/b '\"% x", "-rf", "..", "$(touch x)", "globals", "größe 🐚", "x=y dbname=evil"];
    for (n, name) in odd.iter().enumerate() {
        server.script("postgres", &format!("CREATE DATABASE \"{}\" TEMPLATE template0;", name.replace('"', "\"\"")));
        let info = format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"));
        server.sql(&info, &format!("CREATE TABLE t AS SELECT {n} AS n"));
    }
    let home = bench(&server, "databases = \"all\"\n");
    home.ends(0, &["run", "db"]);
    let listed = home.ends(0, &["ls", "latest", "--repo", "@r"]);
    for stream in ["/pg/a%2Fb '\"%25 x.sql", "/pg/%2E..sql", "/pg/%67lobals.sql", "/pg/globals.sql", "/pg/-rf.sql", "/pg/postgres.sql"] {
        assert!(listed.lines().any(|line| line == stream), "{stream}: {listed}");
    }
    let other = Postgres::start("another pass");
    home.write("pw", "another pass\n");
    let base = url(&other, "");
    let programs = server.programs.display().to_string();
    let base = base.trim_end_matches('/');
    home.ends(0, &["restore", "db@latest", "--into", base, "--into-password-file", "pw", "--programs", &programs]);
    for (n, name) in odd.iter().enumerate() {
        let info = format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"));
        assert_eq!(other.sql(&info, "SELECT n FROM t"), n.to_string());
    }
    assert!(!home.path("x").exists());
    // Of several one must be meant.
    let out = into(&home, &other, "new", &[]);
    assert_eq!(out.status.code(), Some(20), "{}", text(&out));
    assert!(text(&out).contains("--database"), "{}", text(&out));
    ended(0, &into(&home, &other, "new", &["--database=-rf"]), &["--database"]);
    assert_eq!(other.sql("new", "SELECT n FROM t"), "1");
}

#[test]
fn a_table_comes_alone_with_what_is_its_own() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    server.script("postgres", SHOP);
    for format in ["plain", "custom"] {
        let home = bench(&server, &format!("databases = \"shop\"\nformat = \"{format}\"\n"));
        home.ends(0, &["run", "db"]);
        let name = format!("only_{format}");
        let out = into(&home, &server, &name, &["--table", "orders", "--table", "sales.events*", "--table", "odd \"name"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        let sum = |database: &str| server.sql(database, "SELECT md5(array_agg(o::text ORDER BY id)::text) FROM orders AS o");
        assert_eq!(sum(&name), sum("shop"));
        assert_eq!(server.sql(&name, "SELECT count(*) FROM sales.events"), "1000");
        // Indexes of a partitioned table are valid only when those of its partitions were attached to them, which stands in blocks of its own.
        assert_eq!(server.sql(&name, "SELECT count(*), count(*) FILTER (WHERE indisvalid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE relname LIKE 'events%'"), "6|6");
        assert_eq!(server.sql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "2");
        assert_eq!(server.sql(&name, "SELECT count(*) FROM pg_indexes WHERE tablename = 'orders'"), "2");
        let next = "INSERT INTO orders (customer, net) VALUES (1, 1) RETURNING id";
        assert_eq!(server.sql(&name, next), "5001", "the sequence came with its number");
        // It stands there already: nothing of it is changed.
        let out = into(&home, &server, &name, &["--table", "orders"]);
        assert_eq!(out.status.code(), Some(1), "{}", text(&out));
        assert_eq!(server.sql(&name, "SELECT count(*) FROM orders"), "5001");
        assert_eq!(into(&home, &server, "none", &["--table", "nothing"]).status.code(), Some(20));
        assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'none'"), "0");
    }
}

/// A directory of programs in which `name` is another one.
fn wrapped(home: &Home, server: &Postgres, name: &str, script: &str) -> String {
    let dir = home.path("programs");
    fs::create_dir_all(&dir).unwrap();
    for program in ["psql", "pg_dump", "pg_dumpall", "pg_restore"] {
        let link = dir.join(program);
        fs::remove_file(&link).unwrap_or(());
        std::os::unix::fs::symlink(server.programs.join(program), link).unwrap();
    }
    fs::remove_file(dir.join(name)).unwrap();
    let real = server.programs.join(name);
    let head = format!("#!/bin/bash\ncase \"$*\" in *--help*|*--version*) exec {0} \"$@\";; esac\nreal={0}\n", real.display());
    fs::write(dir.join(name), format!("{head}{script}\n")).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn t02_dump_dies_and_there_is_no_snapshot() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 100000) AS i");
    let source = "databases = \"shop\"\nglobals = false\n";
    let home = bench(&server, source);
    home.ends(0, &["run", "db"]);
    let before = snapshots(&home);
    assert_eq!(before.len(), 1);
    let psql = format!("PGPASSWORD='{PASSWORD}' PGHOST={} PGUSER=postgres {}/psql -X -q -d shop", server.host(), server.programs.display());
    let terminate = format!(
        "set -o pipefail; \"$real\" \"$@\" | {{ head -c 100000; {psql} -c \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump'\" >&2; cat; }}"
    );
    for (script, words) in [
        ("\"$real\" \"$@\" | head -c 100000; kill -9 $$", "signal 9"),
        (terminate.as_str(), "exit status"),
        ("\"$real\" \"$@\" > /dev/full", "exit status"),
        // With status 0 only the missing end tells.
        ("\"$real\" \"$@\" | head -c 100000; exit 0", "end marker"),
        ("\"$real\" \"$@\" | head -n -8; exit 0", "end marker"),
        ("exit 0", "is empty"),
    ] {
        // The programs that are configured first are replaced by these.
        let programs = wrapped(&home, &server, "pg_dump", script);
        configure(&home, &server, source);
        let file = fs::read_to_string(home.path("seabed.toml")).unwrap();
        home.write("seabed.toml", &file.replace(&server.programs.display().to_string(), &programs));
        let out = home.run(&["run", "db"]);
        assert_eq!(out.status.code(), Some(21), "{script}: {}", text(&out));
        assert!(text(&out).contains(words), "{script}: {}", text(&out));
        assert!(!text(&out).contains(PASSWORD), "{}", text(&out));
    }
    for (source, password, words) in [
        ("databases = [\"shop\", \"gone\"]\n", PASSWORD, "there is no database `gone`"),
        ("databases = \"gone\"\n", PASSWORD, "does not exist"),
        ("databases = \"shop\"\n", "wrong", "password authentication failed"),
        ("databases = \"shop\"\noptions = [\"--no-such-option\"]\n", PASSWORD, "no-such-option"),
    ] {
        home.write("pw", password);
        configure(&home, &server, source);
        let out = home.run(&["run", "db"]);
        assert_eq!(out.status.code(), Some(21), "{source}: {}", text(&out));
        assert!(text(&out).contains(words), "{source}: {}", text(&out));
    }
    assert_eq!(snapshots(&home), before);
}

#[test]
fn a_client_that_is_older_than_the_server_is_told_what_to_do() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    let home = bench(&server, "databases = \"postgres\"\n");
    let programs = wrapped(&home, &server, "pg_dump", "");
    home.write("programs/pg_dump.new", "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n");
    fs::rename(home.path("programs/pg_dump.new"), home.path("programs/pg_dump")).unwrap();
    fs::set_permissions(home.path("programs/pg_dump"), fs::Permissions::from_mode(0o755)).unwrap();
    let file = fs::read_to_string(home.path("seabed.toml")).unwrap();
    home.write("seabed.toml", &file.replace(&server.programs.display().to_string(), &programs));
    let out = home.run(&["run", "db"]);
    assert_eq!(out.status.code(), Some(21), "{}", text(&out));
    assert!(text(&out).contains("version 9 cannot dump it"), "{}", text(&out));
}

#[test]
fn what_is_damaged_is_never_committed() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE t AS SELECT i, md5(i::text) AS a, md5((i * 7)::text) AS b FROM generate_series(1, 200000) AS i");
    for format in ["plain", "custom"] {
        let home = bench(&server, &format!("databases = \"shop\"\nglobals = false\nformat = \"{format}\"\n"));
        home.ends(0, &["run", "db"]);
        let rows = server.sql("shop", "SELECT count(*) FROM t");
        // The largest pack, near its end: most of the dump is sent before it is met.
        let packs = files_below(&home.path("repo/data"));
        let pack = packs.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        let at = bytes.len() * 8 / 10;
        bytes[at..at + 1000].fill(0x55);
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&pack, bytes).unwrap();
        let out = into(&home, &server, "fresh", &[]);
        assert_eq!(out.status.code(), Some(23), "{}", text(&out));
        assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'fresh'"), "0");
        let out = into(&home, &server, "shop", &["--force"]);
        assert_eq!(out.status.code(), Some(23), "{}", text(&out));
        assert_eq!(server.sql("shop", "SELECT count(*) FROM t"), rows, "the old state is untouched");
    }
}

#[test]
fn a_restore_that_is_killed_commits_nothing() {
    if !databases_are_wanted() {
        return;
    }
    // `psql --single-transaction` commits when its input ends, whoever ended it. A restore that waited for a lock and was killed left a client
    // that went on, reached the end of half a dump, in the middle of a text, and committed that in the place of the database.
    let server = Postgres::start(PASSWORD);
    server.sql("postgres", "CREATE DATABASE shop");
    server.sql("shop", "CREATE TABLE t AS SELECT repeat(md5(i::text), 20) AS a FROM generate_series(1, 50000) AS i");
    let home = bench(&server, "databases = \"shop\"\nglobals = false\n");
    home.ends(0, &["run", "db"]);
    server.sql("shop", "INSERT INTO t VALUES ('newer')");
    let mut lock = server.client("psql").args(["-X", "-q", "-d", "shop"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    lock.stdin.as_mut().unwrap().write_all(b"BEGIN; LOCK TABLE t IN ACCESS SHARE MODE; SELECT 'locked';\n").unwrap();
    let waits = |what: &str| server.sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND {what}"));
    until(|| waits("query LIKE '%locked%' AND state = 'idle in transaction'") == "1");
    let (url, programs) = (url(&server, "shop"), server.programs.display().to_string());
    let mut restore =
        home.command(&["restore", "db@latest", "--into", &url, "--into-password-file", "pw", "--programs", &programs, "--force"]);
    let mut restore = restore.spawn().unwrap();
    until(|| waits("wait_event_type = 'Lock'") == "1");
    // It sends until the pipe is full; more is not needed, less is no other story.
    restore.kill().unwrap();
    restore.wait().unwrap();
    drop(lock.stdin.take());
    lock.wait().unwrap();
    until(|| waits("pid <> pg_backend_pid()") == "0");
    assert_eq!(server.sql("shop", "SELECT count(*) FROM t"), "50001");
}

/// Waits until something is so that a server or another process does.
fn until(is: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "not within a minute");
        #[allow(clippy::disallowed_methods, reason = "another process has to do something")]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn t03_consistency_of_postgres_under_writers() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    server.sql("postgres", "CREATE DATABASE bank");
    server.sql("bank", "CREATE TABLE a (id int PRIMARY KEY, money bigint, pad text); CREATE TABLE b (LIKE a INCLUDING ALL)");
    server.sql("bank", "INSERT INTO a SELECT i, 1000, repeat('x', 300) FROM generate_series(1, 20000) AS i; INSERT INTO b SELECT * FROM a");
    let home = bench(&server, "databases = \"bank\"\nglobals = false\n");
    let client = || {
        let mut psql = server.client("psql");
        psql.args(["-X", "-q", "-d", "bank"]);
        psql
    };
    let writers = Writers::start(4, client, |who, n| {
        let (from, to, money) = (1 + (n * 7919 + who * 31) % 20000, 1 + (n * 104729 + who) % 20000, 1 + n % 9);
        format!(
            "BEGIN; UPDATE a SET money = money - {money} WHERE id = {from}; UPDATE b SET money = money + {money} WHERE id = {to}; COMMIT;\n"
        )
    });
    let moved = || server.sql("bank", "SELECT sum(money) FROM b").parse::<u64>().unwrap();
    while moved() < 20_000_000 + 100 {}
    for round in 0..3 {
        let before = moved();
        home.ends(0, &["run", "db"]);
        assert!(moved() > before, "nobody wrote while it was dumped");
        let name = format!("back{round}");
        ended(0, &into(&home, &server, &name, &[]), &["restore"]);
        let sum = server.sql(&name, "SELECT (SELECT sum(money) FROM a) + (SELECT sum(money) FROM b)");
        assert_eq!(sum, "40000000");
        assert_ne!(server.sql(&name, "SELECT sum(money) FROM b"), "20000000");
    }
    drop(writers);
}

#[test]
fn t12_dedup_of_a_shop_over_seven_days() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start(PASSWORD);
    server.sql("postgres", "CREATE DATABASE shop");
    server.script(
        "shop",
        "CREATE TABLE users (id serial PRIMARY KEY, name text, mail text, seen timestamptz);
         CREATE TABLE orders (id bigserial PRIMARY KEY, who int, what text, net numeric, state text, at timestamptz);
         INSERT INTO users (name, mail, seen) SELECT md5(i::text), md5((i * 3)::text) || '@example.org', timestamptz '2026-01-01 UTC' FROM generate_series(1, 10000) AS i;
         INSERT INTO orders (who, what, net, state, at) SELECT 1 + i % 10000, md5(i::text) || md5((i + 1)::text), i % 977, 'done',
           timestamptz '2025-01-01 UTC' + i * interval '5 minutes' FROM generate_series(1, 90000) AS i;",
    );
    let home = bench(&server, "databases = \"shop\"\nglobals = false\n");
    home.ends(0, &["run", "db"]);
    // Nothing has changed: the same dump, to the byte.
    home.ends(0, &["run", "db"]);
    let dumped = |which: &str| home.ends(0, &["dump", which, "/pg/shop.sql", "--repo", "@r"]);
    assert_eq!(dumped("latest"), dumped("latest~1"));
    let stored = |snapshot: &Value| snapshot["summary"]["data_added"].as_u64().unwrap();
    let unchanged = stored(snapshots(&home).last().unwrap());
    assert!(unchanged < 64 << 10, "{unchanged}");
    for day in 1..=6u64 {
        server.script(
            "shop",
            &format!(
                "UPDATE orders SET state = 'day {day}' WHERE id > (SELECT max(id) - 1000 FROM orders);
                 UPDATE users SET seen = timestamptz '2026-01-01 UTC' + interval '{day} days' WHERE id % 166 = {day};
                 DELETE FROM orders WHERE id % 1100 = {day};
                 INSERT INTO orders (who, what, net, state, at) SELECT 1 + i % 10000, md5((i * {day})::text) || md5((i + {day})::text), i % 977, 'new',
                   timestamptz '2026-01-01 UTC' + interval '{day} days' + i * interval '1 minute' FROM generate_series(1, 900) AS i;"
            ),
        );
        home.ends(0, &["run", "db"]);
        let newest = snapshots(&home).last().unwrap().clone();
        let dump = newest["summary"]["total_bytes_processed"].as_u64().unwrap();
        let share = stored(&newest) as f64 / dump as f64 * 100.0;
        println!("day {day}: {} of {dump} bytes are new, {share:.1} %", stored(&newest));
        assert!(share <= 60.0, "day {day}: {share:.1} % of the dump are new");
    }
    let packs: u64 = files_below(&home.path("repo/data")).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let dump = dumped("latest").len() as u64;
    println!("seven days: {packs} bytes of packs, one dump has {dump}");
    assert!(packs < 2 * dump, "{packs} of {dump}");
}

#[test]
fn t18_secrets_of_postgres_show_nowhere() {
    if !databases_are_wanted() {
        return;
    }
    let server = Postgres::start("planted-pg-secret-1");
    server.script("postgres", SHOP);
    server.sql("shop", "INSERT INTO customers (name) SELECT repeat(md5(i::text), 20) FROM generate_series(1, 50000) AS i");
    let home = bench(&server, "databases = \"shop\"\n");
    // In a URL of the configuration too.
    let file = fs::read_to_string(home.path("seabed.toml")).unwrap();
    let dsn = format!("postgres://postgres:planted-pg-secret-1@{}/shop", server.host().replace('/', "%2F"));
    home.write(
        "seabed.toml",
        &file.replace(&format!("host={} user=postgres", server.host()), &dsn).replace("password_file = \"pw\"\n", ""),
    );
    home.write("tmp/.keep", "");
    let secrets = ["planted-pg-secret-1", REPOSITORY];
    let watch = Watch::start(&secrets);
    let tmp = home.path("tmp");
    let mut said = String::new();
    for args in [&["run", "db"][..], &["run", "db", "--json", "-v"], &["config", "show"], &["logs", "db"], &["runs", "--json"]] {
        said.push_str(&text(&home.command(args).env("TMPDIR", &tmp).output().unwrap()));
    }
    let url = url(&server, "back");
    let programs = server.programs.display().to_string();
    let args = ["restore", "db@latest", "--into", &url, "--into-password-file", "pw", "--programs", &programs, "-v"];
    let out = home.command(&args).env("TMPDIR", &tmp).output().unwrap();
    said.push_str(&text(&out));
    assert_eq!(out.status.code(), Some(0), "{said}");
    home.write("pw", "another-planted-2\n");
    let wrong = home.command(&args).env("TMPDIR", &tmp).output().unwrap();
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    said.push_str(&text(&wrong));
    watch.end();
    for secret in secrets.iter().chain(&["another-planted-2"]) {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    // What stays: nothing in the place for temporary files, nothing in the state, nothing in the repository.
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 1, "something stayed in {}", tmp.display());
    for path in files_below(&home.path("state")).into_iter().chain(files_below(&home.path("repo"))) {
        let bytes = fs::read(&path).unwrap();
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in {}", path.display());
        }
    }
    // Nor in what the snapshot says of its commands.
    let id = snapshots(&home)[0]["id"].as_str().unwrap().to_owned();
    let manifest = home.ends(0, &["cat", "manifest", &id, "--repo", "@r"]);
    assert!(manifest.contains("pg_dump") && !manifest.contains(secrets[0]), "{manifest}");
}
