//! The worker's side: one source into its repositories, in a process of its own. So whatever a client library or a kernel does to it, the run
//! that asked goes on, puts the application back to work and tells what happened.
//! It must never let a source's failure look like a repository's, nor the other way round.

use super::request::{Request, Task};
use super::retention::{UNVERIFIED, Verdict};
use crate::args::Global;
use crate::commands::copy;
use crate::exit::{Code, Fail, Run};
use crate::jobs::config::Config;
use crate::jobs::config::source::{DockerVolume, Files, Kind as SourceKind, Source};
use crate::jobs::open::{of, room};
use crate::jobs::sources::bounds::{Bounds, HISTORY};
use crate::jobs::sources::{Asked, Prepared, prepare};
use crate::looking::after_backup;
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::{Listener, Ways};
use crate::{commands, signals};
use seabed_engine::archive::{ArchiveOptions, Format, archive};
use seabed_engine::backup::{BackupOptions, BackupReport, Failure, backup_also};
use seabed_engine::error::Kind;
use seabed_engine::gc::GcOptions;
use seabed_engine::id::{ObjectId, SnapshotId, unhex};
use seabed_engine::repository::Repository;
use seabed_engine::source::{Attributes, WalkOptions};
use seabed_engine::tag::{TagEdit, tag};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// Does what is asked on standard input.
pub fn run(global: &Global, out: &Output) -> Run {
    signals::catch();
    let request = Request::read()?;
    let config = Config::expanded(&request.config_path, request.config.clone())?;
    let job = config.job(&request.job)?;
    // A machine that backs up should serve, too. One that cannot be nicer is as it is.
    rustix::process::nice(i32::from(job.run.nice)).map(|_| ()).unwrap_or(());
    match &request.task {
        Task::Backup { source, repos, dry_run, verify, include_secrets } => {
            let mut config = config.clone();
            if let Some(
                SourceKind::Files(Files { include_secrets: keeps, .. })
                | SourceKind::DockerVolume(DockerVolume { include_secrets: keeps, .. }),
            ) = config.sources.get_mut(source).map(|source| &mut source.kind)
            {
                *keeps |= include_secrets;
            }
            let what = What { global, config: &config, request: &request, name: source, source: config.source(source)? };
            what.backup(repos, *dry_run, *verify, out)
        }
        Task::Bring { from, to, snapshot } => {
            let base = open::open(&of(&config, from, global)?, out)?;
            commands::refresh(&base.repository, out)?;
            let id = base.repository.select(snapshot, &Default::default())?.snapshot.id;
            let mut other = open::open(&of(&config, to, global)?, out)?;
            open::settle(&mut other, false, out)?;
            bring(&base, (to, &other), id, out).map(|_| Code::Done)
        }
        Task::Mark { repo, snapshots } => mark(&of(&config, repo, global)?, snapshots, out),
        Task::Retain { repo, policy, sources, collect } => {
            let opened = open::open(&of(&config, repo, global)?, out)?;
            retain(&request, &config, opened, (repo, policy.as_deref(), sources), *collect, out)
        }
    }
}

struct What<'a> {
    global: &'a Global,
    config: &'a Config,
    request: &'a Request,
    name: &'a str,
    source: &'a Source,
}

