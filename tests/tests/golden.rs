//! The spec, the code and the vectors say the same. A difference here is either a mistake or a change of the format, never noise.
//! `SEABED_REGENERATE_VECTORS=1` writes the vectors anew; do that for an addition to the format, and read the diff.

use seabed_engine::chunk::ChunkIds;
use seabed_engine::format::lists::{ListNode, get_lists_node};
use seabed_engine::format::object::{ObjectType, Purpose, open_header};
use seabed_engine::format::pack::PackTable;
use seabed_engine::format::tree::{get_leaf, get_names_node};
use seabed_engine::format::wire::{Wire, from_bytes, to_bytes};
use seabed_engine::format::{entry, lists, manifest, notes, pack, protocol, repo, segment};
use seabed_engine::id::{Class, ObjectName, PackId, SnapshotId};
use seabed_engine::pack::{FrameDecoder, OpenPack};
use seabed_engine::seal::Key;
use seabed_engine::seal::key::{Keys, Secret, decode_keyring, decode_slot, open_keyring, open_slot};
use seabed_engine::seal::object::{decode_descriptor, encode_descriptor, open_manifest, open_object, purpose_of};
use seabed_engine::{format, limits};
use seabed_tests::golden::{self, Row, Vectors};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Once;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The chapters, in one text each.
fn chapters() -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for file in std::fs::read_dir(top().join("format-spec")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "md") {
            out.insert(path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap());
        }
    }
    out
}

/// Every source file of the engine below `folder`.
fn sources(folder: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = vec![top().join("engine/src").join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|f| f.unwrap().path()));
        } else {
            out.push(std::fs::read_to_string(path).unwrap());
        }
    }
    out
}

/// The rows below a table's head, as cells.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let at = text.find(head).unwrap_or_else(|| panic!("no table {head}"));
    let rows = text[at..].lines().skip(2).take_while(|l| l.starts_with('|'));
    rows.map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

type Fields = &'static [(u64, &'static str, bool)];

fn structs() -> BTreeMap<&'static str, Fields> {
    macro_rules! fields {
        ($($module:ident :: $name:ident),* $(,)?) => { BTreeMap::from([$((stringify!($name), $module::$name::FIELDS)),*]) };
    }
    fields![
        repo::ProfileSizes,
        repo::Descriptor,
        repo::Feature,
        repo::Kdf,
        repo::Slot,
        repo::SlotSecret,
        repo::Recipient,
        repo::Keyring,
        repo::SubKey,
        repo::Member,
        repo::KeySet,
        repo::SheetSlot,
        repo::Sheet,
        pack::PackKey,
        pack::FrameInfo,
        pack::Footer,
        segment::SegmentPack,
        segment::Segment,
        entry::Xattr,
        entry::Entry,
        lists::ListRoot,
        manifest::IndexRoot,
        manifest::Head,
        manifest::IndexPart,
        manifest::Stream,
        manifest::NamesRoot,
        manifest::Summary,
        manifest::Failure,
        manifest::Origin,
        manifest::NamesPart,
        protocol::Tombstone,
        protocol::Hold,
        protocol::Release,
        protocol::Condemned,
        protocol::Record,
        protocol::Note,
        notes::Tags,
        notes::Verified,
        notes::VerifiedRun,
    ]
}

