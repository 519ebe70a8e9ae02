//! Writing zip without ever turning back: lengths of short members stand before them, those of long ones behind. 64-bit forms where they are
//! needed, deflate where it helps, Unix modes, owners and times as Info-ZIP writes them. Names that are not UTF-8 stand as they are, without
//! the mark that says so. Zip has no hard links and no holes: each name is a file, holes are zeros, of which little is left.

use crate::archive::plan::Member;
use crate::archive::{Bytes, Counted};
use crate::format::entry::{Entry, EntryKind};
use flate2::{Compress, Compression, Crc, FlushCompress};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, Write};
use std::rc::Rc;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Lengths stand behind the content.
const FLAG_BEHIND: u16 = 1 << 3;
/// The name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
/// Unix, format 4.5: 64-bit sizes.
const MADE_BY: u16 = 3 << 8 | 45;

/// Lengths from here on get their 64-bit form: what is deflated may be a little longer than what it was.
const LONG: u64 = 0xf000_0000;
const MAX_32: u64 = u32::MAX as u64;
/// How hard a compressor tries.
const LEVEL: u32 = 6;
/// What ends deflated content whose pieces do not say that they are the last.
const LAST_BLOCK: [u8; 2] = [3, 0];
/// Zeros that are deflated once, and written as often as they are needed.
const ZEROS: usize = 1 << 20;
/// The directory at the end is kept compressed, so much of it at a time.
const DIRECTORY_BYTES: usize = 1 << 20;

/// What workers make of a piece for a zip: it can follow any other piece.
pub struct Packed {
    crc: Crc,
    deflated: Vec<u8>,
}

/// Deflates pieces.
pub struct Packer {
    deflate: Compress,
}

impl Default for Packer {
    fn default() -> Self {
        Packer { deflate: Compress::new(Compression::new(LEVEL), false) }
    }
}

impl Packer {
    /// Deflates a piece.
    pub fn pack(&mut self, slices: &mut dyn Iterator<Item = &[u8]>) -> Packed {
        self.deflate.reset();
        let mut packed = Packed { crc: Crc::new(), deflated: Vec::new() };
        for slice in slices {
            packed.crc.update(slice);
            self.put(slice, FlushCompress::None, &mut packed.deflated);
        }
        self.put(&[], FlushCompress::Sync, &mut packed.deflated);
        packed
    }

    fn put(&mut self, mut bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        loop {
            out.reserve(bytes.len() / 2 + 256);
            let before = self.deflate.total_in();
            // It only fails where it is asked for something after its end.
            let done = self.deflate.compress_vec(bytes, out, flush).is_ok();
            bytes = &bytes[(self.deflate.total_in() - before) as usize..];
            // Room that is left means that there is nothing more to write.
            if !done || bytes.is_empty() && out.len() < out.capacity() {
                return;
            }
        }
    }
}

/// The member under way, and what the directory will say of it.
struct Current {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    time: u32,
    crc: Crc,
    packed: u64,
    bytes: u64,
    offset: u64,
    long: bool,
    mode: u32,
    extra: Vec<u8>,
}

/// See the module's text.
pub struct ZipWriter<'o> {
    out: Counted<'o>,
    current: Option<Current>,
    members: u64,
    directory: Directory,
    zeros: Option<Rc<Packed>>,
}

/// The directory at the end. A million entries take 100 MB, and much less compressed.
#[derive(Default)]
struct Directory {
    last: Vec<u8>,
    packed: Vec<(Vec<u8>, usize)>,
    bytes: u64,
}

impl Directory {
    fn push(&mut self, record: &[u8]) {
        self.last.extend_from_slice(record);
        self.bytes += record.len() as u64;
        if self.last.len() >= DIRECTORY_BYTES {
            let mut packed = vec![0; zstd_safe::compress_bound(self.last.len())];
            if let Ok(bytes) = zstd_safe::compress(&mut packed[..], &self.last, 1) {
                packed.truncate(bytes);
                packed.shrink_to_fit();
                self.packed.push((packed, self.last.len()));
                self.last.clear();
            }
        }
    }

    fn write(&mut self, out: &mut Counted<'_>) -> io::Result<()> {
        for (packed, bytes) in std::mem::take(&mut self.packed) {
            let mut plain = vec![0; bytes];
            match zstd_safe::decompress(&mut plain[..], &packed) {
                Ok(have) if have == bytes => out.put(&plain)?,
                _ => return Err(io::Error::other("the directory of the archive, kept in memory, is damaged")),
            }
        }
        out.put(&self.last)
    }
}

/// Numbers one behind the other.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// A number that may stand in 64 bits elsewhere.
fn short(value: u64) -> u32 {
    value.min(MAX_32) as u32
}

