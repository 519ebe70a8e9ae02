//! MariaDB through `seabed run` and `seabed restore`, with a real server.

use crate::cli::{Home, ended};
use seabed_tests::dbms::{Mariadb, Watch, Writers, program};
use seabed_tests::servers::databases_are_wanted;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

const PASSWORD: &str = "my-pass#w\"ord 88";
const REPOSITORY: &str = "repository-pass-32";

fn bench(server: &Mariadb, source: &str) -> Home {
    let home = Home::new();
    home.write("pw", &format!("{}\n", server.password));
    home.write("repo-pw", REPOSITORY);
    configure(&home, server, source);
    home.ends(0, &["init", "--repo", "@r"]);
    home
}

fn configure(home: &Home, server: &Mariadb, source: &str) {
    let text = format!(
        "host = \"h\"\nstate_dir = \"state\"\n[repo.r]\nurl = \"dir:repo\"\nkey = {{ password_file = \"repo-pw\" }}\n\
         [source.my]\nkind = \"mariadb\"\nsocket = \"{}\"\nuser = \"root\"\npassword_file = \"pw\"\n{source}\n\
         [job.db]\nsources = \"my\"\nrepos = \"r\"\n",
        server.socket(),
    );
    home.write("seabed.toml", &text);
}

fn into(home: &Home, server: &Mariadb, database: &str, more: &[&str]) -> Output {
    let url = format!("mariadb://root@/{database}?socket={}", server.socket());
    let mut args = vec!["restore", "db@latest", "--into", &url, "--into-password-file", "pw"];
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
CREATE USER clerk@localhost IDENTIFIED BY 'clerk-pass-2'; CREATE ROLE readers; GRANT readers TO clerk@localhost;
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
GRANT SELECT, UPDATE ON shop.* TO clerk@localhost;
USE shop;
CREATE TABLE customers (id int AUTO_INCREMENT PRIMARY KEY, name varchar(100) NOT NULL, picture varbinary(100), doc json, mood enum('sad','ok') DEFAULT 'ok',
  flags bit(3) DEFAULT b'101', place point, born date, UNIQUE (name)) ENGINE=InnoDB COMMENT 'it''s; -- a \'comment\'';
INSERT INTO customers (name, picture, doc, place, born) SELECT CONCAT('Größe 🐚 ', seq, '\t\\\n''"'), UNHEX(MD5(seq)), JSON_OBJECT('n', seq), POINT(seq, -seq),
  '1970-01-01' + INTERVAL seq DAY FROM seq_1_to_2000;
CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, net decimal(12,2) NOT NULL, gross decimal(12,2) AS (net * 1.19) STORED,
  at timestamp(6) NOT NULL DEFAULT current_timestamp(6), INDEX (net, at), FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE, CHECK (net >= 0));
INSERT INTO orders (customer, net, at) SELECT 1 + seq % 2000, seq / 7.0, '2026-01-01 00:00:00' + INTERVAL seq MINUTE FROM seq_1_to_5000;
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (YEAR(at)) (PARTITION old VALUES LESS THAN (2020), PARTITION new VALUES LESS THAN MAXVALUE);
INSERT INTO events SELECT '2010-01-01' + INTERVAL seq * 7 DAY, CONCAT('event ', seq) FROM seq_1_to_1000;
CREATE TABLE files (id int PRIMARY KEY, body longblob); INSERT INTO files VALUES (1, REPEAT(UNHEX('00ff0a0d1a5c27'), 300000)), (2, NULL), (3, '');
CREATE TABLE versioned (a int) WITH SYSTEM VERSIONING;
CREATE TABLE `odd ``name` (`a b` int, `sel'ect` text); INSERT INTO `odd ``name` VALUES (1, '\n-- Current Database: `evil`\nUSE evil;\n');
CREATE VIEW big AS SELECT customer, SUM(gross) AS gross FROM orders GROUP BY customer HAVING SUM(gross) > 100;
CREATE VIEW bigger AS SELECT * FROM big WHERE gross > 1000;
CREATE SEQUENCE loose START WITH 7; DO NEXTVAL(loose);
DELIMITER ;;
CREATE TRIGGER touched BEFORE INSERT ON customers FOR EACH ROW BEGIN
-- Current Database: `evil`
SET NEW.name = CONCAT(NEW.name, ''); END ;;
CREATE FUNCTION twice(a int) RETURNS int DETERMINISTIC BEGIN DECLARE s text DEFAULT 'it''s; "'; RETURN a * 2; END ;;
CREATE PROCEDURE nothing() SQL SECURITY INVOKER BEGIN SELECT 1; END ;;
DELIMITER ;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO DELETE FROM events WHERE at < '1990-01-01';
"#;