#[test]
fn every_map_has_the_table_that_the_code_has() {
    let mut known = structs();
    let mut declared = BTreeSet::new();
    for source in sources("format") {
        // Unit tests declare maps of their own.
        let source = source.split("#[cfg(test)]").next().unwrap();
        for block in source.split("map_struct! {\n").skip(1) {
            let line = block.lines().find(|l| l.trim().starts_with("pub struct ")).unwrap();
            declared.insert(line.split_whitespace().nth(2).unwrap().to_owned());
        }
    }
    assert_eq!(declared, known.keys().map(|k| (*k).to_owned()).collect(), "a map that this test does not know");
    for text in chapters().values() {
        for section in text.split("\n### `").skip(1) {
            let Some((name, rest)) = section.split_once('`') else { continue };
            let rows = table(rest, "| Key | Name | Type | Presence | Meaning |");
            let told: Vec<_> = rows.iter().map(|r| (r[0].parse::<u64>().unwrap(), r[1], r[3] == "always")).collect();
            assert!(rows.iter().all(|r| ["always", "optional"].contains(&r[3])), "{name}");
            let coded = known.remove(name).unwrap_or_else(|| panic!("{name} has two tables, or no code"));
            assert_eq!(told, coded, "{name}");
        }
    }
    assert!(known.is_empty(), "without a table: {:?}", known.keys());
}

#[test]
fn types_and_purposes_are_those_of_the_spec() {
    let chapters = chapters();
    let rows = table(&chapters["2-objects.md"], "| Number | Type | Layout after the header |");
    use ObjectType::*;
    let types = [
        Descriptor, Feature, Slot, Keyring, DataPack, NamesPack, ListsPack, Segment, Pending, Snapshot, Tombstone, Hold, Release, Record,
        Note,
    ];
    let coded: Vec<_> = types.iter().map(|t| (*t as u8, format!("{t:?}"))).collect();
    assert_eq!(rows.iter().map(|r| (r[0].parse().unwrap(), r[1].to_owned())).collect::<Vec<(u8, String)>>(), coded);
    for (kind, row) in types.iter().zip(&rows) {
        let told = row[2].strip_prefix("sealed part, purpose ");
        assert_eq!(told.map(str::to_owned), purpose_of(*kind).map(|p| format!("{p:?}").to_lowercase()), "{kind:?}");
    }
    let rows = table(&chapters["3-keys.md"], "| Code | Purpose | Rotates | Context | Used for |");
    let told: Vec<_> = rows.iter().map(|r| (r[0].to_owned(), r[1].to_owned(), r[2] == "yes", r[3].trim_matches('`').to_owned())).collect();
    let coded: Vec<_> =
        Purpose::ALL.iter().map(|p| ((*p as u8).to_string(), format!("{p:?}"), p.rotates(), p.context().to_owned())).collect();
    assert_eq!(told, coded);
}

#[test]
fn every_derivation_context_is_in_the_spec_and_nowhere_else() {
    let quoted = |text: &str, quote: char| -> BTreeSet<String> {
        let pattern = format!("{quote}seabed v1 ");
        text.match_indices(&pattern).map(|(at, _)| text[at + 1..].split(quote).next().unwrap().to_owned()).collect()
    };
    let coded: BTreeSet<_> = sources("").iter().flat_map(|s| quoted(s, '"')).collect();
    let told = quoted(&chapters()["3-keys.md"], '`');
    assert_eq!(told, coded);
}

