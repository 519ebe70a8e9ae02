//! Writing tar: POSIX headers, with extended records for all that does not fit into them: long or foreign names, large numbers, nanoseconds,
//! extended attributes, ACLs as text, maps of sparse files (GNU's form 1.0). Records only where they say something, and only such as GNU tar
//! knows: it warns of others, entry by entry. So times of birth and chattr flags stay out.

use crate::archive::plan::Member;
use crate::archive::{Bytes, Counted};
use crate::format::entry::{Entry, EntryKind, split};
use crate::tar::sparse::to_lines;
use crate::tar::{Fields, OWNER_MAX, OWNER_NAME_MAX, SIZE_MAX, acl, padding, pax, split_name};
use std::io::{self, Write};

/// What is begun, and not gone on with, behind a last whole member where others are missing: records of this name. An archive that only
/// lacks its end GNU tar takes for whole, even with some bytes of a block behind it; a header whose rest is missing is an error to GNU tar,
/// bsdtar and Python alike.
const TORN: &[u8] = b"this archive is not whole";
/// What stands before the name of an extended header, as GNU tar has it.
const PAX_PREFIX: &[u8] = b"PaxHeaders";

/// See the module's text.
pub struct TarWriter<'o> {
    out: Counted<'o>,
    numeric_owner: bool,
    xattrs: bool,
    /// Zeros that the member under way needs at its end.
    padding: usize,
    within: bool,
}

impl<'o> TarWriter<'o> {
    /// Nothing written yet.
    pub fn new(out: Counted<'o>, (numeric_owner, xattrs): (bool, bool)) -> Self {
        TarWriter { out, numeric_owner, xattrs, padding: 0, within: false }
    }

    /// Writes all that stands before the content.
    pub fn begin(&mut self, member: &Member) -> io::Result<()> {
        let lines = member.map.as_ref().map(|map| to_lines(map));
        let size = member.stored() + lines.as_ref().map_or(0, |lines| lines.len() as u64);
        let mut records = Vec::new();
        let header = self.header(member, size, &mut records);
        if !records.is_empty() {
            let (_, name) = split(&member.place);
            let name = [PAX_PREFIX, b"/", &name[..name.len().min(80)]].concat();
            let fields = Fields { name: &name, kind: b'x', mode: 0o644, size: records.len() as u64, ..Fields::default() };
            self.out.put(&fields.block())?;
            self.out.put(&records)?;
            self.out.put(&ZEROS[..padding(records.len() as u64)])?;
        }
        self.out.put(&header)?;
        (self.padding, self.within) = (padding(size), true);
        lines.map_or(Ok(()), |lines| self.out.put(&lines))
    }

