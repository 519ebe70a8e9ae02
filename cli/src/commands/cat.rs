//! `cat`: objects of the repository as JSON, for debugging. It must never print a key.
//! It obeys the field names of the format specification.

use crate::args::Global;
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::{size, time};
use clap::ValueEnum;
use seabed_engine::format::manifest::{IndexPart, NamesPart};
use seabed_engine::id::{Class, ObjectId, ObjectName, PackId, SnapshotId, hex};
use seabed_engine::limits::SMALL_OBJECT_BYTES_MAX;
use seabed_engine::pack::OpenPack;
use seabed_engine::repository::Repository;
use seabed_engine::seal::key::{decode_keyring, decode_slot};
use serde_json::{Value, json};

const EXAMPLES: &str = "  seabed cat descriptor
  seabed cat manifest latest
  seabed cat pack 5f1d…    (64 digits, or any unique prefix)";

/// Print an object of the repository as JSON, for debugging
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Which kind of object
    #[arg(value_enum)]
    what: What,
    /// Which one; without it descriptor, slot, keyring: all of them, others: their names
    #[arg(value_name = "ID")]
    id: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// What a program must know before it has a key
    Descriptor,
    /// A committed snapshot
    Manifest,
    /// A manifest that is not committed yet
    Pending,
    /// The footer of a pack
    Pack,
    /// An index segment
    Segment,
    /// A passphrase or key file that opens the repository
    Slot,
    /// The keys, sealed to the slots
    Keyring,
}

/// Prints it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    let value = match args.what {
        What::Descriptor => descriptor(repository),
        What::Manifest => match &args.id {
            None => names(repository, &["snapshots"])?,
            Some(id) => {
                refresh(repository, out)?;
                let snapshot = repository.select(id, &Default::default())?.snapshot;
                let (index, names) = repository.read_manifest(&ObjectName::snapshot(&snapshot.id))?;
                manifest(&index, &names)
            }
        },
        What::Pending => match &args.id {
            None => names(repository, &["pending"])?,
            Some(id) => {
                let (index, names) = repository.read_manifest(&find(repository, &["pending"], id)?)?;
                manifest(&index, &names)
            }
        },
        What::Pack => match &args.id {
            None => names(repository, &Class::ALL.map(Class::folder))?,
            Some(id) => pack(repository, id)?,
        },
        What::Segment => match &args.id {
            None => names(repository, &["index"])?,
            Some(id) => segment(repository, id)?,
        },
        What::Slot => each(repository, "slots", args.id.as_deref(), slot)?,
        What::Keyring => each(repository, "keyring", args.id.as_deref(), keyring)?,
    };
    let text = if out.json { value.to_string() } else { format!("{value:#}") };
    out.result(text.as_bytes())?;
    Ok(Code::Done)
}

fn names(repository: &Repository, folders: &[&str]) -> Result<Value, Fail> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(repository.store().list(folder)?.into_iter().map(|l| json!({"name": l.name.to_string(), "bytes": l.bytes})));
    }
    Ok(all.into())
}

/// The one object below `folders` whose last part begins with `prefix`.
fn find(repository: &Repository, folders: &[&str], prefix: &str) -> Result<ObjectName, Fail> {
    let mut found = Vec::new();
    for folder in folders {
        found.extend(repository.store().list(folder)?.into_iter().map(|l| l.name).filter(|n| n.last().starts_with(prefix)));
    }
    match (found.pop(), found.len()) {
        (Some(name), 0) => Ok(name),
        (None, _) => Err(Fail::new(Code::Failed, format!("no object in {} begins with `{prefix}`", folders.join(", ")))
            .hint("without an id `seabed cat` lists them")),
        (Some(_), more) => Err(Fail::new(Code::Failed, format!("{} begin with `{prefix}`", size::of(more as u64 + 1, "object")))
            .hint("give more digits of the id")),
    }
}

fn each(
    repository: &Repository,
    folder: &str,
    id: Option<&str>,
    show: impl Fn(&ObjectName, &[u8]) -> Result<Value, Fail>,
) -> Result<Value, Fail> {
    let read = |name: &ObjectName| show(name, &repository.store().get(name, SMALL_OBJECT_BYTES_MAX)?);
    match id {
        Some(id) => read(&find(repository, &[folder], id)?),
        None => repository.store().list(folder)?.iter().map(|l| read(&l.name)).collect::<Result<Vec<_>, _>>().map(Value::from),
    }
}

fn descriptor(repository: &Repository) -> Value {
    let d = repository.descriptor();
    let profile = |p: &seabed_engine::format::repo::ProfileSizes| json!({"profile": p.profile, "min": p.min, "avg": p.avg, "max": p.max, "normalization": p.normalization});
    json!({
        "repository": d.repository.to_string(),
        "family": d.family.to_string(),
        "chunker": d.chunker,
        "profiles": d.profiles.iter().map(profile).collect::<Vec<_>>(),
        "created": time::rfc3339(&d.created),
    })
}