#[test]
fn every_limit_is_in_the_spec() {
    macro_rules! values { ($($name:ident),* $(,)?) => { BTreeMap::from([$((stringify!($name), limits::$name as u128)),*]) }; }
    let coded = values![
        CHUNK_BYTES_MAX,
        FRAME_BYTES_TARGET,
        FRAME_BYTES_MAX,
        FRAME_STORED_BYTES_MAX,
        ZSTD_WINDOW_LOG_MAX,
        TAG_BYTES,
        XNONCE_BYTES,
        PACK_BYTES_DATA,
        PACK_BYTES_META,
        PACK_BYTES_TARGET_MIN,
        PACK_BYTES_TARGET_MAX,
        PACK_BYTES_MAX,
        PACK_FRAMES_MAX,
        PACK_CHUNKS_MAX,
        FOOTER_BYTES_MAX,
        PACK_KEYS_MAX,
        SEGMENT_CHUNKS_MAX,
        SEGMENT_PACKS_MAX,
        SEGMENT_BYTES_MAX,
        SEGMENT_CHUNKS_TARGET,
        SMALL_OBJECT_BYTES_MAX,
        RECORD_BYTES_MAX,
        RECORD_PACKS_MAX,
        LEAF_ENTRIES_MAX,
        LEAF_BYTES_SOFT_MAX,
        ENTRY_BYTES_MAX,
        TREE_BITS_PER_LEVEL,
        NODE_ITEMS_MAX,
        TREE_LEVELS_MAX,
        LIST_INLINE_MAX,
        LIST_ITEMS_MAX,
        LIST_CUT_BITS,
        NAME_BYTES_MAX,
        PATH_DEPTH_MAX,
        PATH_BYTES_MAX,
        SYMLINK_BYTES_MAX,
        XATTR_BYTES_MAX,
        KDF_MEMORY_KIB_MAX,
        KDF_PASSES_MAX,
        KDF_LANES_MAX,
        KDF_MEMORY_KIB_NEW_MIN,
        SLOT_LABEL_BYTES_MAX,
        SLOTS_MAX,
        SHEET_LINES_MAX,
        SHEET_BYTES_MAX,
        SHEET_TEXT_BYTES_MAX,
        EXTRA_KEYS_MAX,
        WRAPPED_BYTES_MAX,
        CBOR_DEPTH_MAX,
        TAGS_MAX,
        TAGS_BYTES_MAX,
        DESCRIPTION_BYTES_MAX,
        VERIFIED_PACKS_MAX,
        VERIFIED_RUNS_MAX,
        VERIFIED_NOTES_MAX,
    ];
    let source = std::fs::read_to_string(top().join("engine/src/limits.rs")).unwrap();
    // Retention's are of no object: what they bound is in no repository.
    let of_retention = |name: &&str| !["CLOCK_", "SIMULATED_"].iter().any(|begins| name.starts_with(begins));
    let declared = source.lines().filter_map(|l| l.strip_prefix("pub const ")?.split(':').next()).filter(of_retention);
    let declared: BTreeSet<&str> = declared.collect();
    assert_eq!(declared, coded.keys().copied().collect(), "a limit that this test does not know");
    let chapters = chapters();
    let rows = table(&chapters["8-limits.md"], "| Name | Value | Meaning |");
    assert_eq!(rows.iter().map(|r| (r[0], r[1].parse().unwrap())).collect::<BTreeMap<&str, u128>>(), coded);
}

fn vectors_folder() -> PathBuf {
    top().join("format-spec/vectors")
}

fn read_all(folder: &Path, prefix: &str, out: &mut BTreeMap<String, Vec<u8>>) {
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let name = format!("{prefix}{}", file.file_name().to_string_lossy());
        if file.path().is_dir() {
            read_all(&file.path(), &format!("{name}/"), out);
        } else {
            out.insert(name, std::fs::read(file.path()).unwrap());
        }
    }
}

/// Writes the vectors where that is asked for, once, before any test of this process reads them.
fn regenerate() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("SEABED_REGENERATE_VECTORS").is_none() {
            return;
        }
        let folder = vectors_folder();
        let fresh = golden::build(&mut |plain| {
            let mut frame = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut frame, plain, 3).unwrap();
            std::fs::write(folder.join("frame.zst"), &frame).unwrap();
            frame
        });
        if folder.join("repository").exists() {
            std::fs::remove_dir_all(folder.join("repository")).unwrap();
        }
        for (name, bytes) in &fresh.objects {
            let path = folder.join("repository").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    });
}

fn stored() -> BTreeMap<String, Vec<u8>> {
    regenerate();
    let mut out = BTreeMap::new();
    read_all(&vectors_folder().join("repository"), "", &mut out);
    out
}

/// The vectors as this code makes them. The compressed frame is read, not made: another zstd may compress better.
fn made() -> Vectors {
    regenerate();
    golden::build(&mut |plain| {
        let frame = std::fs::read(vectors_folder().join("frame.zst")).unwrap();
        let mut back = Vec::with_capacity(plain.len());
        zstd_safe::decompress(&mut back, &frame).unwrap();
        assert_eq!(back, plain, "frame.zst holds another stream");
        frame
    })
}

