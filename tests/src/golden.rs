//! The vectors of `format-spec/vectors`: a small repository with an object of every type, made with fixed keys and nonces.
//! Sealing is written here a second time, from the spec, so that the engine needs no way to choose a nonce and is checked by other code than its own.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use seabed_engine::chunk::{ChunkIds, Chunker, Profile};
use seabed_engine::format::entry::{Entry, EntryKind, Xattr, join};
use seabed_engine::format::lists::{Content, Item, ListWriter};
use seabed_engine::format::manifest::{
    Failure, Head, IndexPart, IndexRoot, NamesPart, NamesRoot, Origin, ROOT_PATHS, ROOT_STREAM, Stream, Summary,
};
use seabed_engine::format::object::{ObjectType, Purpose, SUITE_SYMMETRIC, padded_body, padme};
use seabed_engine::format::pack::{CODEC_RAW, CODEC_ZSTD, Footer, FrameInfo, PackKey};
use seabed_engine::format::protocol::{Condemned, Hold, Note, Record, Release, Tombstone};
use seabed_engine::format::repo::{
    CHUNKER_GEAR, Descriptor, Feature, Kdf, KeySet, Keyring, Member, ProfileSizes, Recipient, SLOT_KEY_FILE, SLOT_PASSPHRASE, Slot,
    SlotSecret, SubKey,
};
use seabed_engine::format::segment::{Segment, SegmentPack, entry, prefix};
use seabed_engine::format::tree::{TreeCutter, TreeWriter};
use seabed_engine::format::wire::{Bytes, Time, Wire, to_bytes};
use seabed_engine::id::{Birth, ChunkId, Class, FamilyId, ObjectId, ObjectName, PackId, RepositoryId, SnapshotId, WriterId};
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use x25519_dalek::{PublicKey, StaticSecret};

/// The vectors' repository.
pub const REPOSITORY: RepositoryId = RepositoryId::new(*b"vector repo 0001");
/// Its family.
pub const FAMILY: FamilyId = FamilyId::new(*b"vector family 01");
/// The passphrase of its first slot.
pub const PASSPHRASE: &[u8] = b"correct horse battery staple";
/// The key file of its second slot.
pub const KEY_FILE: [u8; 32] = [0x33; 32];
/// Its two epochs: the data pack is from the first, everything else from the second.
pub const EPOCHS: [u32; 2] = [1, 3000];
/// Its snapshot.
pub const SNAPSHOT: SnapshotId = SnapshotId::new([0xa1; 32]);
const FORGOTTEN: SnapshotId = SnapshotId::new([0xa0; 32]);
const WRITER: WriterId = WriterId::new([0x44; 16]);
const NOW: i64 = 1_750_000_000_123_456_789;

/// An entry with its directory and content.
pub type Row = (Vec<u8>, Entry, Option<Content>);

/// All that the vectors are made of.
pub struct Vectors {
    /// The objects by name.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// The entries of the snapshot, in order.
    pub rows: Vec<Row>,
    /// The keys, as the keyring holds them.
    pub keys: KeySet,
    /// Plaintexts by id.
    pub chunks: BTreeMap<[u8; 32], Vec<u8>>,
    /// What the stream holds.
    pub stream: Vec<u8>,
}

/// Bytes that look random, the same on every machine.
pub fn noise(label: &str, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut out);
    out
}

fn fixed<const N: usize>(label: &str) -> [u8; N] {
    noise(label, N).try_into().unwrap_or([0; N])
}

fn xseal(key: &[u8; 32], aad: &[u8], plain: &[u8], label: &str) -> Vec<u8> {
    let nonce: [u8; 24] = fixed(&format!("nonce {label}"));
    let sealed = XChaCha20Poly1305::new(key.into()).encrypt(&nonce.into(), Payload { msg: plain, aad }).expect("sealing never fails");
    [&nonce[..], &sealed].concat()
}

/// The sub-keys: derived from two fixed roots per chapter 3.
pub fn key_set() -> KeySet {
    let mut keys = Vec::new();
    for purpose in Purpose::ALL {
        let epochs = if purpose.rotates() { &EPOCHS[..] } else { &[0] };
        for epoch in epochs {
            let key = blake3::derive_key(purpose.context(), &fixed::<32>(&format!("root {epoch}")));
            keys.push(SubKey { purpose: purpose as u8, epoch: *epoch, key, extra: vec![] });
        }
    }
    KeySet { family: FAMILY, keys, members: ["passphrase", "key file"].map(member).to_vec(), extra: vec![] }
}