/// Date and time of MS-DOS, in UTC, and the first or last that it knows for others.
fn dos_time(secs: i64) -> u32 {
    let time = Timestamp::from_second(secs.clamp(315_532_800, 4_354_819_198)).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = TimeZone::UTC.to_datetime(time);
    let part = |value: i16| u32::from(value.unsigned_abs());
    let small = |value: i8| u32::from(value.unsigned_abs());
    let date = (part(at.year()) - 1980) << 9 | small(at.month()) << 5 | small(at.day());
    date << 16 | small(at.hour()) << 11 | small(at.minute()) << 5 | (small(at.second()) / 2)
}

/// Time in seconds and owners, as Info-ZIP keeps them.
fn extra(entry: &Entry) -> Vec<u8> {
    let mut record = Record::default();
    if let Ok(secs) = i32::try_from(entry.mtime.secs) {
        record = record.u16(0x5455).u16(5).bytes(&[1]).u32(secs.cast_unsigned());
    }
    record.u16(0x7875).u16(11).bytes(&[1, 4]).u32(entry.uid).bytes(&[4]).u32(entry.gid).0
}

impl<'o> ZipWriter<'o> {
    /// Nothing written yet.
    pub fn new(out: Counted<'o>) -> Self {
        ZipWriter { out, current: None, members: 0, directory: Directory::default(), zeros: None }
    }

    fn current(&self, member: &Member, method: u16) -> Current {
        let entry = &member.entry;
        let mut name = member.place.clone();
        let (kind, slash) = match entry.kind {
            EntryKind::Directory => (0o040_000, true),
            EntryKind::Symlink => (0o120_000, false),
            _ => (0o100_000, false),
        };
        if slash {
            name.push(b'/');
        }
        let flags = if std::str::from_utf8(&name).is_ok() { FLAG_UTF8 } else { 0 };
        let (mode, extra, time) = (kind | entry.mode & 0o7777, extra(entry), dos_time(entry.mtime.secs));
        let (bytes, packed, long) = (0, 0, entry.size >= LONG);
        Current { name, flags, method, time, crc: Crc::new(), packed, bytes, offset: self.out.written, long, mode, extra }
    }

    fn local(&mut self, current: &Current) -> io::Result<()> {
        let behind = current.flags & FLAG_BEHIND != 0;
        let long = Record::default().u16(1).u16(16).u64(current.bytes).u64(current.packed).0;
        let long = if current.long { &long[..] } else { &[] };
        let sizes = match (behind, current.long) {
            (_, true) => (u32::MAX, u32::MAX),
            (true, false) => (0, 0),
            (false, false) => (short(current.packed), short(current.bytes)),
        };
        let record = Record::default()
            .u32(LOCAL)
            .u16(if current.long { 45 } else { 20 })
            .u16(current.flags)
            .u16(current.method)
            .u32(current.time)
            .u32(if behind { 0 } else { current.crc.sum() })
            .u32(sizes.0)
            .u32(sizes.1)
            .u16(current.name.len() as u16)
            .u16((long.len() + current.extra.len()) as u16)
            .bytes(&current.name)
            .bytes(long)
            .bytes(&current.extra);
        self.out.put(&record.0)
    }

    /// Takes a member into the directory.
    fn enter(&mut self, current: &Current) {
        let mut long = Record::default();
        for value in [current.bytes, current.packed, current.offset] {
            if value >= MAX_32 {
                long = long.u64(value);
            }
        }
        let long = if long.0.is_empty() { long.0 } else { Record::default().u16(1).u16(long.0.len() as u16).bytes(&long.0).0 };
        let is_dir = current.name.ends_with(b"/");
        let record = Record::default()
            .u32(CENTRAL)
            .u16(MADE_BY)
            .u16(if current.long || !long.is_empty() { 45 } else { 20 })
            .u16(current.flags)
            .u16(current.method)
            .u32(current.time)
            .u32(current.crc.sum())
            .u32(short(current.packed))
            .u32(short(current.bytes))
            .u16(current.name.len() as u16)
            .u16((long.len() + current.extra.len()) as u16)
            .u16(0)
            .u16(0)
            .u16(0)
            .u32(current.mode << 16 | if is_dir { 0x10 } else { 0 })
            .u32(short(current.offset))
            .bytes(&current.name)
            .bytes(&long)
            .bytes(&current.extra);
        self.directory.push(&record.0);
        self.members += 1;
    }

