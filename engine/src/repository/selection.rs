//! Which paths of a snapshot are meant: patterns to include and to exclude, in restic's form.

use crate::error::{Error, Result};
use crate::source::Excludes;

/// A pattern in restic's form, as in excludes.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The text.
    pub text: Vec<u8>,
    /// Letters of either case match.
    pub fold_case: bool,
}

/// Which paths are meant.
pub struct Selection {
    include: Option<Excludes>,
    exclude: Excludes,
}

impl Selection {
    /// What matches one of `include`, if there are any, and none of `exclude`; an error names a pattern that makes no sense.
    pub fn new(include: &[Pattern], exclude: &[Pattern]) -> Result<Self> {
        let compile = |patterns: &[Pattern]| {
            let mut set = Excludes::new();
            for pattern in patterns {
                set.pattern(&pattern.text, pattern.fold_case)?;
            }
            Ok::<_, Error>(set)
        };
        let include = if include.is_empty() { None } else { Some(compile(include)?) };
        Ok(Selection { include, exclude: compile(exclude)? })
    }

    /// Whether only a part is meant.
    pub fn has_includes(&self) -> bool {
        self.include.is_some()
    }

    /// Whether a path, as it will be below the target, is meant, by itself or by what it lies in.
    pub fn wants(&self, path: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|include| include.rejects(path, false)) && !self.exclude.rejects(path, false)
    }
}