fn sub_key(purpose: Purpose, epoch: u32) -> [u8; 32] {
    let found = key_set().keys.into_iter().find(|k| k.purpose == purpose as u8 && k.epoch == epoch);
    found.expect("the set has every purpose and epoch").key
}

fn slot_id(kind: &str) -> ObjectId {
    ObjectId::new(fixed(&format!("slot {kind}")))
}

fn member(kind: &str) -> Member {
    let secret = StaticSecret::from(fixed::<32>(&format!("slot secret {kind}")));
    // As members were before they had labels: such keyrings open for ever.
    let (public, vouch) = (PublicKey::from(&secret).to_bytes(), fixed(&format!("vouch {kind}")));
    Member { slot: slot_id(kind), public, vouch, label: String::new(), created: None, extra: vec![] }
}

fn slot(kind: &str) -> (ObjectName, Vec<u8>) {
    let name = ObjectName::slot(&slot_id(kind));
    let salt: [u8; 32] = fixed(&format!("salt {kind}"));
    let cost = Kdf { memory_kib: 64, passes: 1, lanes: 1, extra: vec![] };
    let passphrase = kind == "passphrase";
    let mut kek = [0; 32];
    if passphrase {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).expect("legal costs");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(PASSPHRASE, &salt, &mut kek).expect("64 KiB");
    } else {
        kek = blake3::derive_key("seabed v1 key file", &[KEY_FILE, salt].concat());
    }
    let commitment = *blake3::keyed_hash(&blake3::derive_key("seabed v1 slot commitment", &kek), REPOSITORY.as_bytes()).as_bytes();
    let m = member(kind);
    let body = SlotSecret {
        secret: fixed(&format!("slot secret {kind}")),
        label: kind.to_owned(),
        created: Time::from_nanos(NOW),
        vouch: m.vouch,
        extra: vec![],
    };
    let aad = [&ObjectType::Slot.header()[..], REPOSITORY.as_bytes(), name.as_str().as_bytes()].concat();
    let slot = Slot {
        kind: if passphrase { SLOT_PASSPHRASE } else { SLOT_KEY_FILE },
        kdf: passphrase.then_some(cost),
        salt,
        commitment,
        public: m.public,
        sealed: Bytes(xseal(&blake3::derive_key("seabed v1 slot wrap", &kek), &aad, &padded_body(&body), name.as_str())),
        extra: vec![],
    };
    (name, [&ObjectType::Slot.header()[..], &to_bytes(&slot)].concat())
}

fn keyring() -> (ObjectName, Vec<u8>) {
    let name = ObjectName::keyring(EPOCHS[1], &ObjectId::new(fixed("keyring")));
    let copy = |m: &Member| {
        let label = format!("{name} {}", m.slot);
        let ephemeral = StaticSecret::from(fixed::<32>(&label));
        let public = PublicKey::from(&ephemeral).to_bytes();
        let shared = ephemeral.diffie_hellman(&PublicKey::from(m.public));
        let key = blake3::derive_key("seabed v1 keyring recipient", &[*shared.as_bytes(), public, m.public, m.vouch].concat());
        let aad = [&ObjectType::Keyring.header()[..], REPOSITORY.as_bytes(), m.slot.as_bytes(), name.as_str().as_bytes()].concat();
        Recipient { slot: m.slot, ephemeral: public, sealed: Bytes(xseal(&key, &aad, &padded_body(&key_set()), &label)), extra: vec![] }
    };
    let body = Keyring { epoch: EPOCHS[1], recipients: key_set().members.iter().map(copy).collect(), extra: vec![] };
    let object = [&ObjectType::Keyring.header()[..], &to_bytes(&body)].concat();
    (name, object)
}

/// Where a part stands, and what it is sealed under.
pub struct Place<'a> {
    /// Repository or family.
    pub scope: &'a [u8; 16],
    /// Type of the object.
    pub kind: ObjectType,
    /// Number of the part.
    pub number: u8,
    /// Purpose of the key.
    pub purpose: Purpose,
    /// Epoch of the key.
    pub epoch: u32,
    /// Name of the object, or birth of the pack.
    pub name: &'a [u8],
}