#[test]
fn vectors_are_encoded_to_the_same_bytes() {
    let (made, stored) = (made().objects, stored());
    assert_eq!(made.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
    for (name, bytes) in &made {
        assert!(bytes == &stored[name], "{name} is encoded differently");
    }
}

fn one<'a>(objects: &'a BTreeMap<String, Vec<u8>>, prefix: &str) -> (ObjectName, &'a [u8]) {
    let mut found = objects.iter().filter(|(name, _)| name.starts_with(prefix));
    let (name, bytes) = found.next().unwrap_or_else(|| panic!("no vector {prefix}"));
    assert!(found.next().is_none(), "two vectors {prefix}");
    (ObjectName::parse(name).unwrap(), bytes)
}

/// Opens the repository of the vectors with `secret`.
fn open(objects: &BTreeMap<String, Vec<u8>>, secret: &Secret) -> Keys {
    let slots = objects.iter().filter(|(name, _)| name.starts_with("slots/"));
    let mut opened = slots.filter_map(|(name, bytes)| {
        let name = ObjectName::parse(name).unwrap();
        let slot = decode_slot(&name, bytes).unwrap();
        assert_eq!(to_bytes(&slot), bytes[8..]);
        open_slot(&golden::REPOSITORY, &name, &slot, secret).unwrap()
    });
    let slot = opened.next().expect("one slot opens");
    assert!(opened.next().is_none());
    let (name, bytes) = one(objects, "keyring/");
    let keyring = decode_keyring(&name, bytes).unwrap();
    assert_eq!(to_bytes(&keyring), bytes[8..]);
    open_keyring(&golden::REPOSITORY, &name, &keyring, &slot).unwrap().expect("a copy for the slot")
}

fn passphrase() -> Secret {
    Secret::Passphrase(golden::PASSPHRASE.to_vec().into())
}

#[test]
fn both_kinds_of_slot_open_the_keyring_and_the_descriptor_verifies() {
    let objects = stored();
    for secret in [passphrase(), Secret::KeyFile(Key::new(golden::KEY_FILE))] {
        let keys = open(&objects, &secret);
        assert_eq!(keys.to_set(), golden::key_set());
        let (name, bytes) = one(&objects, "seabed");
        let (descriptor, mac) = decode_descriptor(&name, bytes).unwrap();
        let gear = keys.get(Purpose::Gear, 0).unwrap();
        mac.verify(gear).unwrap();
        assert_eq!(descriptor, golden::descriptor());
        assert_eq!(encode_descriptor(&descriptor, gear), bytes);
    }
}

#[test]
fn sealed_objects_are_decoded_and_encoded_again() {
    let objects = stored();
    let keys = open(&objects, &passphrase());
    fn check<T: Wire>(objects: &BTreeMap<String, Vec<u8>>, keys: &Keys, folder: &str, kind: ObjectType) -> T {
        let (name, bytes) = one(objects, folder);
        let body: T = open_object(keys, &golden::REPOSITORY, &name, kind, bytes).unwrap();
        assert!(golden::object(&name, kind, purpose_of(kind).unwrap(), &body) == bytes, "{name}");
        body
    }
    let feature: repo::Feature = check(&objects, &keys, "features/", ObjectType::Feature);
    assert_eq!(feature.extra.len(), 1, "an unknown odd key is kept");
    let segment: segment::Segment = check(&objects, &keys, "index/", ObjectType::Segment);
    assert!(segment.checked().is_some_and(|entries| entries.len() > 40));
    check::<protocol::Tombstone>(&objects, &keys, "forgotten/", ObjectType::Tombstone);
    check::<protocol::Hold>(&objects, &keys, "holds/", ObjectType::Hold);
    check::<protocol::Release>(&objects, &keys, "releases/", ObjectType::Release);
    check::<protocol::Record>(&objects, &keys, "records/", ObjectType::Record);
    let note = check::<protocol::Note>(&objects, &keys, "notes/", ObjectType::Note);
    assert_eq!(note.fact(), Ok(notes::Fact::Description("edited later".into())));
    for (folder, kind) in [("snapshots/", ObjectType::Snapshot), ("pending/", ObjectType::Pending)] {
        let (name, bytes) = one(&objects, folder);
        let (index, names) = open_manifest(&keys, &golden::REPOSITORY, &name, bytes).unwrap();
        assert!(golden::manifest(&name, kind, &index, &names) == bytes, "{name}");
        assert_eq!(index.incomplete, kind == ObjectType::Pending);
    }
}

