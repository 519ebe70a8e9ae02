//! Real S3 servers of other makers, each started for one test by the scripts in `tests/servers`.
//! It must never skip: who asks for a server gets one that answers, or a panic that says what is missing. None outlives its test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Where `tests/servers/install.sh` installed them. Tests that need such a server run only when it is set: see [`rclone_is_wanted`].
const INSTALLED: &str = "SEABED_TEST_SERVERS";
/// Set to 1 where Garage is installed too: its build takes longer than all tests together.
const GARAGE: &str = "SEABED_TEST_GARAGE";

/// Whether this run is to test against rclone. A test that asks must fail, not return, once this is true.
pub fn rclone_is_wanted() -> bool {
    is_set(INSTALLED)
}

/// Whether this run is to test against Garage. A test that asks must fail, not return, once this is true.
pub fn garage_is_wanted() -> bool {
    is_set(GARAGE)
}

/// Set to 1 where the database servers of Debian's packages are installed: PostgreSQL, MariaDB, Redis. They take a while to start, and whoever
/// runs the tests of a fresh clone has none.
const DATABASES: &str = "SEABED_TEST_DATABASES";

/// Whether this run is to test against database servers. A test that asks must fail, not return, once this is true.
pub fn databases_are_wanted() -> bool {
    is_set(DATABASES)
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|v| !v.is_empty() && v != "0")
}

/// What a client of a running server must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its one bucket, as a repository is given to the command line: `s3:http://127.0.0.1:1234/seabed`.
    pub url: String,
    /// The id of a key that may do everything in the bucket.
    pub key_id: String,
    /// The key's secret.
    pub secret: String,
    /// The region to sign for.
    pub region: String,
}

impl Access {
    fn parse(assignments: &str) -> Self {
        let value = |name: &str| {
            let found = assignments.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in what the server's script printed: {assignments}")).to_owned()
        };
        Access {
            url: value("SEABED_TEST_S3_URL"),
            key_id: value("AWS_ACCESS_KEY_ID"),
            secret: value("AWS_SECRET_ACCESS_KEY"),
            region: value("AWS_REGION"),
        }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        let rest = self.url.strip_prefix("s3:http://").expect("a URL that a script printed");
        rest.split('/').next().unwrap()
    }

    /// The variables that hand the key to a program.
    pub fn variables(&self) -> [(&'static str, &str); 3] {
        [("AWS_ACCESS_KEY_ID", &self.key_id), ("AWS_SECRET_ACCESS_KEY", &self.secret), ("AWS_REGION", &self.region)]
    }
}

/// A server and its data, gone when dropped.
struct Server {
    script: PathBuf,
    dir: TempDir,
    access: Access,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers");
        let installed = std::env::var_os(INSTALLED).unwrap_or_default();
        let program = Path::new(&installed).join("bin").join(name);
        if installed.is_empty() || !program.exists() {
            panic!("{name} is not installed: run tests/servers/install.sh DIR {name} and set {INSTALLED}=DIR (it is {installed:?})");
        }
        let script = folder.join(name).with_extension("sh");
        let dir = tempfile::tempdir().unwrap();
        // A test that is killed drops nothing: the script's watch ends the server then.
        let owner = std::process::id().to_string();
        let printed = run(&script, &[OsStr::new("start"), dir.path().as_os_str(), OsStr::new("--owner"), OsStr::new(&owner)]);
        Server { script, access: Access::parse(&printed.unwrap_or_else(|e| panic!("{name} does not start: {e}"))), dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(e) = run(&self.script, &[OsStr::new("stop"), self.dir.path().as_os_str()]) {
            eprintln!("cannot stop it: {e}");
        }
    }
}

fn run(script: &Path, args: &[&OsStr]) -> Result<String, String> {
    let output = Command::new(script).args(args).stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", script.display()))?;
    if !output.status.success() {
        return Err(format!("{}: {}: {}", script.display(), output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|e| e.to_string())
}

/// `rclone serve s3`. It keeps no conditional put and checks little; `tests/servers/rclone.sh` lists how it differs from S3.
pub struct Rclone(Server);

impl Rclone {
    /// Starts one; it answers when this returns.
    pub fn start() -> Self {
        Rclone(Server::start("rclone"))
    }

    /// How to reach it.
    pub fn access(&self) -> &Access {
        &self.0.access
    }
}

/// A single Garage node, without fsync.
pub struct Garage(Server);

impl Garage {
    /// Starts one; it answers when this returns.
    pub fn start() -> Self {
        Garage(Server::start("garage"))
    }

    /// How to reach it.
    pub fn access(&self) -> &Access {
        &self.0.access
    }
}