impl What<'_> {
    fn backup(&self, repos: &[String], dry_run: bool, verify: bool, out: &Output) -> Run {
        let (mut open, mut failed): (Vec<(&str, Opened)>, Vec<Fail>) = (Vec::new(), Vec::new());
        for name in repos {
            match self.open(name, dry_run, out) {
                _ if signals::interrupted() => return Err(interrupted()),
                Ok(opened) => match open.iter().find(|(_, other)| other.repository.id() == opened.repository.id()) {
                    Some((other, _)) => {
                        let fail = Fail::config(format!("repo.{other} and repo.{name} are the same repository"));
                        return Err(fail.hint("keep one of them"));
                    }
                    None => open.push((name, opened)),
                },
                Err(fail) => lost(name, fail, &mut failed, out),
            }
        }
        let mut rest = &open[..];
        let (base, others, report, packed) = loop {
            let Some((base, others)) = rest.split_first() else {
                // Each was said; what they have in common is how it ended.
                return Err(failed.pop().unwrap_or_else(|| Fail::config("there is no repository")));
            };
            let bounds = self.bounds(&base.1)?;
            let prepared = prepare(&Asked {
                job: &self.request.job,
                name: self.name,
                source: self.source,
                config: self.config,
                bounds: Arc::new(bounds),
            })?;
            prepared.warnings.iter().for_each(|warning| out.warn(warning));
            let packed = prepared.packed.clone();
            let repositories: Vec<&Repository> = others.iter().map(|(_, other)| &other.repository).collect();
            let (options, keep) = self.options(prepared, &open, dry_run)?;
            let listener = Listener::with(out, "backup", Ways { totals: false, ..Ways::default() });
            let result = backup_also(&base.1.repository, &repositories, options, &listener);
            listener.finish();
            drop(keep);
            match result {
                Ok(report) => break (base, others, report, packed),
                Err(Failure::Repository(error)) if !others.is_empty() && !signals::interrupted() && error.kind() != Kind::Configuration => {
                    lost(base.0, error.into(), &mut failed, out);
                    rest = others;
                }
                Err(_) if signals::interrupted() => return Err(interrupted()),
                Err(failure) => return Err(failure.into()),
            }
        };
        self.tell(base, &report, out);
        for packed in packed.iter().filter_map(|packed| *packed.lock().unwrap_or_else(PoisonError::into_inner)) {
            out.warn(&crate::jobs::sources::packed_advice(&self.source.kind, packed));
        }
        let mut places = vec![];
        if let Some(id) = report.snapshot {
            after_backup(&base.1, &self.request.host, &report, out);
            places.push((base, id));
            for other in others {
                match bring(&base.1, (other.0, &other.1), id, out) {
                    Ok(copied) => places.push((other, copied)),
                    Err(fail) if fail.code == Code::Interrupted => return Err(fail),
                    Err(fail) => lost(other.0, fail, &mut failed, out),
                }
            }
        }
        for ((name, opened), id) in places.iter().filter(|_| verify) {
            verified(name, opened, id, out)?;
        }
        Ok(if failed.is_empty() && report.error_count == 0 { Code::Done } else { Code::Incomplete })
    }

    fn open(&self, name: &str, dry_run: bool, out: &Output) -> Result<Opened, Fail> {
        let mut opened = open::open(&of(self.config, name, self.global)?, out)?;
        open::settle(&mut opened, dry_run, out)?;
        room(self.config.repo(name)?, name, &opened)?;
        Ok(opened)
    }

    /// What is suspiciously small, by what the repository has of the last runs.
    fn bounds(&self, opened: &Opened) -> Result<Bounds, Fail> {
        let (job, common) = (self.config.job(&self.request.job)?, &self.source.common);
        let min_bytes = common.min_bytes.or(job.monitor.min_bytes).map(|size| size.0);
        let max_shrink = common.max_shrink.or(job.monitor.max_shrink);
        let mut history: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        if max_shrink.is_some() {
            opened.repository.refresh_manifests()?;
            let series = Config::series(&self.request.job, self.name);
            let mut snapshots = opened.repository.catalog().snapshots()?;
            // One that is incomplete says nothing of how large a whole one is.
            snapshots.retain(|snapshot| {
                snapshot.names.series == series && snapshot.names.host == self.request.host && !snapshot.index.incomplete
            });
            snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.index.time));
            for snapshot in snapshots.iter().take(HISTORY) {
                for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots).filter(|(_, names)| names.stream.is_some()) {
                    history.entry(names.name.0.clone()).or_default().push(index.bytes);
                }
            }
        }
        Ok(Bounds::new(min_bytes, max_shrink, history))
    }

    #[allow(clippy::type_complexity)]
    fn options(
        &self,
        prepared: Prepared,
        open: &[(&str, Opened)],
        dry_run: bool,
    ) -> Result<(BackupOptions, Vec<Box<dyn std::any::Any + Send>>), Fail> {
        let job = self.config.job(&self.request.job)?;
        let all: Vec<&Opened> = open.iter().map(|(_, opened)| opened).collect();
        let (excludes, exclude_texts) = prepared.excludes.rules_of(&[], &all)?;
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let group: [u8; 16] = unhex(&self.request.run).ok_or_else(|| Fail::config("the id of the run makes no sense"))?;
        let mut tags = job.tags.clone();
        tags.extend(self.source.common.tags.iter().filter(|tag| !job.tags.contains(tag)).cloned());
        let pack_size = open.first().and_then(|(name, _)| self.config.repo(name).ok()).and_then(|repo| repo.pack_size);
        let attributes = Attributes { xattrs: true, acls: true, flags: true, owner_names: true };
        let one_file_system = prepared.excludes.one_file_system;
        let mut options = BackupOptions {
            series: Some(Config::series(&self.request.job, self.name)),
            paths: prepared.paths,
            as_path: prepared.as_path,
            walk: WalkOptions { one_file_system, with_atime: false, attributes, excludes },
            streams: prepared.streams,
            tars: prepared.tars,
            objects: prepared.objects,
            host: self.request.host.clone(),
            user: uzers::get_user_by_uid(uid).map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned()),
            uid_gid: (uid, gid),
            tags,
            excludes: exclude_texts,
            ignore_inode: prepared.ignore_inode,
            dry_run,
            group: Some(ObjectId::new(group)),
            ..BackupOptions::default()
        };
        if let Some(size) = pack_size {
            options.data_pack_bytes = commands::pack_bytes(Some(size.0 >> 20))?;
        }
        Ok((options, prepared.keeps))
    }

    /// That it is stored in the first repository.
    fn tell(&self, (repo, opened): &(&str, Opened), report: &BackupReport, out: &Output) {
        for (name, text) in &report.remarks {
            let said = String::from_utf8_lossy(text).trim_end().to_owned();
            out.message(&json!({"message_type": "said", "stream": String::from_utf8_lossy(name), "text": said}));
        }
        let summary = &report.summary;
        out.message(&json!({
            "message_type": "stored",
            "repo": repo,
            "repository": opened.place.text(),
            "snapshot": report.snapshot.map(|id| id.to_string()),
            "parent": report.parent.map(|id| id.to_string()),
            "series": report.series,
            "files": summary.files_total,
            "files_new": summary.files_new,
            "files_changed": summary.files_changed,
            "bytes": summary.bytes_total,
            "bytes_read": summary.bytes_read,
            "bytes_added": summary.bytes_added,
            "bytes_stored": summary.bytes_stored,
            "errors": report.error_count,
            "excluded": report.excluded,
            "copied": false,
        }));
    }
}