/// A number for each table's content, of its rows column by column: `CHECKSUM TABLE` was another one once for a table that was restored alone, and
/// nobody knows yet why.
fn contents(server: &Mariadb, database: &str) -> Vec<String> {
    let tables = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}' AND table_type = 'BASE TABLE' ORDER BY 1"
    );
    let sum = |table: &str| {
        let columns = format!(
            "SELECT GROUP_CONCAT(CONCAT('HEX(`', REPLACE(column_name, '`', '``'), '`)')) FROM information_schema.columns \
             WHERE table_schema = '{database}' AND table_name = '{table}'"
        );
        let columns = server.sql(&columns);
        server.sql(&format!("SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', {columns}))) FROM `{database}`.`{}`", table.replace('`', "``")))
    };
    server.sql(&tables).lines().map(|table| format!("{table} {}", sum(table))).collect()
}

#[test]
fn t01_round_trip_mariadb() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    server.script(SHOP);
    server.script("CREATE DATABASE `-x /y``` ; USE `-x /y```; CREATE TABLE t (a int); INSERT INTO t VALUES (5);");
    let (schema, rows) = (server.dump("shop"), contents(&server, "shop"));
    assert!(rows.len() >= 5, "{rows:?}");
    let home = bench(&server, "");
    let out = home.run(&["run", "db"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    // Under another name, then over what is there, then where nothing is left.
    let out = into(&home, &server, "second", &["--database", "shop"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert_eq!((server.dump("second"), contents(&server, "second")), (schema.clone(), rows.clone()));
    let collation = "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = 'second'";
    assert_eq!(server.sql(collation), "utf8mb4_unicode_ci");
    let out = into(&home, &server, "shop", &[]);
    assert_eq!(out.status.code(), Some(25), "{}", text(&out));
    server.sql(
        "DELETE FROM shop.orders; CREATE TABLE shop.more (a int); DROP PROCEDURE shop.nothing; CREATE PROCEDURE shop.other() SELECT 1",
    );
    let out = into(&home, &server, "shop", &["--force"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert_eq!((server.dump("shop"), contents(&server, "shop")), (schema.clone(), rows.clone()));
    server.sql("DROP DATABASE shop; DROP DATABASE `-x /y```; DROP USER clerk@localhost; DROP ROLE readers");
    let out = into(&home, &server, "", &["--globals"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert_eq!((server.dump("shop"), contents(&server, "shop")), (schema, rows));
    assert_eq!(server.sql("SELECT a FROM `-x /y```.t"), "5");
    assert!(server.sql("SHOW GRANTS FOR clerk@localhost").contains("GRANT SELECT, UPDATE ON `shop`.*"));
    assert!(server.sql("SHOW GRANTS FOR clerk@localhost").contains("readers"));
}

#[test]
fn a_table_comes_alone() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    server.script(SHOP);
    let home = bench(&server, "databases = \"shop\"\n");
    home.ends(0, &["run", "db"]);
    let out = into(&home, &server, "only", &["--database", "shop", "--table", "orders", "--table", "odd `name"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert_eq!(server.sql("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'only'"), "2");
    let rows = |database: &str| contents(&server, database).into_iter().filter(|line| line.starts_with("orders ")).collect::<Vec<_>>();
    assert_eq!(rows("only"), rows("shop"));
    let out = into(&home, &server, "only", &["--database", "shop", "--table", "orders"]);
    assert_eq!(out.status.code(), Some(25), "{}", text(&out));
    let out = into(&home, &server, "none", &["--database", "shop", "--table", "nothing"]);
    assert_eq!(out.status.code(), Some(20), "{}", text(&out));
    assert_eq!(server.sql("SHOW DATABASES LIKE 'none'"), "");
}

fn wrapped(home: &Home, script: &str) -> String {
    let dir = home.path("programs");
    fs::create_dir_all(&dir).unwrap();
    let client = dir.join("mariadb");
    if !client.exists() {
        std::os::unix::fs::symlink(program("mariadb", &[], "mariadb-client"), client).unwrap();
    }
    let real = program("mariadb-dump", &[], "mariadb-client").display().to_string();
    let head = format!("#!/bin/bash\ncase \"$*\" in *--version*) exec {real} \"$@\";; esac\nreal={real}\n");
    fs::write(dir.join("mariadb-dump"), format!("{head}{script}\n")).unwrap();
    fs::set_permissions(dir.join("mariadb-dump"), fs::Permissions::from_mode(0o755)).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn t02_dump_dies_and_there_is_no_snapshot_of_mariadb() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t AS SELECT seq AS i, MD5(seq) AS a FROM seq_1_to_100000");
    let source = "databases = \"shop\"\nglobals = false\n";
    let home = bench(&server, source);
    home.ends(0, &["run", "db"]);
    let before = snapshots(&home);
    let kill = format!(
        "set -o pipefail; \"$real\" \"$@\" | {{ head -c 100000; MYSQL_PWD='{PASSWORD}' mariadb --no-defaults -uroot -S {} -N -e \"SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE info LIKE '%FROM \\`t\\`%' AND id <> CONNECTION_ID()\" | MYSQL_PWD='{PASSWORD}' mariadb --no-defaults -uroot -S {}; cat; }}",
        server.socket(),
        server.socket()
    );
    for (script, words) in [
        ("\"$real\" \"$@\" | head -c 100000; kill -9 $$", "signal 9"),
        (kill.as_str(), "exit status"),
        ("\"$real\" \"$@\" > /dev/full", "exit status"),
        ("\"$real\" \"$@\" | head -c 100000; exit 0", "end marker"),
        ("\"$real\" \"$@\" | head -n -1; exit 0", "end marker"),
        ("exit 0", "is empty"),
    ] {
        let programs = wrapped(&home, script);
        configure(&home, &server, &format!("{source}programs = \"{programs}\"\n"));
        let out = home.run(&["run", "db"]);
        assert_eq!(out.status.code(), Some(21), "{script}: {}", text(&out));
        assert!(text(&out).contains(words), "{script}: {}", text(&out));
    }
    for (source, password, words) in [
        ("databases = [\"shop\", \"gone\"]\n", PASSWORD, "there is no database `gone`"),
        ("databases = \"shop\"\n", "wrong", "Access denied"),
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
fn tables_without_transactions_are_warned_of() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.log (a int) ENGINE=MyISAM; CREATE TABLE shop.good (a int)");
    let home = bench(&server, "databases = \"shop\"\n");
    let out = home.run(&["run", "db"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert!(text(&out).contains("MyISAM: shop.log") && !text(&out).contains("shop.good"), "{}", text(&out));
    let reach = |extra: &str| format!("databases = \"shop\"\ndefaults_file = \"my.cnf\"\n{extra}");
    // A file of the user's own, instead of a password.
    home.write("my.cnf", &format!("[client]\npassword=\"{}\"\n", PASSWORD.replace('"', "\\\"")));
    fs::set_permissions(home.path("my.cnf"), fs::Permissions::from_mode(0o644)).unwrap();
    configure(&home, &server, &reach(""));
    let file = fs::read_to_string(home.path("seabed.toml")).unwrap();
    home.write("seabed.toml", &file.replace("password_file = \"pw\"\n", ""));
    let out = home.run(&["run", "db"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert!(text(&out).contains("chmod 600"), "{}", text(&out));
}

#[test]
fn what_is_damaged_leaves_no_half_database() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t AS SELECT seq AS i, MD5(seq) AS a, MD5(seq * 7) AS b FROM seq_1_to_200000");
    let home = bench(&server, "databases = \"shop\"\nglobals = false\n");
    home.ends(0, &["run", "db"]);
    let pack = walk(&home.path("repo/data")).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.len() * 8 / 10;
    bytes[at..at + 1000].fill(0x55);
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();
    let out = into(&home, &server, "fresh", &[]);
    assert_eq!(out.status.code(), Some(23), "{}", text(&out));
    assert_eq!(server.sql("SHOW DATABASES LIKE 'fresh'"), "");
    let out = into(&home, &server, "shop", &["--force"]);
    assert_eq!(out.status.code(), Some(23), "{}", text(&out));
    assert_eq!(server.sql("SELECT COUNT(*) FROM shop.t"), "200000", "what is there stays until all was read");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn t03_consistency_of_mariadb_over_two_databases() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    for database in ["bank_a", "bank_b"] {
        server.sql(&format!(
            "CREATE DATABASE {database}; CREATE TABLE {database}.t (id int PRIMARY KEY, money bigint, pad text); \
             INSERT INTO {database}.t SELECT seq, 1000, REPEAT('x', 300) FROM seq_1_to_20000"
        ));
    }
    let home = bench(&server, "globals = false\n");
    let writers = Writers::start(
        4,
        || server.client("mariadb"),
        |who, n| {
            let (from, to, money) = (1 + (n * 7919 + who * 31) % 20000, 1 + (n * 104729 + who) % 20000, 1 + n % 9);
            format!(
                "BEGIN; UPDATE bank_a.t SET money = money - {money} WHERE id = {from}; UPDATE bank_b.t SET money = money + {money} WHERE id = {to}; COMMIT;\n"
            )
        },
    );
    let moved = || server.sql("SELECT SUM(money) FROM bank_b.t").parse::<u64>().unwrap();
    while moved() < 20_000_000 + 100 {}
    for round in 0..3 {
        let before = moved();
        home.ends(0, &["run", "db"]);
        assert!(moved() > before, "nobody wrote while it was dumped");
        for database in ["a", "b"] {
            ended(0, &into(&home, &server, &format!("back{round}_{database}"), &["--database", &format!("bank_{database}")]), &["restore"]);
        }
        let sum = server.sql(&format!("SELECT (SELECT SUM(money) FROM back{round}_a.t) + (SELECT SUM(money) FROM back{round}_b.t)"));
        assert_eq!(sum, "40000000");
        assert_ne!(server.sql(&format!("SELECT SUM(money) FROM back{round}_b.t")), "20000000");
    }
    drop(writers);
}

#[test]
fn t12_dedup_of_mariadb_over_days() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start(PASSWORD);
    server.script(
        "CREATE DATABASE shop; USE shop;
         CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, name text, mail text, seen datetime);
         CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, who int, what text, net int, state text, at datetime);
         INSERT INTO users (name, mail, seen) SELECT MD5(seq), CONCAT(MD5(seq * 3), '@example.org'), '2026-01-01' FROM seq_1_to_10000;
         INSERT INTO orders (who, what, net, state, at) SELECT 1 + seq % 10000, CONCAT(MD5(seq), MD5(seq + 1)), seq % 977, 'done',
           '2025-01-01' + INTERVAL seq * 5 MINUTE FROM seq_1_to_90000;",
    );
    let home = bench(&server, "databases = \"shop\"\nglobals = false\n");
    home.ends(0, &["run", "db"]);
    home.ends(0, &["run", "db"]);
    let dumped = |which: &str| home.ends(0, &["dump", which, "/my/shop.sql", "--repo", "@r"]);
    assert_eq!(dumped("latest"), dumped("latest~1"));
    for day in 1..=6u64 {
        server.script(&format!(
            "USE shop; UPDATE orders SET state = 'day {day}' ORDER BY id DESC LIMIT 1000;
             UPDATE users SET seen = '2026-01-01' + INTERVAL {day} DAY WHERE id % 166 = {day};
             DELETE FROM orders WHERE id % 1100 = {day};
             INSERT INTO orders (who, what, net, state, at) SELECT 1 + seq % 10000, CONCAT(MD5(seq * {day}), MD5(seq + {day})), seq % 977, 'new',
               '2026-01-01' + INTERVAL {day} * 1440 + seq MINUTE FROM seq_1_to_900;"
        ));
        home.ends(0, &["run", "db"]);
        let newest = snapshots(&home).last().unwrap().clone();
        let (added, dump) = (&newest["summary"]["data_added"], &newest["summary"]["total_bytes_processed"]);
        let share = added.as_u64().unwrap() as f64 / dump.as_u64().unwrap() as f64 * 100.0;
        println!("day {day}: {added} of {dump} bytes are new, {share:.1} %");
        assert!(share <= 60.0, "day {day}: {share:.1} % of the dump are new");
    }
}

#[test]
fn t18_secrets_of_mariadb_show_nowhere() {
    if !databases_are_wanted() {
        return;
    }
    let server = Mariadb::start("planted-my-secret-1");
    server.script(SHOP);
    server.sql("INSERT INTO shop.files SELECT seq + 10, REPEAT(MD5(seq), 20) FROM seq_1_to_50000");
    let home = bench(&server, "");
    home.write("tmp/.keep", "");
    // A file that would win over ours, if the client were left to look for one.
    home.write(".my.cnf", "[client]\npassword=wrong\nuser=nobody\n");
    let secrets = ["planted-my-secret-1", REPOSITORY];
    let watch = Watch::start(&secrets);
    let tmp = home.path("tmp");
    let mut said = String::new();
    for args in [&["run", "db"][..], &["run", "db", "--json", "-v"], &["config", "show"], &["logs", "db"]] {
        let out = home.command(args).env("TMPDIR", &tmp).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        said.push_str(&text(&out));
    }
    let url = format!("mariadb://root@/back?socket={}", server.socket());
    let args = ["restore", "db@latest", "--into", &url, "--database", "shop", "--into-password-file", "pw", "-v"];
    let out = home.command(&args).env("TMPDIR", &tmp).output().unwrap();
    said.push_str(&text(&out));
    assert_eq!(out.status.code(), Some(0), "{said}");
    watch.end();
    for secret in secrets {
        assert!(!said.contains(secret), "{secret}: {said}");
        for path in walk(&home.path("state")).into_iter().chain(walk(&home.path("repo"))) {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in {}", path.display());
        }
    }
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 1, "something stayed in {}", tmp.display());
}
