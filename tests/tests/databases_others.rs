//! SQLite and Redis through `seabed run`: with writers beside them, and what is not whole is nothing.

use crate::cli::Home;
use rusqlite::Connection;
use seabed_tests::dbms::Redis;
use seabed_tests::servers::databases_are_wanted;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn bench(source: &str) -> Home {
    let home = Home::new();
    home.write("repo-pw", "repository-pass-33");
    configure(&home, source);
    home.ends(0, &["init", "--repo", "@r"]);
    home
}

fn configure(home: &Home, source: &str) {
    let text = format!(
        "host = \"h\"\nstate_dir = \"state\"\n[repo.r]\nurl = \"dir:repo\"\nkey = {{ password_file = \"repo-pw\" }}\n\
         [source.s]\n{source}\n[job.db]\nsources = \"s\"\nrepos = \"r\"\n"
    );
    home.write("seabed.toml", &text);
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn t03_sqlite_is_one_moment_beside_a_writer_who_is_not_held_up() {
    for mode in ["WAL", "DELETE"] {
        let home = bench("kind = \"sqlite\"\npaths = \"apps/*.db\"\n");
        fs::create_dir(home.path("apps")).unwrap();
        let path = home.path("apps/bank.db");
        let app = Connection::open(&path).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)";
        app.execute_batch(&format!(
            "PRAGMA journal_mode = {mode}; PRAGMA synchronous = OFF; CREATE TABLE a (id INTEGER PRIMARY KEY, money, pad); CREATE TABLE b (id INTEGER PRIMARY KEY, money, pad);
             {fill} INSERT INTO a SELECT i, 1000, hex(randomblob(100)) FROM n; INSERT INTO b SELECT * FROM a;"
        ))
        .unwrap();
        app.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
        let (stop, longest, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let writer = {
            let (stop, longest, count) = (stop.clone(), longest.clone(), count.clone());
            std::thread::spawn(move || {
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let began = std::time::Instant::now();
                    app.execute_batch(&format!(
                        "BEGIN IMMEDIATE; UPDATE a SET money = money - 1 WHERE id = {}; UPDATE b SET money = money + 1 WHERE id = {}; COMMIT",
                        1 + n * 7919 % 20000,
                        1 + n * 104_729 % 20000
                    ))
                    .unwrap();
                    longest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
                    count.store(n, Ordering::Relaxed);
                }
            })
        };
        while count.load(Ordering::Relaxed) < 50 {}
        for round in 0..3 {
            let before = count.load(Ordering::Relaxed);
            let out = home.run(&["run", "db"]);
            assert_eq!(out.status.code(), Some(0), "{mode}: {}", text(&out));
            assert!(count.load(Ordering::Relaxed) > before, "{mode}: nobody wrote");
            let back = home.path(&format!("back{round}.db"));
            home.ends(0, &["restore", "db@latest", "--into", back.to_str().unwrap()]);
            let back = Connection::open(&back).unwrap();
            let sum: i64 = back.query_row("SELECT (SELECT sum(money) FROM a) + (SELECT sum(money) FROM b)", [], |row| row.get(0)).unwrap();
            assert_eq!(sum, 40_000_000, "{mode}");
            let check: String = back.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(check, "ok");
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        println!("{mode}: the longest of {} transactions took {} ms", count.load(Ordering::Relaxed), longest.load(Ordering::Relaxed));
        assert!(longest.load(Ordering::Relaxed) < 10_000, "a writer was held up");
    }
}

#[test]
fn sqlite_that_is_not_there_or_damaged_is_no_snapshot() {
    let home = bench("kind = \"sqlite\"\npaths = [\"apps/*.db\"]\n");
    let out = home.run(&["run", "db"]);
    assert_eq!(out.status.code(), Some(21), "{}", text(&out));
    home.write("apps/a.db", "this is no database, though it is called one by its name");
    let out = home.run(&["run", "db"]);
    assert_eq!(out.status.code(), Some(21), "{}", text(&out));
    assert!(text(&out).contains("no SQLite database"), "{}", text(&out));
    fs::remove_file(home.path("apps/a.db")).unwrap();
    for name in ["a.db", "b.db"] {
        Connection::open(home.path("apps").join(name)).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    }
    home.write("tmp/.keep", "");
    let out = home.command(&["run", "db"]).env("TMPDIR", home.path("tmp")).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 1);
    let listed = home.ends(0, &["ls", "latest", "--repo", "@r"]);
    let name = format!("/s{}", home.path("apps/b.db").display());
    assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
    // A log of the old database would be played into the new one.
    let target = home.path("apps/b.db");
    fs::write(home.path("apps/b.db-wal"), "x").unwrap();
    let target = target.to_str().unwrap();
    let selector = format!("latest:{name}");
    let out = home.run(&["restore", &selector, "--repo", "@r", "--into", target, "--force"]);
    assert_eq!(out.status.code(), Some(25), "{}", text(&out));
    fs::remove_file(home.path("apps/b.db-wal")).unwrap();
    assert_eq!(home.run(&["restore", &selector, "--repo", "@r", "--into", target]).status.code(), Some(25));
    home.ends(0, &["restore", &selector, "--repo", "@r", "--into", target, "--force"]);
}

