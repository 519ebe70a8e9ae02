//! Manifests: what a snapshot is (spec chapter 6). Two sealed parts: one that a collector reads, one with names.
//! Committed and pending manifests have the same body; only the object's type and name differ.

use crate::error::{Damage, Error, Result};
use crate::format::entry::path_is_valid;
use crate::format::lists::Content;
use crate::format::object::{HEADER_BYTES, ObjectType, open_header};
use crate::format::tree::TreeRoot;
use crate::format::wire::{Bytes, Time, map_struct};
use crate::id::{ChunkId, ObjectId, ObjectName, SnapshotId, WriterId};
use std::collections::HashSet;

/// Root of file trees.
pub const ROOT_PATHS: u8 = 0;
/// Root that is one stream.
pub const ROOT_STREAM: u8 = 1;
/// Root that was a tar archive; its entries are a tree of their own, below the root's name where it has one.
pub const ROOT_TAR: u8 = 2;

map_struct! {
    /// A root as the collector sees it.
    pub struct IndexRoot {
        /// [`ROOT_PATHS`], [`ROOT_STREAM`] or [`ROOT_TAR`].
        0 => kind: u8,
        /// Level of the tree.
        2 ? level: u8,
        /// Names side of a tree.
        4 ? names: Option<ChunkId>,
        /// Lists side of a tree.
        6 ? lists: Option<ChunkId>,
        /// Entries of a tree.
        8 ? entries: u64,
        /// Bytes of content.
        10 ? bytes: u64,
        /// Content of a stream.
        12 ? content: Option<Content>,
    }
}

/// [`NamesPart::without`]: extended attributes, ACLs and capabilities among them.
pub const WITHOUT_XATTRS: u8 = 1;
/// [`NamesPart::without`]: ACLs.
pub const WITHOUT_ACLS: u8 = 2;
/// [`NamesPart::without`]: attributes of `chattr`.
pub const WITHOUT_FLAGS: u8 = 4;
/// [`NamesPart::without`]: names of owners.
pub const WITHOUT_OWNER_NAMES: u8 = 8;

/// Whether the halves of all roots fit: of one kind each, none without what its kind needs, streams and archives under paths that a
/// restore may create, each its own. A root that a reader would have to pass over is a snapshot that restores short.
pub fn roots_fit(index: &[IndexRoot], names: &[NamesRoot]) -> bool {
    let (mut streams, mut tars) = (HashSet::new(), HashSet::new());
    let top = |name: &[u8]| name.split(|b| *b == b'/').next().map(<[u8]>::to_vec);
    index.len() == names.len()
        && index.iter().zip(names).all(|(i, n)| {
            i.kind == n.kind
                && match i.kind {
                    ROOT_PATHS => i.as_tree().is_some(),
                    ROOT_TAR => i.as_tree().is_some() && path_is_valid(&n.name.0) && tars.insert(top(&n.name.0)),
                    ROOT_STREAM => {
                        i.content.is_some() && n.stream.is_some() && stream_name_is_valid(&n.name.0) && streams.insert(&n.name.0)
                    }
                    _ => false,
                }
        })
}

/// Whether a stream may have this path.
pub fn stream_name_is_valid(name: &[u8]) -> bool {
    !name.is_empty() && path_is_valid(name)
}

impl Stream {
    /// Of a stream of which nothing is known yet but whose it will be; `format` is `tar` for an archive.
    pub fn new(format: &str, (uid, gid): (u32, u32), mtime: Time) -> Self {
        let (argv, stderr, place, extra) = Default::default();
        Stream { argv, exit: None, stderr, format: format.to_owned(), hash: [0; 32], mode: 0o600, uid, gid, mtime, place, extra }
    }
}

/// The roots of a snapshot: what both parts of its manifest say of each.
#[derive(Default)]
pub struct Roots {
    /// For the part that needs the lists key.
    pub index: Vec<IndexRoot>,
    /// For the other one.
    pub names: Vec<NamesRoot>,
}

impl Roots {
    /// Adds the tree of all paths.
    pub fn paths(&mut self, tree: &TreeRoot) {
        self.push(IndexRoot::tree(ROOT_PATHS, tree), Vec::new(), None);
    }

    /// Adds a stream.
    pub fn stream(&mut self, (content, bytes): (Content, u64), name: Vec<u8>, facts: Stream) {
        self.push(IndexRoot::stream(content, bytes), name, Some(facts));
    }

    /// Adds the tree of an archive.
    pub fn tar(&mut self, tree: &TreeRoot, name: Vec<u8>, facts: Stream) {
        self.push(IndexRoot::tree(ROOT_TAR, tree), name, Some(facts));
    }

    fn push(&mut self, index: IndexRoot, name: Vec<u8>, stream: Option<Stream>) {
        self.names.push(NamesRoot { kind: index.kind, name: Bytes(name), stream, extra: Vec::new() });
        self.index.push(index);
    }
}

