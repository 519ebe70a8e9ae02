//! How a command ends: the exit codes, the failures that lead to them, and the next step that each one suggests.
//! This is the only place that chooses a code or a hint; commands return failures and never call `exit`.
//! It obeys the table in DESIGN section 2.

use seabed_engine::backup::Failure;
use seabed_engine::dump::DIRECTORY;
use seabed_engine::error::{Error, Kind};
use seabed_engine::format::entry::EntryKind;
use seabed_engine::source::stream::StreamFailure;
use seabed_engine::store::s3::UNTRUSTED;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// All done.
    Done = 0,
    /// Failed, nothing stored.
    Failed = 1,
    /// Done, but some source or target was skipped or unreadable.
    Incomplete = 3,
    /// No repository.
    NoRepository = 10,
    /// Wrong key.
    WrongKey = 12,
    /// Configuration or secret.
    Configuration = 20,
    /// No source gave a snapshot.
    NoSource = 21,
    /// Repository unreachable after retries.
    Unreachable = 22,
    /// Damage found.
    Damage = 23,
    /// Refused by a guard.
    Refused = 25,
    /// Timed out.
    TimedOut = 26,
    /// This job already runs.
    Running = 27,
    /// Interrupted.
    Interrupted = 130,
}

impl Code {
    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The one of a number: what another process of this program ended with.
    pub fn of(number: i32) -> Option<Self> {
        use Code::{Configuration, Damage, Done, Failed, Incomplete, Interrupted, NoRepository, NoSource, Refused, Running};
        use Code::{TimedOut, Unreachable, WrongKey};
        let all = [
            Done,
            Failed,
            Incomplete,
            NoRepository,
            WrongKey,
            Configuration,
            NoSource,
            Unreachable,
            Damage,
            Refused,
            TimedOut,
            Running,
            Interrupted,
        ];
        all.into_iter().find(|code| i32::from(code.number()) == number)
    }
}

/// What the codes mean, for the help and the manual page of every command.
pub const EXIT_STATUS: &str = "    0   done
    1   failed, nothing stored
    3   done, but some source or target was skipped or unreadable
   10   no repository
   12   wrong key or passphrase
   20   configuration, command line or secret
   21   no source gave a snapshot (a dump failed)
   22   repository unreachable after retries
   23   damage found
   24   drill failed or too slow
   25   refused by a guard
   26   timed out
   27   this job already runs
  130   interrupted";

/// The next step where a snapshot is gone that nobody has forgotten.
pub const LOST: &str = "if the store's listing can be trusted and a copy of the repository has it no more, `seabed forget --lost` accepts the \
                        loss; until then nothing is collected";

/// What stands below the options in the help of a command.
pub fn help(examples: &str) -> String {
    format!("EXAMPLES\n{examples}\n\nEXIT STATUS\n{EXIT_STATUS}")
}

/// Why a command ended without success.
#[derive(Debug)]
pub struct Fail {
    /// The exit code.
    pub code: Code,
    /// What failed; empty where everything was said already, or where nobody listens any more.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// Further text, such as the end of a command's standard error.
    pub detail: Option<String>,
}

/// Result of a command: the code that it ends with.
pub type Run = Result<Code, Fail>;

impl Fail {
    /// A failure with its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Fail { code, message: message.into(), hint: None, detail: None }
    }

    /// A mistake in flags, environment or secrets.
    pub fn config(message: impl Into<String>) -> Self {
        Fail::new(Code::Configuration, message)
    }

    /// With the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whoever read our output has seen enough (`| head`): that is a success, as ripgrep sees it.
    pub fn output(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Fail::new(Code::Done, "");
        }
        let hint = where_to_write(&error);
        Fail { hint: hint.map(str::to_owned), ..Fail::new(Code::Failed, format!("cannot write the output: {}", plain(&error))) }
    }
}

/// What a receiver of the engine's finds failed in a way of its own. The engine only hears that it is to stop.
#[derive(Default)]
pub struct Stopped(Option<Fail>);