    fn header(&self, member: &Member, size: u64, records: &mut Vec<u8>) -> crate::tar::Block {
        let entry = &member.entry;
        let mut name = member.place.clone();
        if entry.kind == EntryKind::Directory {
            name.push(b'/');
        }
        let link = member.link.as_deref().unwrap_or(&entry.target.0);
        let (user, group) = if self.numeric_owner { (&b""[..], &b""[..]) } else { (&entry.user.0[..], &entry.group.0[..]) };
        // Records are UTF-8 and headers are bytes: text goes into the one, bytes into the other as long as they fit. (There is a record
        // that says that records are bytes; GNU tar does not know it, and takes them for such anyhow.)
        let is_text = |text: &[u8]| !text.is_ascii() && std::str::from_utf8(text).is_ok();
        let place = split_name(&name).filter(|_| !is_text(&name));
        if member.map.is_some() {
            pax::put(records, b"GNU.sparse.major", b"1");
            pax::put(records, b"GNU.sparse.minor", b"0");
            pax::put(records, b"GNU.sparse.name", &name);
            pax::put(records, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
        } else if place.is_none() {
            pax::put(records, b"path", &name);
        }
        if link.len() > 100 || is_text(link) {
            pax::put(records, b"linkpath", link);
        }
        for (key, text) in [(&b"uname"[..], user), (b"gname", group)] {
            if text.len() > OWNER_NAME_MAX || is_text(text) {
                pax::put(records, key, text);
            }
        }
        for (key, number, most) in
            [(&b"uid"[..], entry.uid.into(), OWNER_MAX), (b"gid", entry.gid.into(), OWNER_MAX), (b"size", size, SIZE_MAX)]
        {
            if number > most {
                pax::put(records, key, number.to_string().as_bytes());
            }
        }
        self.times_and_attributes(member, records);
        let sparse_name;
        let (prefix, name) = match (&member.map, place) {
            // Under another name: a reader that does not know maps of holes must not take what is there for the file.
            (Some(_), _) => {
                let (_, own) = split(&member.place);
                sparse_name = [b"GNUSparseFile.0/", &own[..own.len().min(80)]].concat();
                (&b""[..], &sparse_name[..])
            }
            (None, Some(place)) => place,
            (None, None) => (&b""[..], &name[..name.len().min(100)]),
        };
        Fields {
            name,
            prefix,
            kind: kind(member),
            mode: entry.mode,
            uid: entry.uid.into(),
            gid: entry.gid.into(),
            size,
            mtime: entry.mtime.secs,
            link: &link[..link.len().min(100)],
            user: &user[..user.len().min(OWNER_NAME_MAX)],
            group: &group[..group.len().min(OWNER_NAME_MAX)],
            device: (entry.rdev_major, entry.rdev_minor),
        }
        .block()
    }

    fn times_and_attributes(&self, member: &Member, records: &mut Vec<u8>) {
        let entry = &member.entry;
        if entry.mtime.nanos > 0 || !(0..=SIZE_MAX as i64).contains(&entry.mtime.secs) {
            pax::put(records, b"mtime", pax::time_text(&entry.mtime).as_bytes());
        }
        // Another name of a file has what the first one has.
        if member.link.is_some() {
            return;
        }
        if let Some(atime) = &entry.atime {
            pax::put(records, b"atime", pax::time_text(atime).as_bytes());
        }
        if entry.ctime != Default::default() {
            pax::put(records, b"ctime", pax::time_text(&entry.ctime).as_bytes());
        }
        if self.xattrs {
            attributes(entry, records);
        }
    }

    /// Writes content of the member that was begun.
    pub fn bytes(&mut self, bytes: &Bytes<'_>) -> io::Result<()> {
        bytes.put(&mut self.out)
    }

    /// Ends the member.
    pub fn end(&mut self) -> io::Result<()> {
        self.out.put(&ZEROS[..std::mem::take(&mut self.padding)])?;
        self.within = false;
        Ok(())
    }

    /// Ends the archive. Returns its length.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.out.put(&ZEROS)?;
        self.out.out.flush()?;
        Ok(self.out.written)
    }

    /// Ends what is no archive. Within a member its missing rest says enough.
    pub fn tear(&mut self) -> io::Result<()> {
        if !self.within {
            let fields = Fields { name: TORN, kind: b'x', mode: 0o644, size: crate::tar::BLOCK as u64, ..Fields::default() };
            self.out.put(&fields.block())?;
        }
        self.out.out.flush()
    }
}

/// The end of an archive; all padding is shorter.
const ZEROS: [u8; 1024] = [0; 1024];

fn kind(member: &Member) -> u8 {
    match member.entry.kind {
        _ if member.link.is_some() => b'1',
        EntryKind::File => b'0',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        // Sockets do not come here.
        EntryKind::Fifo | EntryKind::Socket => b'6',
    }
}

/// ACLs as the text that GNU tar and bsdtar restore them from, everything else as it is. What is no ACL under an ACL's name stays out.
fn attributes(entry: &Entry, records: &mut Vec<u8>) {
    for xattr in &entry.xattrs {
        let (name, value) = (&xattr.name.0[..], &xattr.value.0[..]);
        let key = match name {
            acl::ACCESS => &b"SCHILY.acl.access"[..],
            acl::DEFAULT => b"SCHILY.acl.default",
            name => {
                pax::put(records, &[b"SCHILY.xattr.", &pax::quoted(name)[..]].concat(), value);
                continue;
            }
        };
        if let Some(text) = acl::to_text(value) {
            pax::put(records, key, text.as_bytes());
        }
    }
}