fn slot(name: &ObjectName, bytes: &[u8]) -> Result<Value, Fail> {
    let slot = decode_slot(name, bytes)?;
    Ok(json!({
        "name": name.to_string(),
        "kind": if slot.kind == seabed_engine::format::repo::SLOT_KEY_FILE { "key file" } else { "passphrase" },
        "kdf": slot.kdf.as_ref().map(|k| json!({"memory_kib": k.memory_kib, "passes": k.passes, "lanes": k.lanes})),
        "public": hex(&slot.public),
    }))
}

fn keyring(name: &ObjectName, bytes: &[u8]) -> Result<Value, Fail> {
    let keyring = decode_keyring(name, bytes)?;
    let slots: Vec<String> = keyring.recipients.iter().map(|r| r.slot.to_string()).collect();
    Ok(json!({"name": name.to_string(), "epoch": name.as_keyring(), "slots": slots}))
}

fn pack(repository: &Repository, id: &str) -> Result<Value, Fail> {
    let name = find(repository, &Class::ALL.map(Class::folder), id)?;
    let (class, id): (Class, PackId) = name.as_pack().ok_or_else(|| Fail::new(Code::Damage, format!("{name} is no name of a pack")))?;
    let pack = OpenPack::open(repository.store(), repository.keys(), class, &id)?;
    let footer = &pack.table.footer;
    let ids: Vec<String> = footer.ids.0.chunks_exact(32).map(hex).collect();
    let frame = |span: &seabed_engine::format::pack::FrameSpan| {
        let first = span.first_chunk as usize;
        let chunks: Vec<Value> = (first..first + span.info.chunks as usize)
            .filter_map(|n| {
                Some(json!({"id": ids.get(n)?, "offset": pack.table.chunks.get(n)?.offset, "bytes": pack.table.chunks.get(n)?.bytes}))
            })
            .collect();
        json!({
            "offset": span.offset, "stored": span.info.stored, "plain": span.info.plain, "codec": span.info.codec,
            "key": span.info.key, "ordinal": span.info.ordinal, "chunks": chunks,
        })
    };
    let key = |k: &seabed_engine::format::pack::PackKey| json!({"epoch": k.epoch, "suite": k.suite, "birth": k.birth.to_string()});
    Ok(json!({
        "name": name.to_string(),
        "class": class.folder(),
        "bytes": pack.bytes,
        "writer": footer.writer.to_string(),
        "session": footer.session.to_string(),
        "keys": footer.keys.iter().map(key).collect::<Vec<_>>(),
        "frames": pack.table.frames.iter().map(frame).collect::<Vec<_>>(),
    }))
}

fn segment(repository: &Repository, id: &str) -> Result<Value, Fail> {
    let name = find(repository, &["index"], id)?;
    let segment = repository.read_segment(&name)?;
    let packs: Vec<Value> =
        segment.packs.iter().map(|p| json!({"class": p.class.folder(), "id": p.id.to_string(), "bytes": p.bytes})).collect();
    Ok(json!({"name": name.to_string(), "packs": packs}))
}

fn manifest(index: &IndexPart, names: &NamesPart) -> Value {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let id = |id: &Option<SnapshotId>| id.as_ref().map(SnapshotId::to_string);
    let roots: Vec<Value> = index
        .roots
        .iter()
        .zip(&names.roots)
        .map(|(i, n)| {
            let stream = n.stream.as_ref().map(|s| {
                json!({
                    "argv": s.argv.iter().map(|a| text(&a.0)).collect::<Vec<_>>(),
                    "exit": s.exit, "stderr": text(&s.stderr.0), "format": s.format, "hash": hex(&s.hash),
                    "mode": s.mode, "uid": s.uid, "gid": s.gid, "mtime": time::rfc3339(&s.mtime),
                })
            });
            json!({
                "kind": i.kind, "name": text(&n.name.0), "level": i.level, "entries": i.entries, "bytes": i.bytes,
                "names": i.names.map(|c| c.to_string()), "lists": i.lists.map(|c| c.to_string()), "stream": stream,
            })
        })
        .collect();
    let heads: Vec<Value> = index
        .heads
        .iter()
        .map(|h| json!({"writer": h.writer.to_string(), "sequence": h.sequence, "snapshot": h.snapshot.to_string()}))
        .collect();
    let failures: Vec<Value> =
        names.failures.iter().map(|f| json!({"path": text(&f.path.0), "during": f.during, "message": f.message})).collect();
    json!({
        "index": {
            "snapshot": index.snapshot.to_string(), "writer": index.writer.to_string(), "sequence": index.sequence,
            "previous": id(&index.previous), "heads": heads, "time": time::rfc3339(&index.time),
            "started": time::rfc3339(&index.started), "finished": time::rfc3339(&index.finished),
            "group": index.group.as_ref().map(ObjectId::to_string), "incomplete": index.incomplete,
        },
        "names": {
            "series": names.series, "host": names.host, "user": names.user, "uid": names.uid, "gid": names.gid,
            "paths": names.paths.iter().map(|p| text(&p.0)).collect::<Vec<_>>(), "excludes": names.excludes, "tags": names.tags,
            "description": names.description, "program": names.program, "parent": id(&names.parent),
            "summary": crate::commands::backup::counts_json(&names.summary), "failures": failures,
            "origin": names.origin.as_ref().map(|o| json!({"repository": o.repository.to_string(), "snapshot": o.snapshot.to_string(), "how": o.how})),
        },
        "roots": roots,
    })
}
