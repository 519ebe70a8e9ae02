//! The configurations in `examples/`, as they stand there, from backup to restore: against a MariaDB, a PostgreSQL and an S3 server. Only where these
//! are is said by variables, as a user says it.

use crate::cli::{Home, ended};
use seabed_tests::dbms::{Mariadb, Postgres};
use seabed_tests::s3_server::{ACCESS_KEY, Operation, S3Server, SECRET_KEY};
use seabed_tests::servers::databases_are_wanted;
use std::fs;
use std::path::{Path, PathBuf};

/// An example, and the variables of the machine that it is for.
struct Example {
    home: Home,
    config: PathBuf,
    variables: Vec<(String, String)>,
}

impl Example {
    fn new(name: &str) -> Self {
        let home = Home::new();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join("seabed.toml").canonicalize().unwrap();
        home.write("passphrase", "a long passphrase of the repositories\n");
        let mut example = Example { home, config, variables: Vec::new() };
        let state = example.home.path("state").display().to_string();
        example.set(&[("SEABED_STATE_DIR", &state), ("AWS_EC2_METADATA_DISABLED", "true"), ("SEABED_HOST", "web1")]);
        example
    }

    fn set(&mut self, variables: &[(&str, &str)]) {
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }

    fn bucket(&mut self, server: &S3Server, name: &str) {
        self.set(&[
            (name, "bucket"),
            ("AWS_ENDPOINT", &server.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]);
    }

    fn ends(&self, code: i32, args: &[&str]) -> String {
        let mut command = self.home.command(&[]);
        command.arg("--config").arg(&self.config).args(args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        ended(code, &command.output().unwrap(), args)
    }

    /// Checks it, makes its repositories, runs a job twice, and looks at what is there.
    fn runs(&self, job: &str, repos: &[&str]) {
        self.ends(0, &["config", "check"]);
        repos.iter().for_each(|repo| drop(self.ends(0, &["init", "--repo", &format!("@{repo}")])));
        self.ends(0, &["run", job, "--verify"]);
        self.ends(0, &["run", job]);
        let status = self.ends(0, &["status", job]);
        assert!(!status.contains("missing") && status.contains("good"), "{status}");
        assert!(self.ends(0, &["recover-plan"]).contains(&format!("seabed restore {job}@latest")));
    }
}

const SHOP: &str = "CREATE DATABASE shop; USE shop; CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, note TEXT);\
    INSERT INTO orders (note) SELECT CONCAT('order ', seq) FROM seq_1_to_5000; CREATE VIEW big AS SELECT * FROM orders WHERE id > 4000;\
    CREATE USER clerk@localhost IDENTIFIED BY 'clerk-9'; GRANT SELECT ON shop.* TO clerk@localhost;";

/// Where the example looks for its database.
fn database(example: &mut Example, server: &Mariadb, source: &str) {
    example.set(&[
        ("DB_HOST", "localhost"),
        ("DB_USERNAME", "root"),
        ("DB_PASSWORD", &server.password),
        ("DB_DATABASE", "shop"),
        (&format!("SEABED_SOURCE__{source}__SOCKET"), &server.socket()),
    ]);
}

/// The database comes back as it was.
fn comes_back(example: &Example, server: &Mariadb, job: &str, more: &[&str]) {
    let before = server.dump("shop");
    server.sql("DROP DATABASE shop; CREATE DATABASE shop");
    example.home.write("db-password", &server.password);
    let (url, password) = (format!("mariadb://root@/shop?socket={}", server.socket()), example.home.path("db-password"));
    let (selector, password) = (format!("{job}@latest"), password.display().to_string());
    example.ends(0, &[&["restore", &selector, "--into", &url, "--into-password-file", &password, "--no-hooks"], more].concat());
    assert_eq!(server.dump("shop"), before);
}

#[test]
fn example_000_laravel_database() {
    if !databases_are_wanted() {
        return;
    }
    let (server, store) = (Mariadb::start("laravel-pass-0"), S3Server::start());
    server.script(SHOP);
    let mut example = Example::new("000-laravel-database");
    example.home.write(".env", "# Laravel's own\nBACKUP_PASSWORD=\"a long passphrase\"\n");
    let env = example.home.path(".env").display().to_string();
    example.set(&[("ENV_FILE", &env)]);
    database(&mut example, &server, "DB");
    example.bucket(&store, "AWS_BACKUP_BUCKET");
    example.runs("db", &["s3"]);
    assert!(store.objects().keys().any(|key| key.starts_with("shoemoney/snapshots/")));
    comes_back(&example, &server, "db", &[]);
    // A developer's machine.
    let dir = example.home.path("backups").display().to_string();
    example.set(&[("BACKUP_DISK", "local"), ("BACKUP_DIR", &dir)]);
    example.runs("db", &["local"]);
}

#[test]
fn example_001_laravel_application() {
    if !databases_are_wanted() {
        return;
    }
    let (server, store) = (Mariadb::start("laravel-pass-1"), S3Server::start());
    server.script(SHOP);
    let mut example = Example::new("001-laravel-application");
    example.home.write(".env", "APP_KEY=x\n");
    example.home.write("app/storage/app/a.pdf", "a document\n");
    example.home.write("app/storage/framework/views/x.php", "made anew\n");
    example.home.write("app/.env", "DB_PASSWORD=secret\n");
    let path = |name: &str| example.home.path(name).display().to_string();
    let (env, app, dir, key, post) = (path(".env"), path("app"), path("backup"), path("passphrase"), format!("touch {}", path("posted")));
    example.set(&[("ENV_FILE", &env), ("APP_DIR", &app), ("BACKUP_DIR", &dir), ("BACKUP_PASSWORD_FILE", &key), ("RESTORE_POST", &post)]);
    database(&mut example, &server, "DB");
    example.bucket(&store, "AWS_BACKUP_BUCKET");
    example.runs("app", &["local", "s3"]);
    example.ends(0, &["run", "db"]);
    comes_back(&example, &server, "app", &["--source", "db"]);
    // The bucket alone is enough, and what follows a restore is done.
    fs::remove_dir_all(&dir).unwrap();
    example.ends(0, &["restore", "app@latest", "--source", "files", "--target", "back", "--no-privileged"]);
    let below = |name: &str| example.home.path("back").join(app.trim_start_matches('/')).join(name);
    assert_eq!(fs::read_to_string(below("storage/app/a.pdf")).unwrap(), "a document\n");
    assert!(!below(".env").exists() && !below("storage/framework/views").exists() && example.home.path("posted").exists());
}

#[test]
fn example_002_containers() {
    if !databases_are_wanted() {
        return;
    }
    let (server, store) = (Mariadb::start("laravel-pass-2"), S3Server::start());
    server.script(SHOP);
    let mut example = Example::new("002-containers");
    example.home.write("www/storage/app/upload.bin", "an upload\n");
    example.home.write("www/storage/logs/laravel.log", "a line\n");
    example.home.write("www/index.php", "<?php\n");
    example.home.write("db-password", &server.password);
    let path = |name: &str| example.home.path(name).display().to_string();
    let (app, dir, key, password, log) = (path("www"), path("backup"), path("passphrase"), path("db-password"), path("log"));
    let (down, up) = (format!("echo down >> {log}"), format!("echo up >> {log}"));
    example.set(&[("APP_DIR", &app), ("BACKUP_LOCAL", &dir), ("BACKUP_KEY_FILE", &key), ("DB_PASSWORD_FILE", &password)]);
    example.set(&[
        ("QUIESCE", &down),
        ("RESUME", &up),
        ("VALIDATE", "test -n \"$SEABED_SNAPSHOTS\""),
        ("BACKUP_STORAGE_CLASS", "STANDARD"),
    ]);
    database(&mut example, &server, "MYSQL");
    example.bucket(&store, "BACKUP_S3_BUCKET");
    example.runs("full", &["s3", "local"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "down\nup\ndown\nup\n");
    // The database alone out of the full backup, with the users of a server that has none of them any more.
    let before = server.dump("shop");
    server.sql("DROP DATABASE shop; DROP USER clerk@localhost");
    let url = format!("mariadb://root@/?socket={}", server.socket());
    example.ends(
        0,
        &["restore", "full@latest", "--source", "mysql", "--into", &url, "--into-password-file", &password, "--globals", "--no-hooks"],
    );
    assert_eq!(server.dump("shop"), before);
    assert!(server.sql("SHOW GRANTS FOR clerk@localhost").contains("`shop`.*"));
    // The application stops for a restore, too.
    example.ends(0, &["restore", "full@latest", "--source", "storage", "--target", "back", "--no-privileged"]);
    assert!(fs::read_to_string(&log).unwrap().ends_with("down\nup\ndown\nup\ndown\nup\n"));
    let upload = example.home.path("back").join(app.trim_start_matches('/')).join("storage/app/upload.bin");
    assert_eq!(fs::read_to_string(upload).unwrap(), "an upload\n");
}

#[test]
fn example_003_postgres_and_minio() {
    if !databases_are_wanted() {
        return;
    }
    let (server, store) = (Postgres::start("minio-pass-3"), S3Server::start());
    server.sql("postgres", "CREATE DATABASE schedgen");
    server.script("schedgen", "CREATE TABLE plans (id serial PRIMARY KEY, note text); INSERT INTO plans (note) SELECT 'plan ' || i FROM generate_series(1, 5000) i;");
    for n in 0..20 {
        store.put_with(&format!("2026/plan-{n}.pdf"), format!("%PDF-1.7 number {n}"), &[("content-type", "application/pdf")]);
    }
    let mut example = Example::new("003-postgres-and-minio");
    example.home.write("pg-password", &server.password);
    let path = |name: &str| example.home.path(name).display().to_string();
    let (key, password, repository) = (path("passphrase"), path("pg-password"), format!("dir:{}", path("backup")));
    example.set(&[("BACKUP_REPOSITORY", &repository), ("BACKUP_KEY_FILE", &key), ("PG_PASSWORD_FILE", &password)]);
    example.set(&[("PGHOST", server.host()), ("PGUSER", "postgres"), ("MINIO_BUCKET", "bucket"), ("MINIO_ENDPOINT", &store.endpoint())]);
    example.set(&[("MINIO_ROOT_USER", ACCESS_KEY), ("MINIO_ROOT_PASSWORD", SECRET_KEY)]);
    example.runs("nightly", &["offsite"]);
    // What did not change is not read again: both runs together read each document once.
    let reads = store.log_of(Operation::GetObject).iter().filter(|logged| logged.key.contains("plan-")).count();
    assert_eq!(reads, 20);
    let before = server.dump("schedgen");
    server.sql("postgres", "DROP DATABASE schedgen");
    server.sql("postgres", "CREATE DATABASE schedgen");
    let url = format!("postgres://postgres@{}/schedgen", server.host().replace('/', "%2F"));
    let programs = server.programs.display().to_string();
    example.ends(0, &["restore", "nightly@latest", "--into", &url, "--into-password-file", &password, "--programs", &programs]);
    assert_eq!(server.dump("schedgen"), before);
    store.remove_object("2026/plan-3.pdf");
    let changes = example.ends(0, &["restore", "nightly@latest", "--into", "s3://bucket", "--diff"]);
    assert!(changes.contains("+ 2026/plan-3.pdf") && !changes.contains("plan-4"), "{changes}");
    example.ends(0, &["restore", "nightly@latest", "--into", "s3://bucket"]);
    assert_eq!(store.object("2026/plan-3.pdf").unwrap(), "%PDF-1.7 number 3");
}