/// Seals a part as chapter 2 says, with the nonce that the vectors have for `label`.
pub fn part(place: &Place<'_>, label: &str, plain: &[u8]) -> Vec<u8> {
    let Place { scope, kind, number, purpose, epoch, name } = *place;
    let mut head = [SUITE_SYMMETRIC, purpose as u8, 0, 0, 0, 0, 0, 0];
    head[4..].copy_from_slice(&epoch.to_le_bytes());
    let aad = [&scope[..], &kind.header(), &[number], &head, name].concat();
    [&head[..], &xseal(&sub_key(purpose, epoch), &aad, plain, &format!("{label} {number}"))].concat()
}

fn sealed<T: Wire>(name: &ObjectName, kind: ObjectType, number: u8, purpose: Purpose, body: &T) -> Vec<u8> {
    let text = name.as_str();
    let place = Place { scope: REPOSITORY.as_bytes(), kind, number, purpose, epoch: EPOCHS[1], name: text.as_bytes() };
    part(&place, text, &padded_body(body))
}

/// An object of one sealed part.
pub fn object<T: Wire>(name: &ObjectName, kind: ObjectType, purpose: Purpose, body: &T) -> Vec<u8> {
    [&kind.header()[..], &sealed(name, kind, 0, purpose, body)].concat()
}

/// A manifest.
pub fn manifest(name: &ObjectName, kind: ObjectType, index: &IndexPart, names: &NamesPart) -> Vec<u8> {
    let (a, b) = (sealed(name, kind, 0, Purpose::Lists, index), sealed(name, kind, 1, Purpose::Names, names));
    [&kind.header()[..], &(a.len() as u32).to_le_bytes(), &(b.len() as u32).to_le_bytes(), &a, &b].concat()
}

/// The descriptor's body. Its profiles are tiny, so that little content has many chunks.
pub fn descriptor() -> Descriptor {
    let row = |p: Profile| ProfileSizes { profile: p.code(), min: 64, avg: 256, max: 1024, normalization: 1, extra: vec![] };
    Descriptor {
        repository: REPOSITORY,
        family: FAMILY,
        chunker: CHUNKER_GEAR,
        profiles: Profile::ALL.map(row).to_vec(),
        created: Time::from_nanos(NOW),
        extra: vec![],
    }
}

/// A frame before sealing: the pack it was born in, its ordinal there, codec, encoded bytes, chunks.
struct Frame {
    born: &'static str,
    ordinal: u32,
    codec: u8,
    encoded: Vec<u8>,
    chunks: Vec<(ChunkId, Vec<u8>)>,
}

impl Frame {
    fn raw(born: &'static str, ordinal: u32, chunks: Vec<(ChunkId, Vec<u8>)>) -> Self {
        let encoded = chunks.iter().flat_map(|(_, plain)| plain).copied().collect();
        Frame { born, ordinal, codec: CODEC_RAW, encoded, chunks }
    }
}

struct Pack {
    id: PackId,
    class: Class,
    bytes: Vec<u8>,
    ids: Vec<ChunkId>,
}

