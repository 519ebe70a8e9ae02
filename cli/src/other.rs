//! A second repository beside the one that every command has: where it is, and how it is opened.
//! Where nothing says how it is opened, the secret of the own one is tried: it is often a copy of that, or a sibling under the same secret.
//! It obeys what README.md says of copies.

use crate::args::{Global, Side};
use crate::exit::{Code, Fail};
use crate::open::{self, Opened};
use crate::output::Output;
use std::path::{Path, PathBuf};

/// Another repository, from which something is taken.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct FromArgs {
    /// The other repository [env: SEABED_FROM_REPOSITORY]
    #[arg(long, value_name = "PLACE", help_heading = "The other repository")]
    pub from_repo: Option<PathBuf>,
    /// Read its passphrase from FILE [env: SEABED_FROM_PASSWORD, SEABED_FROM_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", help_heading = "The other repository")]
    #[arg(conflicts_with_all = ["from_password_command", "from_key_file"])]
    pub from_password_file: Option<PathBuf>,
    /// Take its passphrase from what COMMAND prints [env: SEABED_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", help_heading = "The other repository", conflicts_with = "from_key_file")]
    pub from_password_command: Option<String>,
    /// Use its key file FILE [env: SEABED_FROM_KEY_FILE]
    #[arg(long, value_name = "FILE", help_heading = "The other repository")]
    pub from_key_file: Option<PathBuf>,
}

impl FromArgs {
    /// Whether one is named.
    pub fn is_named(&self) -> bool {
        self.from_repo.is_some() || std::env::var_os(Side::From.variable("REPOSITORY")).is_some()
    }

    /// The global options as they are for it.
    pub fn global(&self, global: &Global) -> Global {
        Global {
            repo: self.from_repo.clone(),
            password_file: self.from_password_file.clone(),
            password_command: self.from_password_command.clone(),
            key_file: self.from_key_file.clone(),
            side: Side::From,
            secrets_of: Side::From,
            secret: None,
            credentials: None,
            ..global.clone()
        }
    }

    /// Opens it.
    pub fn open(&self, global: &Global, out: &Output) -> Result<Opened, Fail> {
        open_other(self.global(global), global, out)
    }
}

/// Other repositories, to which something goes.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct ToArgs {
    /// A repository that it goes to (repeatable)
    #[arg(long, value_name = "PLACE", help_heading = "Other repositories")]
    pub to: Vec<PathBuf>,
    /// Read their passphrase from FILE [env: SEABED_TO_PASSWORD, SEABED_TO_PASSWORD_FILE] [default: as for --repo]
    #[arg(long, value_name = "FILE", help_heading = "Other repositories", requires = "to")]
    #[arg(conflicts_with_all = ["to_password_command", "to_key_file"])]
    pub to_password_file: Option<PathBuf>,
    /// Take their passphrase from what COMMAND prints [env: SEABED_TO_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", help_heading = "Other repositories", requires = "to", conflicts_with = "to_key_file")]
    pub to_password_command: Option<String>,
    /// Use the key file FILE for them [env: SEABED_TO_KEY_FILE]
    #[arg(long, value_name = "FILE", help_heading = "Other repositories", requires = "to")]
    pub to_key_file: Option<PathBuf>,
}

impl ToArgs {
    /// Opens one of them. Where nothing says how, and no key file is known, the secret of the own repository is tried.
    pub fn open(&self, to: &Path, global: &Global, out: &Output) -> Result<Opened, Fail> {
        let other = Global {
            repo: Some(to.to_owned()),
            password_file: self.to_password_file.clone(),
            password_command: self.to_password_command.clone(),
            key_file: self.to_key_file.clone(),
            side: Side::To,
            secrets_of: Side::To,
            secret: None,
            credentials: None,
            ..global.clone()
        };
        open_other(other, global, out)
    }
}

/// Opens another repository as `other` says, or as the own one is opened where nothing says how.
fn open_other(other: Global, own: &Global, out: &Output) -> Result<Opened, Fail> {
    let asked = other.repo.clone();
    let other = crate::jobs::open::resolved(&other)?;
    // Of one that the configuration names it says how it is opened, too.
    if other.repo != asked {
        return open::open(&other, out);
    }
    let names = ["PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND", "KEY_FILE"];
    let says = names.iter().any(|name| std::env::var_os(other.side.variable(name)).is_some());
    if says || other.password_file.is_some() || other.password_command.is_some() || other.key_file.is_some() {
        return open::open(&other, out);
    }
    let side = other.side;
    // With its secret, its environment, the key files that this program made; but at the place, and with the bucket's keys, of the other.
    let secrets = |given: &Global| (given.password_file.clone(), given.password_command.clone(), given.key_file.clone());
    let (password_file, password_command, key_file) = secrets(own);
    let secret = own.secret.clone();
    let same = Global { password_file, password_command, key_file, secret, secrets_of: Side::Own, related: true, ..other };
    match open::open(&same, out) {
        Err(fail) if fail.code == Code::WrongKey => {
            let (file, key) = (side.flag("password-file"), side.flag("key-file"));
            Err(fail.hint(format!("it has a secret of its own: {file}, {key}, {} …", side.variable("PASSWORD"))))
        }
        other => other,
    }
}
