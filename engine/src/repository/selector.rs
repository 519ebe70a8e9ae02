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

/// How many snapshots before the newest one `latest` or `latest~N` means; `None` for anything else.
fn back(id: &str) -> Option<usize> {
    match id.strip_prefix("latest")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// Finds the snapshot that `selector` names among `all`, which are sorted by time. `None` where none has such an id.
fn among(all: &[Snapshot], selector: &str, filter: &Filter) -> Result<Option<Snapshot>> {
    let (id, _) = split_path(selector);
    let missing = || Error::NoSnapshot { selector: selector.to_owned() };
    if let Some(back) = back(id) {
        return all.iter().rev().filter(|s| filter.matches(s)).nth(back).cloned().map(Some).ok_or_else(missing);
    }
    // A prefix of nothing would match everything.
    if id.is_empty() || !id.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let id = id.to_ascii_lowercase();
    let mut found: Vec<&Snapshot> = all.iter().filter(|s| s.id.to_string().starts_with(&id)).collect();
    match (found.pop(), found.len()) {
        (found, 0) => Ok(found.cloned()),
        (_, more) => Err(Error::AmbiguousSnapshot { selector: selector.to_owned(), count: more + 1 }),
    }
}

/// Finds the snapshot that `selector` names among `all`, which are sorted by time: for who has nothing but a catalog.
pub fn pick(all: &[Snapshot], selector: &str, filter: &Filter) -> Result<Selected> {
    let snapshot = among(all, selector, filter)?.ok_or_else(|| Error::NoSnapshot { selector: selector.to_owned() })?;
    Ok(Selected { snapshot, path: split_path(selector).1 })
}

impl Repository {
    /// Finds the snapshot that `selector` names. The catalog was refreshed by the caller.
    pub fn select(&self, selector: &str, filter: &Filter) -> Result<Selected> {
        let all = self.catalog().snapshots()?;
        if let Some(snapshot) = among(&all, selector, filter)? {
            return Ok(Selected { snapshot, path: split_path(selector).1 });
        }
        // Nobody means what a run left that did not end, unless its id is asked for.
        let ids = all.iter().map(|snapshot| snapshot.id).collect();
        pick(&self.pendings(&ids)?, selector, filter)
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