fn source(socket: &str) -> String {
    format!("kind = \"redis\"\nsocket = \"{socket}\"\npassword_file = \"pw\"\n")
}

#[test]
fn t01_round_trip_redis_with_and_without_a_disk() {
    if !databases_are_wanted() {
        return;
    }
    for diskless in ["yes", "no"] {
        let settings = format!("repl-diskless-sync {diskless}\nrepl-diskless-sync-delay 0\nenable-debug-command yes");
        let server = Redis::start("redis-pass-7", &settings, None);
        let lines: String = (0..20_000).map(|n| format!("SET key:{n} value-{n}-{}\n", n * 7919)).collect();
        server.ask(&lines);
        server.ask("HSET h a 1 b 2\nZADD z 1 x 2 y\nXADD s * f v\nSADD set a b c\nSELECT 3\nSET other db\nEXPIRE other 100000\n");
        let home = bench(&source(&server.socket()));
        home.write("pw", "redis-pass-7\n");
        let out = home.run(&["run", "db"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        let target = home.path("dump.rdb");
        home.ends(0, &["restore", "db@latest", "--into", target.to_str().unwrap()]);
        let dump = fs::read(&target).unwrap();
        let checked = Command::new("redis-check-rdb").arg(&target).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        let back = Redis::start("other", "enable-debug-command yes", Some(&dump));
        assert_eq!(back.ask("DEBUG DIGEST\n"), server.ask("DEBUG DIGEST\n"));
        assert!(back.ask("DBSIZE\n").ends_with("20004"));
        assert_eq!(back.ask("GET key:777\nHGET h b\n"), server.ask("GET key:777\nHGET h b\n"));
        let out = home.run(&["restore", "db@latest", "--into", "redis://localhost"]);
        assert_eq!(out.status.code(), Some(20), "{}", text(&out));
        // A wrong password, and a server that is not there.
        home.write("pw", "wrong\n");
        let out = home.run(&["run", "db"]);
        assert_eq!(out.status.code(), Some(21), "{}", text(&out));
        assert!(text(&out).contains("WRONGPASS"), "{}", text(&out));
        configure(&home, &source("/no/such/socket"));
        assert_eq!(home.run(&["run", "db"]).status.code(), Some(21));
    }
}

#[test]
fn t02_redis_that_sends_half_or_rubbish_is_no_snapshot() {
    if !databases_are_wanted() {
        return;
    }
    let server = Redis::start("p", "repl-diskless-sync no", None);
    server.ask(&(0..1000).map(|n| format!("SET key:{n} {n}\n")).collect::<String>());
    let home = bench(&source(&server.socket()));
    home.write("pw", "p\n");
    home.ends(0, &["run", "db"]);
    let target = home.path("dump.rdb");
    home.ends(0, &["restore", "db@latest", "--into", target.to_str().unwrap()]);
    let dump = fs::read(&target).unwrap();
    let mut damaged = dump.clone();
    damaged[100] ^= 1;
    let mark = [b'm'; 40];
    let bulk = |length: usize, body: &[u8]| [format!("\n\n${length}\r\n").as_bytes(), body].concat();
    let marked = |body: &[u8]| [b"$EOF:", &mark[..], b"\r\n", body].concat();
    for (what, answer, code) in [
        ("whole", bulk(dump.len(), &dump), 0),
        ("whole, of unknown length", marked(&[&dump[..], &mark[..]].concat()), 0),
        ("cut short", bulk(dump.len(), &dump[..dump.len() - 20]), 21),
        ("cut short and said so", bulk(dump.len() - 20, &dump[..dump.len() - 20]), 21),
        ("without its mark", marked(&dump), 21),
        ("damaged", bulk(damaged.len(), &damaged), 21),
        ("rubbish", bulk(5, b"hello"), 21),
        ("an error", b"-ERR out of memory\r\n".to_vec(), 21),
        ("nothing", Vec::new(), 21),
    ] {
        let socket = home.path("fake");
        fs::remove_file(&socket).unwrap_or(());
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut to, _) = listener.accept().unwrap();
            for reply in [
                "+OK\r\n",
                "-ERR Unrecognized REPLCONF option: rdb-only\r\n",
                "+OK\r\n",
                "+FULLRESYNC 0123456789012345678901234567890123456789 0\r\n",
            ] {
                let mut asked = [0; 4096];
                let got = to.read(&mut asked).unwrap();
                assert!(asked[..got].starts_with(b"*"));
                to.write_all(reply.as_bytes()).unwrap();
            }
            // Whoever has heard enough hangs up.
            to.write_all(&answer).unwrap_or(());
        });
        configure(&home, &source(socket.to_str().unwrap()));
        let out = home.run(&["run", "db"]);
        server.join().unwrap();
        assert_eq!(out.status.code(), Some(code), "{what}: {}", text(&out));
    }
}
