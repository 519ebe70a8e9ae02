//! Private database servers of Debian's packages, each started for one test below a directory of its own, reached by a socket in it.
//! It must never skip, nor touch a server of the machine. None outlives its test, nor the process that runs the tests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(90);

/// Marks clients of the tests themselves, which may have a password in their environment.
const OWN: &str = "SEABED_TEST_OWN";

/// Whether the tests run as root, whom PostgreSQL refuses.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of a server: it must be there.
pub fn program(name: &str, places: &[&str], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = places.iter().map(PathBuf::from).chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: apt-get install {package}"))
}

/// The newest directory of PostgreSQL's programs.
fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))).max();
    newest.unwrap_or_else(|| panic!("PostgreSQL is not installed: apt-get install postgresql")).1
}

/// A command that ends with this process, as another user where that is wanted.
fn tied(user: Option<&str>) -> Command {
    let mut command = Command::new(program("setpriv", &[], "util-linux"));
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    command.arg("--").stdin(Stdio::null());
    command
}

fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

/// Waits until a server answers, and says what it wrote where it does not.
fn until(what: &str, log: &Path, child: &mut Child, mut answers: impl FnMut() -> bool) {
    let began = Instant::now();
    while !answers() {
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(matches!(child.try_wait(), Ok(None)), "{what} ended: {}", log());
        assert!(began.elapsed() < PATIENCE, "{what} does not answer: {}", log());
        #[allow(clippy::disallowed_methods, reason = "another process has to start")]
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Stops a server, whatever it is doing.
fn stop(child: &mut Child) {
    child.kill().unwrap_or(());
    child.wait().map(|_| ()).unwrap_or(());
}

/// A PostgreSQL server with passwords.
pub struct Postgres {
    /// Where its socket is.
    pub dir: TempDir,
    /// Its programs.
    pub programs: PathBuf,
    /// The password of `postgres`.
    pub password: String,
    child: Child,
}

impl Postgres {
    /// Starts one.
    pub fn start(password: &str) -> Self {
        let dir = TempDir::with_prefix("pg").unwrap();
        let programs = postgres_programs();
        let user = is_root().then_some("postgres");
        std::fs::write(dir.path().join("pw"), format!("{password}\n")).unwrap();
        if user.is_some() {
            ok(Command::new("chown").arg("-R").arg("postgres:").arg(dir.path()));
        }
        let data = dir.path().join("data");
        let mut init = tied(user);
        init.arg(programs.join("initdb")).args(["-N", "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]);
        ok(init.arg("--pwfile").arg(dir.path().join("pw")).arg("-D").arg(&data).current_dir("/"));
        let log = dir.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut server = tied(user);
        server.arg(programs.join("postgres")).arg("-D").arg(&data).arg("-k").arg(dir.path()).current_dir("/");
        // Nothing here must survive a power cut.
        for setting in
            ["listen_addresses=", "fsync=off", "synchronous_commit=off", "shared_buffers=32MB", "dynamic_shared_memory_type=mmap"]
        {
            server.args(["-c", setting]);
        }
        let mut child = server.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let ready = programs.join("pg_isready");
        until("PostgreSQL", &log, &mut child, || {
            Command::new(&ready).arg("-q").arg("-h").arg(dir.path()).status().is_ok_and(|status| status.success())
        });
        Postgres { dir, programs, password: password.to_owned(), child }
    }

    /// The host, as clients have it.
    pub fn host(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// A client of it.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env("PGHOST", self.host()).env("PGUSER", "postgres").env("PGPASSWORD", &self.password).env(OWN, "1").stdin(Stdio::null());
        command
    }

    /// Runs SQL; what it answers, without headings.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        let output = ok(psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs a script.
    pub fn script(&self, database: &str, sql: &str) {
        let file = self.dir.path().join("script.sql");
        std::fs::write(&file, sql).unwrap();
        let mut psql = self.client("psql");
        ok(psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"]).arg(file));
    }

    /// What `pg_dump` says of a database, the same for the same.
    pub fn dump(&self, database: &str) -> String {
        let mut dump = self.client("pg_dump");
        let text = String::from_utf8(ok(dump.args(["-d", database])).stdout).unwrap();
        // But for a key that is made up each time.
        text.lines().filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ")).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A MariaDB server with a password.
pub struct Mariadb {
    /// Where its socket is.
    pub dir: TempDir,
    /// The password of `root`.
    pub password: String,
    child: Child,
}

impl Mariadb {
    /// Starts one.
    pub fn start(password: &str) -> Self {
        let dir = TempDir::with_prefix("my").unwrap();
        let data = dir.path().join("data");
        let mut install = Command::new(program("mariadb-install-db", &[], "mariadb-server"));
        // A server that starts removes what it takes for its own leftovers where temporary tables lie: those of the others, in a place for all.
        install.env("TMPDIR", dir.path());
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-flush-method=nosync"]);
        if is_root() {
            install.arg("--user=root");
        }
        ok(install.arg(format!("--datadir={}", data.display())));
        let log = dir.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut server = tied(None);
        server.env("TMPDIR", dir.path());
        server.arg(program("mariadbd", &["/usr/sbin"], "mariadb-server")).arg("--no-defaults");
        if is_root() {
            server.arg("--user=root");
        }
        let word = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        server.arg(word("datadir", data)).arg(word("socket", dir.path().join("s"))).arg(word("pid-file", dir.path().join("pid")));
        server.args(["--skip-networking", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--event-scheduler=ON"]);
        let mut child = server.args(["--character-set-server=utf8mb4"]).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let socket = dir.path().join("s");
        let admin = program("mariadb-admin", &[], "mariadb-client");
        until("MariaDB", &log, &mut child, || {
            let mut ping = Command::new(&admin);
            ping.args(["--no-defaults", "--user=root", "ping"]).arg(format!("--socket={}", socket.display()));
            ping.output().is_ok_and(|output| output.status.success())
        });
        let mut server = Mariadb { dir, password: String::new(), child };
        server.sql(&format!("ALTER USER root@localhost IDENTIFIED BY '{password}'"));
        server.password = password.to_owned();
        server
    }

    /// Its socket.
    pub fn socket(&self) -> String {
        self.dir.path().join("s").to_str().unwrap().to_owned()
    }

    /// A client of it.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(program(name, &[], "mariadb-client"));
        command.arg("--no-defaults").arg(format!("--socket={}", self.socket())).arg("--user=root").env("MYSQL_PWD", &self.password);
        command.env(OWN, "1").arg("--default-character-set=utf8mb4").stdin(Stdio::null());
        command
    }

    /// Runs SQL; what it answers, without headings.
    pub fn sql(&self, sql: &str) -> String {
        // Tables of numbers want some database.
        let output = ok(self.client("mariadb").args(["--batch", "--skip-column-names", "--database=mysql", "-e", sql]));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs a script, which may say DELIMITER.
    pub fn script(&self, sql: &str) {
        let file = self.dir.path().join("script.sql");
        std::fs::write(&file, sql).unwrap();
        ok(self.client("mariadb").stdin(std::fs::File::open(file).unwrap()));
    }

    /// What the dump program says of a database, the same for the same.
    pub fn dump(&self, database: &str) -> String {
        let mut dump = self.client("mariadb-dump");
        dump.args(["--single-transaction", "--routines", "--events", "--triggers", "--hex-blob", "--skip-dump-date", database]);
        let text = String::from_utf8(ok(&mut dump).stdout).unwrap();
        text.lines().filter(|line| !line.starts_with("-- Host: ") && !line.starts_with("-- Dumping ")).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A Redis server with a password.
pub struct Redis {
    /// Where its socket is.
    pub dir: TempDir,
    /// Its password.
    pub password: String,
    child: Child,
}

impl Redis {
    /// Starts one, with further lines of its configuration. What `dump` holds is loaded.
    pub fn start(password: &str, settings: &str, dump: Option<&[u8]>) -> Self {
        let dir = TempDir::with_prefix("redis").unwrap();
        if let Some(dump) = dump {
            std::fs::write(dir.path().join("dump.rdb"), dump).unwrap();
        }
        let at = dir.path().display();
        let config = dir.path().join("conf");
        std::fs::write(&config, format!("port 0\nunixsocket {at}/s\ndir {at}\nsave \"\"\nrequirepass {password}\n{settings}\n")).unwrap();
        let log = dir.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut server = tied(None);
        server.arg(program("redis-server", &[], "redis-server")).arg(&config);
        let mut child = server.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let socket = dir.path().join("s");
        let mut ping = || {
            let mut client = Command::new(program("redis-cli", &[], "redis-tools"));
            client.env("REDISCLI_AUTH", password).env(OWN, "1").arg("-s").arg(&socket).arg("PING");
            client.output().is_ok_and(|output| output.stdout.starts_with(b"PONG"))
        };
        until("Redis", &log, &mut child, &mut ping);
        Redis { dir, password: password.to_owned(), child }
    }

    /// Its socket.
    pub fn socket(&self) -> String {
        self.dir.path().join("s").to_str().unwrap().to_owned()
    }

    /// Runs commands, a line each; what they answer.
    pub fn ask(&self, lines: &str) -> String {
        let file = self.dir.path().join("lines");
        std::fs::write(&file, lines).unwrap();
        let mut client = Command::new(program("redis-cli", &[], "redis-tools"));
        client.env("REDISCLI_AUTH", &self.password).env(OWN, "1").arg("-s").arg(self.socket()).stdin(std::fs::File::open(file).unwrap());
        String::from_utf8(ok(&mut client).stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Clients that write as fast as they can, until dropped.
pub struct Writers {
    clients: Vec<Child>,
}

impl Writers {
    /// Starts `count` of them; each is fed what `line` makes of its number and a counter.
    pub fn start(count: u64, client: impl Fn() -> Command, line: impl Fn(u64, u64) -> String + Send + Clone + 'static) -> Self {
        let clients = (0..count).map(|who| {
            let mut child = client().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let (mut input, line) = (child.stdin.take().unwrap(), line.clone());
            // Ends when the client does.
            std::thread::spawn(move || (0..).try_for_each(|n| std::io::Write::write_all(&mut input, line(who, n).as_bytes())));
            child
        });
        Writers { clients: clients.collect() }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.clients.iter_mut().for_each(stop);
    }
}

/// Looks all the time at what every process shows of itself to everybody, and to its own user, for texts that must not be there.
pub struct Watch {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<(Vec<String>, u64)>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(secrets: &[&str]) -> Self {
        let secrets: Vec<Vec<u8>> = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut found, mut clients) = (Vec::new(), 0);
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                for process in std::fs::read_dir("/proc").unwrap().flatten() {
                    let path = process.path();
                    let Ok(line) = std::fs::read(path.join("cmdline")) else { continue };
                    let is_client =
                        ["pg_dump", "psql", "mariadb-dump", "mariadb\0", "redis-cli"].iter().any(|name| contains(&line, name.as_bytes()));
                    clients += u64::from(is_client);
                    // The environment of ours is the test's, where the password may be.
                    let variables = if is_client { std::fs::read(path.join("environ")).unwrap_or_default() } else { Vec::new() };
                    let is_ours = contains(&variables, b"SEABED_TEST_OWN=1\0");
                    for secret in &secrets {
                        if contains(&line, secret) || (!is_ours && contains(&variables, secret)) {
                            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
                        }
                    }
                }
            }
            (found, clients)
        });
        Watch { stop, thread: Some(thread) }
    }

    /// Ends it. Panics where something was seen, or no client ever.
    pub fn end(mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (found, clients) = self.thread.take().unwrap().join().unwrap();
        assert_eq!(found, Vec::<String>::new(), "a secret was seen");
        assert!(clients > 0, "no client was seen: this looked at nothing");
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