fn pack(class: Class, epoch: u32, births: &[&'static str], frames: &[Frame]) -> Pack {
    let kind = ObjectType::pack(class);
    let code = class.code();
    let birth = |born: &str| Birth::new(fixed(&format!("birth {born}")));
    let pack_key = |born: &str| fixed::<32>(&format!("pack key {born}"));
    let key = |born: &&'static str| {
        let aad = [&b"seabed v1 pack key"[..], FAMILY.as_bytes(), &[code], birth(born).as_bytes()].concat();
        let wrapped = xseal(&sub_key(Purpose::wraps(class), epoch), &aad, &pack_key(born), &format!("pack key {born}"));
        PackKey { epoch, suite: SUITE_SYMMETRIC, birth: birth(born), wrapped: Bytes(wrapped), extra: vec![] }
    };
    let own = birth(births[0]);
    let mut bytes = [&kind.header()[..], own.as_bytes()].concat();
    let mut footer = Footer {
        keys: births.iter().map(key).collect(),
        frames: vec![],
        ids: Bytes::default(),
        lengths: vec![],
        writer: WRITER,
        session: SNAPSHOT,
        domain: 0,
        signature: Bytes::default(),
        extra: vec![],
    };
    for f in frames {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&f.ordinal.to_le_bytes());
        let aad = [&FAMILY.as_bytes()[..], &[code], birth(f.born).as_bytes(), &f.ordinal.to_le_bytes(), &[f.codec]].concat();
        let cipher = ChaCha20Poly1305::new((&pack_key(f.born)).into());
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: &f.encoded, aad: &aad }).expect("sealing never fails");
        bytes.extend_from_slice(&sealed);
        footer.frames.push(FrameInfo {
            key: births.iter().position(|b| *b == f.born).expect("a row for each birth") as u32,
            ordinal: f.ordinal,
            stored: sealed.len() as u32,
            plain: f.chunks.iter().map(|(_, p)| p.len() as u32).sum(),
            codec: f.codec,
            chunks: f.chunks.len() as u32,
            bases: vec![],
            extra: vec![],
        });
        for (id, plain) in &f.chunks {
            footer.ids.0.extend_from_slice(id.as_bytes());
            footer.lengths.push(plain.len() as u32);
        }
    }
    let place = Place { scope: FAMILY.as_bytes(), kind, number: 0, purpose: Purpose::Lists, epoch, name: own.as_bytes() };
    let sealed = part(&place, &format!("footer {}", births[0]), &padded_body(&footer));
    let bare = bytes.len() + sealed.len() + 32;
    bytes.extend_from_slice(&noise(&format!("padding {}", births[0]), padme(bare as u64) as usize - bare));
    bytes.extend_from_slice(&sealed);
    bytes.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(own.as_bytes());
    bytes.extend_from_slice(&kind.header());
    let ids = frames.iter().flat_map(|f| f.chunks.iter().map(|(id, _)| *id)).collect();
    Pack { id: PackId::new(*blake3::hash(&bytes).as_bytes()), class, bytes, ids }
}

/// Chunks by class, each once, in the order in which they came.
#[derive(Default)]
struct Chunks {
    seen: HashSet<ChunkId>,
    by_class: BTreeMap<u8, Vec<(ChunkId, Vec<u8>)>>,
}

impl Chunks {
    fn store(&mut self, ids: &ChunkIds, class: Class, plain: &[u8]) -> ChunkId {
        let id = ids.id(class, plain);
        if self.seen.insert(id) {
            self.by_class.entry(class.code()).or_default().push((id, plain.to_vec()));
        }
        id
    }

    fn take(&mut self, class: Class) -> Vec<(ChunkId, Vec<u8>)> {
        self.by_class.remove(&class.code()).unwrap_or_default()
    }
}

struct Maker {
    chunker: Chunker,
    ids: ChunkIds,
    chunks: Chunks,
}

impl Maker {
    fn content(&mut self, pieces: &[Result<&[u8], u64>]) -> (Content, u64) {
        let mut writer = ListWriter::default();
        let Maker { chunker, ids, chunks } = self;
        for piece in pieces.iter().copied() {
            let mut items = Vec::new();
            match piece {
                Err(hole) => items.push((Item::Hole(hole), hole)),
                Ok(mut data) => {
                    while !data.is_empty() {
                        let (chunk, rest) = data.split_at(chunker.cut(Profile::Normal, data));
                        items.push((Item::Chunk(chunks.store(ids, Class::Data, chunk)), chunk.len() as u64));
                        data = rest;
                    }
                }
            }
            for (item, bytes) in items {
                let done = writer.push(item, bytes, &mut |class, plain: &[u8]| Ok::<_, Infallible>(chunks.store(ids, class, plain)));
                done.unwrap_or_else(|never| match never {});
            }
        }
        writer
            .finish(&mut |class, plain: &[u8]| Ok::<_, Infallible>(chunks.store(ids, class, plain)))
            .unwrap_or_else(|never| match never {})
    }
}

fn file(name: &[u8], kind: EntryKind, mode: u32) -> Entry {
    let mut e = Entry::new(name, kind);
    e.mode = mode;
    e.uid = 1000;
    e.gid = 1000;
    e.user = Bytes(b"vera".to_vec());
    e.mtime = Time::from_nanos(NOW - 7_000_000_000);
    e.ctime = Time::from_nanos(NOW - 6_000_000_000);
    e
}

