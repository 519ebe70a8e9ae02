//! Where a new secret comes from, and what a passphrase's slot may cost. It must never overwrite a key file.

use crate::exit::Fail;
use crate::output::Output;
use crate::secret;
use seabed_engine::limits::{KDF_MEMORY_KIB_MAX, KDF_MEMORY_KIB_NEW_MIN, KDF_PASSES_MAX, SLOT_LABEL_BYTES_MAX};
use seabed_engine::seal::key::{KDF_DEFAULT, Secret};
use std::path::PathBuf;

/// A new secret. Without any of these it is asked for, twice.
#[derive(clap::Args, Debug)]
pub struct NewSecret {
    /// The new passphrase is in FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_password_command", "new_key_file"], help_heading = "The new secret")]
    new_password_file: Option<PathBuf>,
    /// The new passphrase is what COMMAND prints
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_key_file", help_heading = "The new secret")]
    new_password_command: Option<String>,
    /// The key file FILE, made if it is missing
    #[arg(long, value_name = "FILE", help_heading = "The new secret")]
    new_key_file: Option<PathBuf>,
    /// Memory that each try of the passphrase takes [default: 64]
    #[arg(long, value_name = "MIB", conflicts_with = "new_key_file", help_heading = "The new secret")]
    kdf_memory: Option<u32>,
    /// Passes over that memory [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "new_key_file", help_heading = "The new secret")]
    kdf_passes: Option<u32>,
}

/// Reads the name of a slot: before a key file is made for one that cannot be.
pub fn slot_label(text: &str) -> Result<String, String> {
    match text.len() {
        0..=SLOT_LABEL_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, and {SLOT_LABEL_BYTES_MAX} at most are kept")),
    }
}

/// A new secret, and what its slot is called.
#[derive(clap::Args, Debug)]
pub struct NamedSecret {
    /// A name for the new secret
    #[arg(long, value_name = "TEXT", value_parser = slot_label, default_value = "", hide_default_value = true)]
    pub label: String,
    #[command(flatten)]
    pub new: NewSecret,
}

/// A new secret, and how its slot is to be.
pub struct Chosen {
    /// Itself.
    pub secret: Secret,
    /// The key file, where it is one.
    pub key_file: Option<PathBuf>,
    /// That was made just now.
    pub made: bool,
    /// Argon2id cost: KiB, passes, lanes.
    pub kdf: (u32, u32, u32),
}

impl Chosen {
    /// `passphrase` or `key file`.
    pub fn kind(&self) -> &'static str {
        if self.key_file.is_some() { "key file" } else { "passphrase" }
    }

    /// What must not be lost.
    pub fn remind(&self, out: &Output) {
        if let Some(path) = self.key_file.as_ref().filter(|_| self.made) {
            out.say(&format!("its key is in {}: copy it to another place; --key-file names it from now on", path.display()));
        }
    }
}

impl NewSecret {
    fn kdf(&self) -> Result<(u32, u32, u32), Fail> {
        let (kib, passes, lanes) = KDF_DEFAULT;
        let (least, most) = (KDF_MEMORY_KIB_NEW_MIN >> 10, KDF_MEMORY_KIB_MAX >> 10);
        let mib = self.kdf_memory.unwrap_or(kib >> 10);
        let passes = self.kdf_passes.unwrap_or(passes);
        if !(least..=most).contains(&mib) {
            return Err(Fail::config(format!("--kdf-memory {mib} is not between {least} and {most} MiB"))
                .hint("every run that opens with this passphrase takes so much; leave it out: 64 MiB suit most machines"));
        }
        if !(1..=KDF_PASSES_MAX).contains(&passes) {
            return Err(Fail::config(format!("--kdf-passes {passes} is not between 1 and {KDF_PASSES_MAX}"))
                .hint("leave it out: 3 passes take a tenth of a second"));
        }
        Ok((mib << 10, passes, lanes))
    }

    /// Checks what can be checked before anything is asked or made.
    pub fn check(&self) -> Result<(), Fail> {
        self.kdf().map(drop)
    }

    /// Reads, asks for or makes it.
    pub fn choose(&self, out: &Output) -> Result<Chosen, Fail> {
        let kdf = self.kdf()?;
        let chosen = |secret| Chosen { secret, key_file: None, made: false, kdf };
        if let Some(path) = &self.new_password_file {
            return secret::from_file(path, "--new-password-file names it").map(chosen);
        }
        if let Some(line) = &self.new_password_command {
            return secret::from_command(line, "--new-password-command").map(chosen);
        }
        if let Some(path) = &self.new_key_file {
            let made = !path.exists();
            let secret = if made { secret::make_key_file(path)? } else { secret::key_file(path)? };
            return Ok(Chosen { key_file: Some(path.clone()), made, ..chosen(secret) });
        }
        let none =
            || Fail::config("no new secret is given").hint("give one: --new-password-file, --new-password-command or --new-key-file");
        if !secret::can_ask() {
            return Err(none());
        }
        secret::ask_twice(out, "New passphrase: ")?.map(chosen).ok_or_else(none)
    }
}