fn interrupted() -> Fail {
    Fail::new(Code::Interrupted, "interrupted, no snapshot was made").hint("the next run takes over what was stored")
}

/// A repository drops out; the others go on.
fn lost(repo: &str, fail: Fail, failed: &mut Vec<Fail>, out: &Output) {
    let fail = if fail.code == Code::NoRepository { fail.hint(format!("create it with `seabed init --repo @{repo}`")) } else { fail };
    out.message(&json!({
        "message_type": "repo_failed", "repo": repo, "code": fail.code.number(), "message": fail.message, "hint": fail.hint,
    }));
    failed.push(fail);
}

/// Copies a snapshot to where it is missing.
fn bring(base: &Opened, (name, other): (&str, &Opened), id: SnapshotId, out: &Output) -> Result<SnapshotId, Fail> {
    let snapshot = copy::just_made(base, &id, out)?;
    let done = copy::into(base, other, std::slice::from_ref(&snapshot), false, out)?;
    let Some((_, copied)) = done.copied.first().filter(|_| done.failed == 0) else {
        return Err(Fail::new(Code::Damage, format!("the snapshot could not be copied to {}", other.place.text()))
            .hint("the next run tries it again; `seabed check` looks at both"));
    };
    out.message(&json!({
        "message_type": "stored",
        "repo": name,
        "repository": other.place.text(),
        "snapshot": copied.to_string(),
        "origin": id.to_string(),
        "series": snapshot.names.series,
        "bytes": snapshot.names.summary.bytes_total,
        "bytes_stored": done.bytes,
        "copied": true,
    }));
    Ok(*copied)
}