fn rows(maker: &mut Maker, cutter: &TreeCutter) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let plain = |dir: &[u8], entry: Entry| (dir.to_vec(), entry, None);
    let mut srv = file(b"srv", EntryKind::Directory, 0o755);
    srv.implied = true;
    rows.push(plain(b"", srv));
    let mut docs = file(b"docs", EntryKind::Directory, 0o750);
    // Before 1677: outside 64 bits of nanoseconds.
    docs.mtime = Time { secs: -10_000_000_000, nanos: 5 };
    rows.push(plain(b"srv", docs));
    rows.push(plain(b"srv", file(b"pipe", EntryKind::Fifo, 0o644)));
    let mut link = file(b"link", EntryKind::Symlink, 0o777);
    link.target = Bytes(b"docs/raw-\xff".to_vec());
    rows.push(plain(b"srv", link));
    let mut unreadable = file(b"unreadable", EntryKind::File, 0o600);
    unreadable.status = 2;
    rows.push(plain(b"srv", unreadable));
    let mut full = |dir: &[u8], mut entry: Entry, pieces: &[Result<&[u8], u64>]| {
        let (content, bytes) = maker.content(pieces);
        entry.size = bytes;
        rows.push((dir.to_vec(), entry, Some(content)));
    };
    let cut = (0..).map(|i| format!("cut-{i}")).find(|n| cutter.level(&join(b"srv", n.as_bytes())) > 0);
    full(b"srv", file(cut.unwrap_or_default().as_bytes(), EntryKind::File, 0o644), &[Ok(b"a leaf begins here\n")]);
    full(b"srv", file(b"empty", EntryKind::File, 0o644), &[]);
    for name in [b"twin-a", b"twin-b"] {
        let mut twin = file(name, EntryKind::File, 0o640);
        (twin.inode, twin.device, twin.links) = (77, 0, 2);
        full(b"srv", twin, &[Ok(b"one file, two names\n")]);
    }
    full(b"srv", file(b"sparse", EntryKind::File, 0o600), &[Ok(b"begin"), Err(1 << 20), Ok(b"end"), Err(4096)]);
    let mut noted = file(b"raw-\xff", EntryKind::File, 0o4755);
    noted.xattrs = vec![Xattr { name: Bytes(b"user.note".to_vec()), value: Bytes(b"kept".to_vec()), extra: vec![] }];
    full(b"srv/docs", noted, &[Ok(&noise("small", 3000))]);
    // Period content has few chunks and a long list; one period whose list is cut gives the tree a second level.
    let period = |n: u32| noise(&format!("period {n}"), 6000);
    let mut big = Vec::new();
    for n in 0.. {
        let found = {
            let mut trial = Maker { chunker: chunker(), ids: maker_ids(), chunks: Chunks::default() };
            big = period(n).repeat(20);
            let (content, _) = trial.content(&[Ok(&big)]);
            matches!(content, Content::Tree(root) if root.level > 0)
        };
        if found {
            break;
        }
    }
    full(b"srv/docs", file(b"big", EntryKind::File, 0o644), &[Ok(&big)]);
    rows.sort_by(|a, b| seabed_engine::format::entry::compare((&a.0, &a.1.name.0), (&b.0, &b.1.name.0)));
    rows
}

fn chunker() -> Chunker {
    Chunker::new(&sub_key(Purpose::Gear, 0), &descriptor().profiles).expect("legal sizes")
}

fn maker_ids() -> ChunkIds {
    ChunkIds::new([Purpose::IdsData, Purpose::IdsNames, Purpose::IdsLists].map(|p| sub_key(p, 0)))
}

/// The text of the stream.
pub fn stream_text() -> Vec<u8> {
    (0..200).map(|i| format!("INSERT INTO t VALUES ({i}, 'row {i}');\n")).collect::<String>().into_bytes()
}