#[test]
fn packs_of_every_class_are_opened_and_every_chunk_of_every_kind_is_decoded() {
    let (objects, made) = (stored(), made());
    let keys = open(&objects, &passphrase());
    let ids: ChunkIds = keys.chunk_ids().unwrap();
    let mut plains = BTreeMap::new();
    for class in Class::ALL {
        let (name, bytes) = one(&objects, &format!("{}/", class.folder()));
        assert_eq!(name.as_pack(), Some((class, PackId::new(*blake3::hash(bytes).as_bytes()))));
        open_header(&name, ObjectType::pack(class), bytes).unwrap();
        assert_eq!(format::object::padme(bytes.len() as u64), bytes.len() as u64);
        let pack = OpenPack::from_suffix(&keys, name, class, bytes, bytes.len() as u64).unwrap();
        let table: &PackTable = &pack.table;
        assert_eq!(bytes[..24], pack::header(class, &table.footer.keys[0].birth));
        let mut plain = Vec::new();
        for (number, span) in table.frames.iter().enumerate() {
            let mut frame = bytes[span.offset as usize..][..span.info.stored as usize].to_vec();
            pack.decode(number as u32, &mut frame, &mut FrameDecoder::default(), &mut plain).unwrap();
            pack.verify(number as u32, &plain, &ids).unwrap();
            for (chunk, place) in table.chunks.iter().enumerate().filter(|(_, c)| c.frame as usize == number) {
                let bytes = &plain[place.offset as usize..][..place.bytes as usize];
                plains.insert(*table.id(chunk).unwrap().as_bytes(), bytes.to_vec());
            }
        }
    }
    assert_eq!(plains, made.chunks);

    let name = ObjectName::snapshot(&SnapshotId::new([0xa1; 32]));
    let (index, _) = open_manifest(&keys, &golden::REPOSITORY, &name, &objects[name.as_str()]).unwrap();
    let root = index.roots[0].as_tree().unwrap();
    assert_eq!(root.level, 1, "the vectors hold nodes of the entry tree");
    let children = get_names_node(&plains[root.names.as_bytes()], 1).unwrap();
    let twins = get_lists_node(&plains[root.lists.as_bytes()], 1).unwrap();
    let mut rows: Vec<Row> = Vec::new();
    for (child, twin) in children.iter().zip(&twins) {
        assert_eq!(child.id, twin.names);
        for group in get_leaf(&plains[child.id.as_bytes()], &plains[twin.lists.as_bytes()]).unwrap() {
            rows.extend(group.entries.into_iter().map(|(e, c)| (group.dir.clone(), e, c)));
        }
    }
    assert_eq!(rows, made.rows);
    let levels: BTreeSet<u8> = plains.values().filter_map(|p| from_bytes::<ListNode>(p, "node").ok()).map(|n| level(&n)).collect();
    assert!(levels.contains(&0) && levels.contains(&1), "the vectors hold list nodes of both kinds");
    for plain in plains.values() {
        if let Ok(node) = from_bytes::<ListNode>(plain, "node") {
            assert_eq!(&to_bytes(&node), plain);
        }
    }
}