/// Reads back all that a snapshot holds: every chunk is fetched, opened and hashed on the way to nowhere.
fn verified(repo: &str, opened: &Opened, id: &SnapshotId, out: &Output) -> Result<(), Fail> {
    let selected = opened.repository.select(&id.to_string(), &Default::default())?;
    let listener = Listener::new(out, "verifying");
    let read = archive(&opened.repository, &selected, &ArchiveOptions::new(Format::Tar), &mut std::io::sink(), &listener);
    listener.finish();
    match read {
        Ok(_) => {
            out.message(&json!({"message_type": "verified", "repo": repo, "snapshot": id.to_string()}));
            Ok(())
        }
        Err(_) if signals::interrupted() => Err(Fail::new(Code::Interrupted, "interrupted; the snapshot is stored, and not verified")),
        Err(error) => Err(error.into()),
    }
}

fn mark(global: &Global, snapshots: &[String], out: &Output) -> Run {
    let opened = open::open(global, out)?;
    commands::refresh(&opened.repository, out)?;
    let ids = snapshots.iter().map(|id| Ok(opened.repository.select(id, &Default::default())?.snapshot.id));
    let ids: Vec<SnapshotId> = ids.collect::<Result<_, Fail>>()?;
    tag(&opened.repository, &ids, &TagEdit { add: vec![UNVERIFIED.to_owned()], ..TagEdit::default() })?;
    Ok(Code::Done)
}

fn retain(
    request: &Request,
    config: &Config,
    mut opened: Opened,
    (repo, policy, sources): (&str, Option<&str>, &[String]),
    collect: bool,
    out: &Output,
) -> Run {
    open::settle(&mut opened, false, out)?;
    let mut code = Code::Done;
    if let Some(name) = policy {
        let series = sources.iter().map(|source| Config::series(&request.job, source)).collect();
        let verdict = Verdict::read(&opened, config, name, (&request.host, series), false, out)?;
        if let Some(words) = verdict.refused() {
            let fail = Fail::new(Code::Refused, format!("retention was refused: {words}"));
            return Err(fail.hint(format!(
                "nothing was forgotten; look at it with `seabed retain {} --repo-name {repo} --dry-run --explain`, --force there does it all the same",
                request.job
            )));
        }
        let gone = verdict.carry_out(&opened, out)?;
        let (kept, ids) = (verdict.judged.items.len() - gone.len(), gone.iter().map(ToString::to_string).collect::<Vec<_>>());
        out.message(&json!({"message_type": "retained", "repo": repo, "policy": name, "kept": kept, "forgotten": ids}));
    } else if collect {
        commands::refresh(&opened.repository, out)?;
    }
    if collect {
        let max_repack = Some(config.job(&request.job)?.gc.max_repack.0);
        let (ended, report) = commands::gc::carry_out(&opened, &GcOptions { max_repack, ..GcOptions::default() }, false, out)?;
        out.message(&json!({
            "message_type": "collected",
            "repo": repo,
            "deleted_packs": report.deleted_packs,
            "deleted_bytes": report.deleted_bytes,
            "condemned_packs": report.condemned,
            "bytes_written": report.written.bytes,
        }));
        code = ended;
    }
    Ok(code)
}