    /// Writes a member that is all there: its lengths stand before it.
    pub fn whole(&mut self, member: &Member, content: &[Bytes<'_>]) -> io::Result<()> {
        let mut current = self.current(member, STORED);
        if member.entry.kind == EntryKind::Symlink {
            let target = &member.entry.target.0;
            current.crc.update(target);
            (current.bytes, current.packed) = (target.len() as u64, target.len() as u64);
            self.local(&current)?;
            self.out.put(target)?;
            self.enter(&current);
            return Ok(());
        }
        let mut deflated = 0;
        for bytes in content {
            deflated += self.sum(bytes, &mut current.crc);
            current.bytes += bytes.len();
        }
        deflated += LAST_BLOCK.len() as u64;
        current.packed = current.bytes;
        if deflated < current.bytes {
            (current.method, current.packed) = (DEFLATED, deflated);
        }
        self.local(&current)?;
        for bytes in content {
            match current.method {
                STORED => bytes.put(&mut self.out)?,
                _ => self.put_packed(bytes)?,
            }
        }
        if current.method == DEFLATED {
            self.out.put(&LAST_BLOCK)?;
        }
        self.enter(&current);
        Ok(())
    }

    /// Begins a member whose content comes piece by piece.
    pub fn begin(&mut self, member: &Member) -> io::Result<()> {
        let mut current = self.current(member, DEFLATED);
        current.flags |= FLAG_BEHIND;
        self.local(&current)?;
        self.current = Some(current);
        Ok(())
    }

    /// Writes content of the member that was begun.
    pub fn bytes(&mut self, bytes: &Bytes<'_>) -> io::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        current.packed += self.sum(bytes, &mut current.crc);
        current.bytes += bytes.len();
        self.current = Some(current);
        self.put_packed(bytes)
    }

    /// Ends the member.
    pub fn end(&mut self) -> io::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        self.out.put(&LAST_BLOCK)?;
        current.packed += LAST_BLOCK.len() as u64;
        let record = Record::default().u32(DESCRIPTOR).u32(current.crc.sum());
        let record = match current.long {
            true => record.u64(current.packed).u64(current.bytes),
            false => record.u32(short(current.packed)).u32(short(current.bytes)),
        };
        self.out.put(&record.0)?;
        self.enter(&current);
        Ok(())
    }

    /// Adds a piece to a checksum. Returns its deflated length.
    fn sum(&mut self, bytes: &Bytes<'_>, crc: &mut Crc) -> u64 {
        let mut deflated = 0;
        let mut add = |packed: &Packed| {
            crc.combine(&packed.crc);
            deflated += packed.deflated.len() as u64;
        };
        match bytes {
            Bytes::Some { made, .. } => made.iter().for_each(|packed| add(packed)),
            Bytes::Zeros(bytes) => {
                let mut left = *bytes;
                while left > 0 {
                    add(&self.zeros(&mut left));
                }
            }
        }
        deflated
    }

    fn put_packed(&mut self, bytes: &Bytes<'_>) -> io::Result<()> {
        match bytes {
            Bytes::Some { made, .. } => made.map_or(Ok(()), |packed| self.out.put(&packed.deflated)),
            Bytes::Zeros(bytes) => {
                let mut left = *bytes;
                while left > 0 {
                    let zeros = self.zeros(&mut left);
                    self.out.put(&zeros.deflated)?;
                }
                Ok(())
            }
        }
    }

    /// As many zeros as are left or fit into one piece.
    fn zeros(&mut self, left: &mut u64) -> Rc<Packed> {
        let pack = |bytes: usize| Rc::new(Packer::default().pack(&mut std::iter::once(&vec![0; bytes][..])));
        let bytes = (*left).min(ZEROS as u64);
        *left -= bytes;
        if bytes < ZEROS as u64 { pack(bytes as usize) } else { self.zeros.get_or_insert_with(|| pack(ZEROS)).clone() }
    }

    /// Ends the archive. Returns its length.
    pub fn finish(&mut self) -> io::Result<u64> {
        let start = self.out.written;
        self.directory.write(&mut self.out)?;
        let (bytes, at) = (self.directory.bytes, self.out.written);
        if self.members > 0xffff || bytes >= MAX_32 || start >= MAX_32 {
            let end = Record::default()
                .u32(END_64)
                .u64(44)
                .u16(MADE_BY)
                .u16(45)
                .u32(0)
                .u32(0)
                .u64(self.members)
                .u64(self.members)
                .u64(bytes)
                .u64(start);
            let locator = Record::default().u32(LOCATOR_64).u32(0).u64(at).u32(1);
            self.out.put(&end.0)?;
            self.out.put(&locator.0)?;
        }
        let members = self.members.min(0xffff) as u16;
        let end = Record::default().u32(END).u16(0).u16(0).u16(members).u16(members).u32(short(bytes)).u32(short(start)).u16(0);
        self.out.put(&end.0)?;
        self.flush()?;
        Ok(self.out.written)
    }

    /// Hands on what is held back.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.out.flush()
    }
}