impl IndexRoot {
    /// A root that is a tree.
    pub fn tree(kind: u8, root: &TreeRoot) -> Self {
        let TreeRoot { level, names, lists, entries, bytes } = *root;
        IndexRoot { kind, level, names: Some(names), lists: Some(lists), entries, bytes, content: None, extra: Vec::new() }
    }

    /// A root that is a stream.
    pub fn stream(content: Content, bytes: u64) -> Self {
        IndexRoot { kind: ROOT_STREAM, level: 0, names: None, lists: None, entries: 0, bytes, content: Some(content), extra: Vec::new() }
    }

    /// The tree, where it is one and not deeper than any tree can be.
    pub fn as_tree(&self) -> Option<TreeRoot> {
        (self.level <= crate::limits::TREE_LEVELS_MAX).then_some(())?;
        Some(TreeRoot { level: self.level, names: self.names?, lists: self.lists?, entries: self.entries, bytes: self.bytes })
    }
}

map_struct! {
    /// The newest snapshot known of some writer.
    pub struct Head {
        /// The writer.
        0 => writer: WriterId,
        /// Its sequence number.
        2 => sequence: u64,
        /// The snapshot.
        4 => snapshot: SnapshotId,
    }
}

map_struct! {
    /// The part of a manifest that needs the lists key.
    pub struct IndexPart {
        /// The snapshot's id; also in the name of the object.
        0 => snapshot: SnapshotId,
        /// The roots, in the order of the names part.
        2 => roots: Vec<IndexRoot>,
        /// The ledger: who wrote this,
        4 => writer: WriterId,
        /// as which of its snapshots, counted from 1,
        6 => sequence: u64,
        /// after which,
        8 ? previous: Option<SnapshotId>,
        /// having seen which snapshots of others that nothing it saw vouches for.
        10 ? heads: Vec<Head>,
        /// The time that the snapshot stands for.
        12 => time: Time,
        /// When the run began, by its own clock.
        14 => started: Time,
        /// When this was written, by the same clock.
        16 => finished: Time,
        /// Snapshots of one run into several repositories or series share this.
        18 ? group: Option<ObjectId>,
        /// Not all of what was asked for is in it yet.
        20 ? incomplete: bool,
    }
}

map_struct! {
    /// What is known of a stream or archive.
    pub struct Stream {
        /// The command, where it was one: program and arguments.
        0 ? argv: Vec<Bytes>,
        /// Its exit status.
        2 ? exit: Option<u32>,
        /// The end of what it wrote to standard error.
        4 ? stderr: Bytes,
        /// What is in it, where a job said: `postgres`, `mysql`; `tar` for an archive, `s3` for a bucket.
        6 ? format: String,
        /// BLAKE3 of the whole stream, of an archive as it came, of a bucket's listing.
        8 => hash: [u8; 32],
        /// Permission bits that a restore gives it.
        10 => mode: u32,
        /// Owner of a restored file.
        12 ? uid: u32,
        /// Group of a restored file.
        14 ? gid: u32,
        /// Time of a restored file.
        16 => mtime: Time,
        /// Where the objects of a bucket come from: `s3://bucket/prefix`.
        17 ? place: String,
    }
}

map_struct! {
    /// A root with its names.
    pub struct NamesRoot {
        /// As in the index part.
        0 => kind: u8,
        /// Path of a stream, or of the directory in which the entries of an archive or a bucket lie; without leading `/`.
        2 ? name: Bytes,
        /// What is known of a stream, archive or bucket.
        4 ? stream: Option<Stream>,
    }
}

map_struct! {
    /// What a run counted. Sizes in bytes.
    pub struct Summary {
        /// Files that were not in the parent.
        0 ? files_new: u64,
        /// Files that differ from the parent.
        2 ? files_changed: u64,
        /// Files as in the parent.
        4 ? files_unmodified: u64,
        /// Directories that were not in the parent.
        6 ? dirs_new: u64,
        /// Directories that differ from the parent.
        8 ? dirs_changed: u64,
        /// Directories as in the parent.
        10 ? dirs_unmodified: u64,
        /// Everything else: links, fifos, devices, sockets.
        12 ? others: u64,
        /// New chunks of content.
        14 ? data_chunks: u64,
        /// New chunks of names and lists.
        16 ? tree_chunks: u64,
        /// Plaintext of new chunks.
        18 ? bytes_added: u64,
        /// What these became in the store, packs and index together.
        20 ? bytes_stored: u64,
        /// Files in the snapshot.
        22 ? files_total: u64,
        /// Content of the snapshot.
        24 ? bytes_total: u64,
        /// Sources that failed.
        26 ? errors: u64,
        /// Content that had to be read: all but that of files that were taken over from the parent.
        27 ? bytes_read: u64,
    }
}

impl Default for Summary {
    fn default() -> Self {
        match crate::format::wire::from_bytes(&[0xa0], "summary") {
            Ok(summary) => summary,
            Err(_) => unreachable!("every field of a summary is optional"),
        }
    }
}

