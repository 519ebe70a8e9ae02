//! The snapshots that a command is about, where it is about whole ones that ended.

use crate::args::FilterArgs;
use crate::commands::refresh;
use crate::exit::{Code, Fail};
use crate::output::Output;
use seabed_engine::catalog::Snapshot;
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Filter;

/// Snapshots by their ids, or all that filters let pass.
#[derive(clap::Args, Debug)]
pub struct WhichArgs {
    /// Snapshots [default: all that the filters let pass]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What was chosen.
pub struct Chosen {
    /// The snapshots, each once.
    pub snapshots: Vec<Snapshot>,
    in_doubt: bool,
}

impl WhichArgs {
    /// Brings the catalog up to date and chooses.
    pub fn chosen(&self, repository: &Repository, out: &Output) -> Result<Chosen, Fail> {
        let unreadable = refresh(repository, out)?;
        let filter = self.filter.filter();
        if self.ids.is_empty() {
            let mut snapshots = repository.catalog().snapshots()?;
            snapshots.retain(|snapshot| filter.matches(snapshot));
            return Ok(Chosen { snapshots, in_doubt: unreadable > 0 });
        }
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for id in &self.ids {
            let snapshot = whole(repository, id, &filter)?;
            if !snapshots.iter().any(|other| other.id == snapshot.id) {
                snapshots.push(snapshot);
            }
        }
        Ok(Chosen { snapshots, in_doubt: false })
    }
}

impl Chosen {
    /// How a command ends that ended so with these: a snapshot that cannot be read may be one of all that were meant.
    pub fn code(&self, code: Code) -> Code {
        if self.in_doubt && code == Code::Done { Code::Incomplete } else { code }
    }
}

/// The snapshot that `id` names. Whoever names a part of one does not mean all of it, and nothing but a restore makes use of what a run left
/// that did not end.
pub fn whole(repository: &Repository, id: &str, filter: &Filter) -> Result<Snapshot, Fail> {
    let selected = repository.select(id, filter)?;
    if !selected.path.is_empty() {
        return Err(Fail::config(format!("`{id}` is a part of a snapshot")).hint("this command takes whole ones: leave out the path"));
    }
    let snapshot = selected.snapshot;
    if snapshot.index.incomplete && !repository.catalog().ids()?.contains(&snapshot.id) {
        return Err(Fail::config(format!("`{id}` is what a run had done that did not end"))
            .hint("the next backup goes on from it; `seabed restore` takes it as it is"));
    }
    Ok(snapshot)
}