/// Makes all vectors. `zstd` compresses the one zstd frame, or brings the bytes that an earlier zstd made of it.
pub fn build(zstd: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Vectors {
    let mut objects = BTreeMap::new();
    let mut maker = Maker { chunker: chunker(), ids: maker_ids(), chunks: Chunks::default() };
    let gear = sub_key(Purpose::Gear, 0);
    let cutter = TreeCutter::new(&gear);
    let rows = rows(&mut maker, &cutter);
    let mut files = maker.chunks.take(Class::Data);
    let stream = stream_text();
    let (stream_content, stream_bytes) = maker.content(&[Ok(&stream)]);
    let streamed = maker.chunks.take(Class::Data);
    let mut tree = TreeWriter::new(cutter);
    let Maker { ids, chunks, .. } = &mut maker;
    let mut store = |class, plain: &[u8]| Ok::<_, Infallible>(chunks.store(ids, class, plain));
    for (dir, entry, content) in &rows {
        tree.push(dir, entry, content.as_ref(), &mut store).unwrap_or_else(|never| match never {});
    }
    let root = tree.finish(&mut store).unwrap_or_else(|never| match never {}).expect("there are entries");
    let (names, lists) = (chunks.take(Class::Names), chunks.take(Class::Lists));
    let plains = [&files, &streamed, &names, &lists].into_iter().flatten().map(|(id, p)| (*id.as_bytes(), p.clone())).collect();

    let joined: Vec<u8> = streamed.iter().flat_map(|(_, p)| p).copied().collect();
    let copied = files.split_off(files.len() - 2);
    let zstd_frame = Frame { born: "data", ordinal: 1, codec: CODEC_ZSTD, encoded: zstd(&joined), chunks: streamed };
    let packs = [
        // The last frame was born in another pack, as its fifth, and copied.
        pack(
            Class::Data,
            EPOCHS[0],
            &["data", "elsewhere"],
            &[Frame::raw("data", 0, files), zstd_frame, Frame::raw("elsewhere", 4, copied)],
        ),
        pack(Class::Names, EPOCHS[1], &["names"], &[Frame::raw("names", 0, names)]),
        pack(Class::Lists, EPOCHS[1], &["lists"], &[Frame::raw("lists", 0, lists)]),
    ];
    let mut put = |name: ObjectName, bytes: Vec<u8>| {
        assert!(objects.insert(name.as_str().to_owned(), bytes).is_none(), "names never recur");
    };
    let mut entries: Vec<_> = packs
        .iter()
        .enumerate()
        .flat_map(|(p, pack)| pack.ids.iter().enumerate().map(move |(c, id)| entry(&prefix(id), p as u32, c as u32)))
        .collect();
    entries.sort();
    let row = |p: &Pack| SegmentPack { class: p.class, id: p.id, bytes: p.bytes.len() as u64, extra: vec![] };
    let segment = Segment { packs: packs.iter().map(row).collect(), entries: Bytes(entries.concat()), extra: vec![] };
    let oid = |label: &str| ObjectId::new(fixed(label));

    put(ObjectName::descriptor(), {
        let body = to_bytes(&descriptor());
        let covered = [&ObjectType::Descriptor.header()[..], &(body.len() as u32).to_le_bytes(), &body].concat();
        let mac = blake3::keyed_hash(&blake3::derive_key("seabed v1 descriptor mac", &gear), &covered);
        [&covered[..], mac.as_bytes()].concat()
    });
    for kind in ["passphrase", "key file"] {
        let (name, bytes) = slot(kind);
        put(name, bytes);
    }
    let (name, bytes) = keyring();
    put(name, bytes);
    let time = Time::from_nanos(NOW);
    let index = IndexPart {
        snapshot: SNAPSHOT,
        roots: vec![IndexRoot::tree(ROOT_PATHS, &root), IndexRoot::stream(stream_content, stream_bytes)],
        writer: WRITER,
        sequence: 2,
        previous: Some(FORGOTTEN),
        heads: vec![Head { writer: WriterId::new([0x45; 16]), sequence: 9, snapshot: SnapshotId::new([0xa2; 32]), extra: vec![] }],
        time,
        started: time,
        finished: Time::from_nanos(NOW + 1_000_000_000),
        group: Some(oid("group")),
        incomplete: false,
        extra: vec![],
    };
    let stream_facts = Stream {
        argv: vec![Bytes(b"pg_dump".to_vec()), Bytes(b"shop".to_vec())],
        exit: Some(0),
        stderr: Bytes(b"pg_dump: done\n".to_vec()),
        format: "postgres".into(),
        hash: *blake3::hash(&stream).as_bytes(),
        mode: 0o600,
        uid: 1000,
        gid: 1000,
        mtime: time,
        place: String::new(),
        extra: vec![],
    };
    let summary =
        Summary { files_new: 7, others: 2, errors: 1, files_total: 7, bytes_total: root.bytes + stream_bytes, ..Summary::default() };
    let names_part = NamesPart {
        series: "shop".into(),
        host: "vector".into(),
        user: "vera".into(),
        uid: 1000,
        gid: 1000,
        paths: vec![Bytes(b"/srv".to_vec())],
        excludes: vec!["*.tmp".into()],
        tags: vec!["nightly".into()],
        description: "the vectors of the format".into(),
        program: "seabed 0".into(),
        parent: Some(FORGOTTEN),
        roots: vec![
            NamesRoot { kind: ROOT_PATHS, name: Bytes::default(), stream: None, extra: vec![] },
            NamesRoot { kind: ROOT_STREAM, name: Bytes(b"shop.sql".to_vec()), stream: Some(stream_facts), extra: vec![] },
        ],
        summary,
        failures: vec![Failure {
            path: Bytes(b"/srv/unreadable".to_vec()),
            during: "read".into(),
            message: "denied".into(),
            extra: vec![],
        }],
        origin: Some(Origin { repository: RepositoryId::new([9; 16]), snapshot: SNAPSHOT, how: "copy".into(), extra: vec![] }),
        without: 0,
        extra: vec![],
    };
    let name = ObjectName::snapshot(&SNAPSHOT);
    put(name.clone(), manifest(&name, ObjectType::Snapshot, &index, &names_part));
    let name = ObjectName::pending(&SNAPSHOT, 3);
    put(name.clone(), manifest(&name, ObjectType::Pending, &IndexPart { incomplete: true, ..index.clone() }, &names_part));

    let id = oid("small objects");
    let admin = Purpose::Admin;
    let name = ObjectName::segment(&id);
    put(name.clone(), object(&name, ObjectType::Segment, Purpose::Lists, &segment));
    let name = ObjectName::feature("vector-example").expect("a legal name");
    let feature = Feature { name: "vector-example".into(), read: false, write: false, gc: true, extra: vec![(1, vec![0xf5])] };
    put(name.clone(), object(&name, ObjectType::Feature, Purpose::Lists, &feature));
    let name = ObjectName::tombstone(&FORGOTTEN, &id);
    let tombstone = Tombstone {
        snapshot: FORGOTTEN,
        writer: WRITER,
        sequence: 1,
        previous: None,
        heads: vec![],
        time,
        reason: "forget".into(),
        extra: vec![],
    };
    put(name.clone(), object(&name, ObjectType::Tombstone, admin, &tombstone));
    let name = ObjectName::hold(&SNAPSHOT, &id);
    let hold = Hold { snapshot: SNAPSHOT, reason: "audit".into(), until: Some(Time { secs: 1 << 40, nanos: 1 }), time, extra: vec![] };
    put(name.clone(), object(&name, ObjectType::Hold, admin, &hold));
    let name = ObjectName::release(&SNAPSHOT, &id);
    put(name.clone(), object(&name, ObjectType::Release, admin, &Release { snapshot: SNAPSHOT, holds: vec![id], time, extra: vec![] }));
    let name = ObjectName::record(2, &id);
    let condemned = Condemned { class: Class::Data, id: PackId::new([0xee; 32]), extra: vec![] };
    let record =
        Record { sequence: 2, packs: vec![condemned], seen: vec![oid("record 1")], folds: vec![oid("record 1")], time, extra: vec![] };
    put(name.clone(), object(&name, ObjectType::Record, Purpose::Lists, &record));
    let name = ObjectName::note(SNAPSHOT.as_bytes(), &id);
    let about = Bytes(SNAPSHOT.as_bytes().to_vec());
    let note = Note { kind: "description".into(), about, time, body: Bytes(b"edited later".to_vec()), extra: vec![] };
    put(name.clone(), object(&name, ObjectType::Note, Purpose::Names, &note));
    for pack in packs {
        put(ObjectName::pack(pack.class, &pack.id), pack.bytes);
    }
    Vectors { objects, rows, keys: key_set(), chunks: plains, stream }
}
