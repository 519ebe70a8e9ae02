//! What stays out of a backup, and of what is compared with one: the options, and the rules that they make.
//! It must never leave out what no rule names, nor the repository and its cache in. It obeys restic's words for these options.

use crate::exit::Fail;
use crate::open::Opened;
use crate::size;
use seabed_engine::source::Excludes;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Options that leave something out.
#[derive(clap::Args, Debug, Default)]
pub struct ExcludeArgs {
    /// Leave out what matches PATTERN (repeatable)
    #[arg(short, long, value_name = "PATTERN", help_heading = "What is left out")]
    pub exclude: Vec<OsString>,
    /// The same, letters of either case
    #[arg(long, value_name = "PATTERN", help_heading = "What is left out")]
    pub iexclude: Vec<OsString>,
    /// Read patterns from FILE (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "What is left out")]
    pub exclude_file: Vec<PathBuf>,
    /// The same, letters of either case
    #[arg(long, value_name = "FILE", help_heading = "What is left out")]
    pub iexclude_file: Vec<PathBuf>,
    /// Of directories that hold NAME store only that file (repeatable)
    #[arg(long, value_name = "NAME[:HEADER]", help_heading = "What is left out")]
    pub exclude_if_present: Vec<OsString>,
    /// Of directories with a CACHEDIR.TAG store only that
    #[arg(long, help_heading = "What is left out")]
    pub exclude_caches: bool,
    /// Leave out files above SIZE (k, M, G, T)
    #[arg(long, value_name = "SIZE", help_heading = "What is left out")]
    pub exclude_larger_than: Option<String>,
    /// Do not obey .seabedignore files
    #[arg(long, help_heading = "What is left out")]
    pub no_ignore_files: bool,
    /// Stay on the file systems of the given paths
    #[arg(short = 'x', long, help_heading = "What is left out")]
    pub one_file_system: bool,
}

impl ExcludeArgs {
    /// The rules, behind patterns that a snapshot was made with, and their text for the manifest.
    pub fn rules_after(&self, recorded: &[String], opened: &Opened) -> Result<(Excludes, Vec<String>), Fail> {
        self.rules_of(recorded, &[opened])
    }

    /// The same where several repositories have to do with it: none of them goes into any.
    pub fn rules_of(&self, recorded: &[String], opened: &[&Opened]) -> Result<(Excludes, Vec<String>), Fail> {
        let mut rules = Excludes::new();
        let mut text = Vec::new();
        for pattern in recorded {
            rules.pattern(pattern.as_bytes(), false)?;
        }
        for (patterns, fold_case) in [(&self.exclude, false), (&self.iexclude, true)] {
            for pattern in patterns {
                rules.pattern(pattern.as_bytes(), fold_case)?;
                text.push(pattern.to_string_lossy().into_owned());
            }
        }
        for (files, fold_case) in [(&self.exclude_file, false), (&self.iexclude_file, true)] {
            for file in files {
                rules.file(file, fold_case)?;
                text.push(format!("(file {})", file.display()));
            }
        }
        for spec in &self.exclude_if_present {
            rules.if_present(spec.as_bytes())?;
        }
        if self.exclude_caches {
            rules.caches();
        }
        if let Some(limit) = &self.exclude_larger_than {
            rules.larger_than(size::parse(limit).map_err(Fail::config)?);
        }
        rules.ignore_files(!self.no_ignore_files);
        // The repository and its cache are never backed up into themselves: a home directory holds both by default. Last, so that no `!` takes them back.
        for own in opened.iter().flat_map(|opened| [opened.place.directory(), opened.cache.as_ref()]).flatten() {
            for path in [Some(own.clone()), own.canonicalize().ok()].into_iter().flatten() {
                rules.pattern(&escape(path.as_os_str()), false)?;
            }
        }
        Ok((rules, text))
    }
}

/// A path as a pattern that matches only itself.
fn escape(path: &OsStr) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in OsString::from(path).into_vec() {
        if b"\\[]*?!".contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}
