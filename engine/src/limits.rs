//! Every bound of the format and the engine, in one place, with its unit and its reason.
//! A length that comes from outside is compared with one of these before anything is allocated for it.

/// Longest plaintext of one chunk, any class: a reader never holds more for one id (spec chapter 4).
pub const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Frames are closed before they would grow over this, unless one chunk alone is larger.
pub const FRAME_BYTES_TARGET: usize = 1 << 20;
/// Longest plaintext of a frame: one chunk of the largest size.
pub const FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX;
/// Longest stored form of a frame: raw plaintext with its tag; a compressed form is only kept when it is smaller.
pub const FRAME_STORED_BYTES_MAX: usize = FRAME_BYTES_MAX + TAG_BYTES;
/// Window that a decoder must offer: no frame may ask for more than its own plaintext bound.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// Poly1305 tag.
pub const TAG_BYTES: usize = 16;
/// XChaCha20-Poly1305 nonce.
pub const XNONCE_BYTES: usize = 24;

/// Default target of a data pack, 32 MiB: one PUT of about 0.4 s on S3, 32 requests per GiB.
pub const PACK_BYTES_DATA: u64 = 32 << 20;
/// Default target of a names or lists pack, 8 MiB: these are read in small pieces.
pub const PACK_BYTES_META: u64 = 8 << 20;
/// Smallest target that `--pack-size` takes.
pub const PACK_BYTES_TARGET_MIN: u64 = 4 << 20;
/// Largest target that `--pack-size` takes.
pub const PACK_BYTES_TARGET_MAX: u64 = 128 << 20;
/// Largest pack a reader accepts: the largest target, one frame above it, footer and padding.
pub const PACK_BYTES_MAX: u64 = 256 << 20;
/// Frames in one pack: the ordinal must fit the tables of the footer and the nonce with room to spare.
pub const PACK_FRAMES_MAX: usize = 1 << 16;
/// Chunks in one pack: the ordinal has 20 bits in an index entry.
pub const PACK_CHUNKS_MAX: usize = 1 << 20;
/// Longest sealed footer: 2^20 chunks at 34 bytes, the frame table, padding.
pub const FOOTER_BYTES_MAX: usize = 48 << 20;
/// Wrapped pack keys in one footer: one of its own and one per pack that frames were copied from.
pub const PACK_KEYS_MAX: usize = 1 << 12;

/// Chunks in one index segment (DESIGN section 4): bounds the memory of building a filter over it.
pub const SEGMENT_CHUNKS_MAX: usize = 1 << 22;
/// Packs in one index segment: the number has 20 bits in an index entry.
pub const SEGMENT_PACKS_MAX: usize = 1 << 20;
/// Largest segment a reader accepts.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Chunks that a running backup holds in memory before it writes a segment.
pub const SEGMENT_CHUNKS_TARGET: usize = 1 << 18;

/// Largest manifest, slot, keyring, tombstone, note or descriptor a reader accepts.
pub const SMALL_OBJECT_BYTES_MAX: u64 = 16 << 20;
/// Largest record a reader accepts: 2^20 packs of 34 bytes and the ids of the records seen.
pub const RECORD_BYTES_MAX: u64 = 64 << 20;
/// Packs that one record names at most, 32 TiB of them: what is more waits for the next collection, and is not folded.
pub const RECORD_PACKS_MAX: usize = 1 << 20;

/// Entries after which a leaf is cut even where no path asks for it.
pub const LEAF_ENTRIES_MAX: usize = 2048;
/// Bytes of entries and the paths of their directories, or of lists, after which a leaf is cut even where no path asks for it.
pub const LEAF_BYTES_SOFT_MAX: usize = 1 << 20;
/// Longest encoded entry: attributes above this are reported and left out.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Bits of the path hash that must be zero for each level of the entry tree: 256 entries per leaf, 256 children per node.
pub const TREE_BITS_PER_LEVEL: u32 = 8;
/// Children after which a node of the entry tree is cut anyway.
pub const NODE_ITEMS_MAX: usize = 2048;
/// Levels of any tree: 256^6 leaves; a deeper one is hostile.
pub const TREE_LEVELS_MAX: u8 = 8;

/// Chunk ids that stand in the leaf itself; a longer file has a list tree.
pub const LIST_INLINE_MAX: usize = 32;
/// Items after which a list node is cut even where no id asks for it.
pub const LIST_ITEMS_MAX: usize = 1024;
/// Bits of a chunk id that must be zero to cut a list node after it: 256 items on average.
pub const LIST_CUT_BITS: u32 = 8;

/// Longest name of one path component, in bytes (Linux NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;
/// Depth of a path. Deeper trees are legal on Linux, but nobody's data.
pub const PATH_DEPTH_MAX: usize = 4096;
/// Longest stored path, in bytes.
pub const PATH_BYTES_MAX: usize = 1 << 20;
/// Longest symlink target (Linux PATH_MAX).
pub const SYMLINK_BYTES_MAX: usize = 4096;
/// Longest value of one extended attribute (Linux XATTR_SIZE_MAX).
pub const XATTR_BYTES_MAX: usize = 64 << 10;