map_struct! {
    /// A source that could not be read.
    pub struct Failure {
        /// Its path.
        0 => path: Bytes,
        /// What was being done.
        2 => during: String,
        /// What the system said.
        4 => message: String,
    }
}

map_struct! {
    /// Where a copied or rewritten snapshot comes from.
    pub struct Origin {
        /// The repository.
        0 => repository: crate::id::RepositoryId,
        /// The snapshot there.
        2 => snapshot: SnapshotId,
        /// How: [`COPY`], `rewrite`, `undelete`, [`REPAIR`], [`REKEY`].
        4 => how: String,
    }
}

/// [`Origin::how`] of a copy in another repository.
pub const COPY: &str = "copy";
/// [`Origin::how`] of a snapshot that was sealed anew after a rotation.
pub const REKEY: &str = "rekey";
/// [`Origin::how`] of a snapshot whose manifest was lost and was brought back.
pub const REPAIR: &str = "repair";

impl Origin {
    /// Whether the snapshot is the very same as the one it comes from, but for its id and what it is sealed with.
    pub fn is_the_same(&self) -> bool {
        [COPY, REKEY, REPAIR].contains(&self.how.as_str())
    }
}

map_struct! {
    /// The part of a manifest that needs the names key.
    pub struct NamesPart {
        /// The series.
        0 => series: String,
        /// The host.
        2 => host: String,
        /// Who ran it.
        4 ? user: String,
        /// Number of who ran it.
        6 ? uid: u32,
        /// Group of who ran it.
        8 ? gid: u32,
        /// What was asked for: absolute paths, names of streams.
        10 ? paths: Vec<Bytes>,
        /// What was left out.
        12 ? excludes: Vec<String>,
        /// Tags.
        14 ? tags: Vec<String>,
        /// A line for people.
        16 ? description: String,
        /// Program and version.
        18 => program: String,
        /// The snapshot this one was compared with.
        20 ? parent: Option<SnapshotId>,
        /// The roots, in the order of the index part.
        22 => roots: Vec<NamesRoot>,
        /// What the run counted.
        24 => summary: Summary,
        /// The first sources that failed; how many in all is in the summary.
        26 ? failures: Vec<Failure>,
        /// For copies and rewrites.
        28 ? origin: Option<Origin>,
        /// Attributes that were not recorded though entries may have them: a sum of [`WITHOUT_XATTRS`] and its like. A later run that
        /// records others must not take an unchanged entry's from here.
        30 ? without: u8,
    }
}

impl IndexPart {
    /// Of a whole snapshot that stands for the time at which it was made: no roots yet, and nothing before it.
    pub fn new(snapshot: SnapshotId, (writer, sequence): (WriterId, u64), time: Time) -> Self {
        let (roots, heads, extra) = Default::default();
        let (started, finished) = (time, time);
        IndexPart {
            snapshot,
            roots,
            writer,
            sequence,
            previous: None,
            heads,
            time,
            started,
            finished,
            group: None,
            incomplete: false,
            extra,
        }
    }
}

impl NamesPart {
    /// Of a series on a host, with nothing in it yet.
    pub fn new(series: &str, host: &str) -> Self {
        let (paths, excludes, tags, roots, failures, extra) = Default::default();
        let (user, description, program) = Default::default();
        NamesPart {
            series: series.to_owned(),
            host: host.to_owned(),
            user,
            uid: 0,
            gid: 0,
            paths,
            excludes,
            tags,
            description,
            program,
            parent: None,
            roots,
            summary: Summary::default(),
            failures,
            origin: None,
            without: 0,
            extra,
        }
    }
}

/// Failures that a manifest keeps; the count in the summary is not bounded.
pub const FAILURES_MAX: usize = 1000;

/// Length of what stands before the parts: object header, their two lengths.
pub const MANIFEST_HEADER_BYTES: usize = HEADER_BYTES + 8;

/// Joins the two sealed parts to an object.
pub fn assemble(kind: ObjectType, index: &[u8], names: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MANIFEST_HEADER_BYTES + index.len() + names.len());
    out.extend_from_slice(&kind.header());
    out.extend_from_slice(&(index.len() as u32).to_le_bytes());
    out.extend_from_slice(&(names.len() as u32).to_le_bytes());
    out.extend_from_slice(index);
    out.extend_from_slice(names);
    out
}

/// Splits an object into its two sealed parts.
pub fn split<'a>(name: &ObjectName, kind: ObjectType, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
    let rest = open_header(name, kind, bytes)?;
    let bad = || Error::damaged(name, Damage::Malformed("part lengths"));
    let (lengths, parts) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
    let [a, b, c, d, e, f, g, h] = *lengths;
    let (index, names) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
    if index.checked_add(names) != Some(parts.len()) {
        return Err(bad());
    }
    Ok(parts.split_at(index))
}
