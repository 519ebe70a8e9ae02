//! How users name snapshots: full id, unique prefix, `latest`, `latest~N`, each with an optional `:/sub/path`. The id of a run
//! that did not end names what it had done so far.
//! Filters by host, series, tag and path narrow what `latest` means.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::repository::Repository;

/// Which snapshots come into question.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Any of these hosts; empty for all.
    pub hosts: Vec<String>,
    /// Any of these series; empty for all.
    pub series: Vec<String>,
    /// Any of these lists, all tags of a list; empty for all.
    pub tags: Vec<Vec<String>>,
    /// All of these paths were asked for; empty for all.
    pub paths: Vec<Vec<u8>>,
}

impl Filter {
    /// Whether a snapshot passes.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let names = &snapshot.names;
        let any = |wanted: &[String], have: &String| wanted.is_empty() || wanted.contains(have);
        any(&self.hosts, &names.host)
            && any(&self.series, &names.series)
            && (self.tags.is_empty() || self.tags.iter().any(|all| all.iter().all(|tag| names.tags.contains(tag))))
            && self.paths.iter().all(|path| names.paths.iter().any(|have| have.0 == *path))
    }
}

/// What a selector named.
#[derive(Debug)]
pub struct Selected {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The path below it, without leading or trailing `/`; empty for all of it.
    pub path: Vec<u8>,
}

/// Splits `ID:/sub/path`.
pub fn split_path(selector: &str) -> (&str, Vec<u8>) {
    match selector.split_once(':') {
        Some((id, path)) => {
            let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
            (id, parts.join("/").into_bytes())
        }
        None => (selector, Vec::new()),
    }
}

impl Repository {
    /// Finds the snapshot that `selector` names. The catalog was refreshed by the caller.
    pub fn select(&self, selector: &str, filter: &Filter) -> Result<Selected> {
        let (id, path) = split_path(selector);
        let missing = || Error::NoSnapshot { selector: selector.to_owned() };
        let all = self.catalog().snapshots()?;
        let back = match id.strip_prefix("latest") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('~').and_then(|n| n.parse::<usize>().ok()),
            None => None,
        };
        if let Some(back) = back {
            let snapshot = all.into_iter().rev().filter(|s| filter.matches(s)).nth(back).ok_or_else(missing)?;
            return Ok(Selected { snapshot, path });
        }
        // A prefix of nothing would match everything.
        if id.is_empty() || !id.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let id = id.to_ascii_lowercase();
        let ids = all.iter().map(|snapshot| snapshot.id).collect();
        let mut found: Vec<Snapshot> = all.into_iter().filter(|s| s.id.to_string().starts_with(&id)).collect();
        // Nobody means what a run left that did not end, unless its id is asked for.
        if found.is_empty() {
            found = self.pendings(&ids)?.into_iter().filter(|s| s.id.to_string().starts_with(&id)).collect();
        }
        match (found.pop(), found.len()) {
            (Some(snapshot), 0) => Ok(Selected { snapshot, path }),
            (None, _) => Err(missing()),
            (Some(_), more) => Err(Error::AmbiguousSnapshot { selector: selector.to_owned(), count: more + 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(split_path("latest:/a//b/./c/"), ("latest", b"a/b/c".to_vec()));
        assert_eq!(split_path("latest"), ("latest", vec![]));
        assert_eq!(split_path("ab12:/"), ("ab12", vec![]));
    }
}