impl Stopped {
    /// Whether the engine goes on, which is what it asks.
    pub fn goes_on(&mut self, received: Result<bool, Fail>) -> bool {
        received.unwrap_or_else(|fail| {
            self.0 = Some(fail);
            false
        })
    }

    /// The failure, if there was one.
    pub fn check(self) -> Result<(), Fail> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What helps where something cannot be written that is not the repository's.
pub fn where_to_write(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind as Io;
    Some(match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => "make room there, or write to another place; the repository is not touched by this",
        Io::PermissionDenied => "choose a place that this user may write, or run it as one who may",
        Io::ReadOnlyFilesystem => "this file system is mounted read-only: choose another place",
        Io::NotADirectory | Io::AlreadyExists => "something else stands there: choose another place, or move it away",
        Io::NotFound => "make the directory above it first, or correct the path",
        Io::IsADirectory => "name a file, not a directory",
        _ => return None,
    })
}

/// An I/O error without the number that Rust appends.
pub fn plain(error: &std::io::Error) -> String {
    without_number(&error.to_string())
}

/// ` (os error 13)` says nothing to people that the words before it did not.
pub fn without_number(text: &str) -> String {
    match text.rfind(" (os error ") {
        Some(at) if text.ends_with(')') => text[..at].to_owned(),
        _ => text.to_owned(),
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Failed => Code::Failed,
            Kind::NoRepository => Code::NoRepository,
            Kind::WrongKey => Code::WrongKey,
            Kind::Configuration => Code::Configuration,
            Kind::Unreachable => Code::Unreachable,
            Kind::Damage => Code::Damage,
            Kind::Refused => Code::Refused,
            Kind::Interrupted => Code::Interrupted,
        };
        let hint = match error.cause() {
            Error::Output { source } if source.kind() == std::io::ErrorKind::BrokenPipe => return Fail::new(Code::Done, ""),
            Error::NoRepository { .. } => "create it with `seabed init`, or name another one with --repo or SEABED_REPOSITORY",
            Error::RepositoryExists { .. } => "it is ready for `seabed backup`; choose another place with --repo",
            Error::DescriptorLost { .. } => {
                "put the file `seabed` back from a copy of the repository; for a new repository choose another place with --repo"
            }
            Error::Unreachable { .. } => "look at the network, the endpoint and the keys; what was stored is kept, run it again",
            Error::Archived { .. } => "`seabed restore --plan` tells what is archived, `--thaw` has it brought back; then run this again",
            Error::NoBucket { .. } => "`seabed init --create-bucket` makes it; or correct its name in --repo or SEABED_REPOSITORY",
            Error::ListIncomplete { .. } => "the store or something before it cuts listings; nothing was deleted",
            Error::PlaceNotEmpty { .. } => "choose an empty or new directory with --repo",
            Error::WrongKey => "check --password-file, --key-file and the SEABED_PASSWORD, SEABED_KEY_FILE variables",
            Error::Damaged { .. } | Error::ChunkMissing { .. } | Error::PackMissing { .. } => {
                "`seabed check --read-data` lists all damage; `seabed restore --keep-going` brings back what is whole"
            }
            Error::SnapshotLost { .. } | Error::LedgerGap { .. } => LOST,
            Error::NewerFormat { .. } | Error::UnknownFeature { .. } => "update seabed on this machine",
            Error::NoSnapshot { .. } | Error::WasForgotten { .. } => "`seabed snapshots` lists what there is",
            Error::AmbiguousSnapshot { .. } => "give more digits of the id",
            Error::NoSuchPath { .. } => "`seabed ls SNAPSHOT` lists its paths, `seabed find NAME` says in which snapshots one is",
            Error::NotAFile { what, .. } if *what == DIRECTORY => {
                "`--archive tar` writes it as an archive, `seabed restore` brings it back"
            }
            // A file is one whose content could not be read when the snapshot was made.
            Error::NotAFile { what, .. } if what.starts_with(EntryKind::File.word()) => {
                "another snapshot may have it: `seabed history PATH`"
            }
            Error::NotAFile { .. } => "`seabed restore` brings it back",
            Error::Catalog { .. } | Error::Cache { .. } => "run again with --no-cache, or delete the cache directory: it is made anew",
            Error::NoKeys { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; `seabed iam-policy` prints what they must allow"
            }
            Error::RecordLost { .. } => {
                "the store, or something before it, may cut its listings: run this again, and `seabed doctor`; if it stays so, put the object back \
                 from a copy of the repository: until then nothing is collected"
            }
            Error::Target { source, .. } | Error::Output { source } => where_to_write(source).unwrap_or(""),
            Error::Random(_) => {
                "the kernel gives no random numbers: without them nothing can be encrypted; look at the sandbox this runs in"
            }
            Error::Option { what } if what.contains(UNTRUSTED) => {
                "if it is the right place, name its certificate or the one that signed it: --ca-file FILE"
            }
            Error::Store { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "make room where the repository is, then run again",
                // Without a number of the system's: a store said so.
                std::io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
                    "look at the keys; `seabed iam-policy` prints what they must allow"
                }
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    "the repository cannot be written or read by this user"
                }
                std::io::ErrorKind::StaleNetworkFileHandle | std::io::ErrorKind::NotConnected | std::io::ErrorKind::TimedOut => {
                    "the file system that holds the repository is away: mount it again, then run this once more; what was stored is kept"
                }
                _ => "look at the disk or the store that holds the repository (`seabed doctor`, `dmesg`); what was stored is kept",
            },
            Error::Aside { .. } => {
                "it goes to SQLITE_TMPDIR, TMPDIR, /var/tmp or /tmp, whichever is there first: make room, or name another place"
            }
            Error::SelfCheck { .. } => {
                "test this machine's memory (memtest86+) before you trust it with a backup; nothing wrong was stored"
            }
            _ => "",
        };
        let mut fail = Fail::new(code, without_number(&error.to_string()));
        fail.hint = (!hint.is_empty()).then(|| hint.to_owned());
        fail
    }
}