fn level(node: &ListNode) -> u8 {
    match node {
        ListNode::Items(_) => 0,
        ListNode::Children { level, .. } => *level,
    }
}

/// Calls `decode` with `bytes` cut and changed in many ways. Whatever it answers, it must answer: no panic, no endless allocation.
fn hostile(bytes: &[u8], decode: &dyn Fn(&[u8])) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for at in 0..bytes.len().min(600) {
        decode(&bytes[..at]);
    }
    // Bytes that begin items of claimed lengths are where decoders of CBOR fail.
    let heads = [0x1b, 0x3b, 0x5b, 0x7b, 0x9b, 0xbb, 0x9f, 0xbf, 0xc0, 0xf6, 0xff, 0x00];
    for _ in 0..2000 {
        let mut bad = bytes.to_vec();
        for _ in 0..1 + next() % 3 {
            let at = next() % bad.len();
            bad[at] = if next() % 2 == 0 { heads[next() % heads.len()] } else { next() as u8 };
        }
        decode(&bad);
    }
}

#[test]
fn no_decoder_panics_on_hostile_bytes() {
    let (objects, made) = (stored(), made());
    let keys = open(&objects, &passphrase());
    for plain in made.chunks.values().filter(|p| p.len() < 8000) {
        // Chunks of structure begin with a short array and a tag; content is opaque.
        if !matches!(plain[..2], [0x82..=0x84, 0..=2]) {
            continue;
        }
        hostile(plain, &|b| {
            from_bytes::<ListNode>(b, "node").ok();
            get_leaf(b, plain).ok();
            get_leaf(plain, b).ok();
            get_names_node(b, 1).ok();
            get_lists_node(b, 1).ok();
        });
    }
    fn body<T: Wire>(value: &T) {
        hostile(&to_bytes(value), &|b| drop(from_bytes::<T>(b, "body")));
    }
    let sealed = |folder: &str| one(&objects, folder);
    let (name, bytes) = sealed("snapshots/");
    let (index, names) = open_manifest(&keys, &golden::REPOSITORY, &name, bytes).unwrap();
    body(&index);
    body(&names);
    hostile(bytes, &|b| drop(open_manifest(&keys, &golden::REPOSITORY, &name, b)));
    let (name, bytes) = sealed("records/");
    body(&open_object::<protocol::Record>(&keys, &golden::REPOSITORY, &name, ObjectType::Record, bytes).unwrap());
    let (name, bytes) = sealed("index/");
    let segment: segment::Segment = open_object(&keys, &golden::REPOSITORY, &name, ObjectType::Segment, bytes).unwrap();
    hostile(&to_bytes(&segment), &|b| drop(from_bytes::<segment::Segment>(b, "body").map(|s| s.checked().is_some())));
    body(&keys.to_set());
    let (name, bytes) = sealed("keyring/");
    hostile(bytes, &|b| drop(decode_keyring(&name, b)));
    let (name, bytes) = sealed("seabed");
    hostile(bytes, &|b| drop(decode_descriptor(&name, b).map(|_| ())));
    for (name, bytes) in objects.iter().filter(|(n, _)| n.starts_with("slots/")) {
        let name = ObjectName::parse(name).unwrap();
        hostile(bytes, &|b| drop(decode_slot(&name, b)));
    }
    for class in Class::ALL {
        let (name, bytes) = one(&objects, &format!("{}/", class.folder()));
        let size = bytes.len() as u64;
        let footer = OpenPack::from_suffix(&keys, name.clone(), class, bytes, size).unwrap().table.footer;
        let check = |b: &[u8]| from_bytes::<pack::Footer>(b, "footer").map(|f| PackTable::new(&name, f, size, 400).is_ok());
        hostile(&to_bytes(&footer), &|b| drop(check(b)));
        hostile(&bytes[bytes.len() - 32..], &|b| drop(pack::open_trailer(&name, class, b, size)));
    }
}