/// Argon2id memory that a slot may ask for, in KiB: a hostile slot must not exhaust the host.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Argon2id passes that a slot may ask for.
pub const KDF_PASSES_MAX: u32 = 64;
/// Argon2id lanes that a slot may ask for.
pub const KDF_LANES_MAX: u32 = 64;
/// Least Argon2id memory that a new slot of the command line gets, in KiB: what OWASP calls the minimum, 19 MiB.
pub const KDF_MEMORY_KIB_NEW_MIN: u32 = 19 << 10;
/// What the user calls a slot, bytes: it is in every copy of every keyring.
pub const SLOT_LABEL_BYTES_MAX: usize = 256;
/// Slots in one keyring.
pub const SLOTS_MAX: usize = 4096;
/// Lines of a recovery sheet: their numbers have three digits.
pub const SHEET_LINES_MAX: usize = 999;
/// Bytes of a recovery sheet's body: what the lines hold, without its length and its sum.
pub const SHEET_BYTES_MAX: usize = SHEET_LINES_MAX * 25 - 10;
/// Longest text that is taken for a recovery sheet, in bytes: 999 lines of 58, and words for people.
pub const SHEET_TEXT_BYTES_MAX: usize = 64 << 10;

/// Unknown optional keys that are kept per map: a hostile slot could make each cost thirty times its bytes in memory.
pub const EXTRA_KEYS_MAX: usize = 64;
/// Longest wrapped pack key of a suite that this version does not know.
pub const WRAPPED_BYTES_MAX: usize = 4096;
/// Nesting of any CBOR item; ours use at most eight.
pub const CBOR_DEPTH_MAX: usize = 16;

/// Tags in one note.
pub const TAGS_MAX: usize = 4096;
/// Longest body of a note of tags: checked before it is decoded, for short tags grow twentyfold in memory.
pub const TAGS_BYTES_MAX: usize = 1 << 20;
/// Longest description in a note.
pub const DESCRIPTION_BYTES_MAX: usize = 1 << 20;
/// Packs that one note calls verified, 16 TiB of them: what is more takes another note.
pub const VERIFIED_PACKS_MAX: usize = 1 << 19;
/// Times at which the packs of one note were verified: a check a day for eleven years.
pub const VERIFIED_RUNS_MAX: usize = 4096;
/// Notes of verifications that may lie side by side before the next check gathers them in its own.
pub const VERIFIED_NOTES_MAX: usize = 16;

/// How far the clocks of two hosts that share a repository may differ before one of them counts as wrong, seconds.
pub const CLOCK_SKEW_SECS_MAX: i64 = 3600;
/// How long nothing may have run before retention asks whether the clock jumped, seconds: five weeks, longer than a month.
pub const CLOCK_IDLE_SECS_MAX: i64 = 35 * 86_400;
/// Runs of one group that a simulation of retention takes, hourly ones for four months; more frequent ones are taken to be rarer.
/// Where a policy keeps all of them, work grows with the square: some seconds.
pub const SIMULATED_RUNS_MAX: i64 = 3000;
/// Days that a simulation of retention looks ahead: ten years, with the state at the end of each week.
pub const SIMULATED_DAYS_MAX: u32 = 3653;

const _: () = assert!(FRAME_BYTES_TARGET <= FRAME_BYTES_MAX);
const _: () = assert!(PACK_BYTES_TARGET_MAX + FRAME_STORED_BYTES_MAX as u64 + FOOTER_BYTES_MAX as u64 <= PACK_BYTES_MAX);
const _: () = assert!(1usize << ZSTD_WINDOW_LOG_MAX >= FRAME_BYTES_MAX);
const _: () = assert!(PACK_CHUNKS_MAX * 44 <= FOOTER_BYTES_MAX);
const _: () = assert!(SEGMENT_CHUNKS_MAX * 21 + (1 << 20) <= SEGMENT_BYTES_MAX as usize);
// A pack takes 38 bytes; the rest is for the ids of records seen and folded.
const _: () = assert!(RECORD_PACKS_MAX * 40 + (16 << 20) <= RECORD_BYTES_MAX as usize);
// A pack takes 16 bytes, a run less than 64 besides.
const _: () = assert!(VERIFIED_PACKS_MAX * 16 + VERIFIED_RUNS_MAX * 64 + (1 << 16) <= SMALL_OBJECT_BYTES_MAX as usize);
const _: () = assert!(KDF_MEMORY_KIB_NEW_MIN <= KDF_MEMORY_KIB_MAX);
const _: () = assert!(SHEET_LINES_MAX * 58 + (4 << 10) <= SHEET_TEXT_BYTES_MAX && SHEET_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(LEAF_BYTES_SOFT_MAX + ENTRY_BYTES_MAX <= CHUNK_BYTES_MAX);
const _: () = assert!(LEAF_ENTRIES_MAX * LIST_INLINE_MAX * 34 <= CHUNK_BYTES_MAX);
const _: () =
    assert!(PACK_BYTES_TARGET_MIN <= PACK_BYTES_META && PACK_BYTES_META <= PACK_BYTES_DATA && PACK_BYTES_DATA <= PACK_BYTES_TARGET_MAX);