impl From<Failure> for Fail {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Repository(error) => error.into(),
            Failure::NoSource { .. } => Fail::new(Code::Failed, failure.to_string()).hint("check the paths and the excludes"),
            Failure::Stream(stream) => {
                let mut fail = Fail::new(Code::NoSource, without_number(&format!("no snapshot was made: {stream}")));
                match stream {
                    StreamFailure::Exit { stderr, .. } | StreamFailure::Killed { stderr, .. } if !stderr.is_empty() => {
                        fail.detail = Some(String::from_utf8_lossy(&stderr).trim_end().to_owned());
                    }
                    StreamFailure::Torn { .. } => {
                        fail.hint =
                            Some("if whoever wrote it writes no end: add one, as in '(COMMAND; head -c 1024 /dev/zero)'".to_owned());
                    }
                    StreamFailure::Packed { program, .. } => {
                        fail.hint = Some(format!("write --exec-tar NAME='{program} FILE'"));
                    }
                    StreamFailure::NotTar { at: 0, .. } => {
                        fail.hint = Some("to store it as it is, name it as a path, or use --exec or --stdin".to_owned());
                    }
                    StreamFailure::Empty { .. } => fail.hint = Some("if it may be empty, say --allow-empty".to_owned()),
                    StreamFailure::Exit { status: 127, .. } | StreamFailure::Start { .. } => {
                        fail.hint = Some(
                            "the command is not found: correct it, or name it with its full path; cron knows few directories".to_owned(),
                        );
                    }
                    StreamFailure::Exit { .. } | StreamFailure::Killed { .. } => {
                        fail.hint = Some("it said nothing on standard error: run the command by itself to see why".to_owned());
                    }
                    _ => {}
                }
                fail
            }
        }
    }
}
