//! What a header, its extended records and long names say together of one entry, and the entry that comes of it.
//! A path becomes one that may be stored, or the entry is refused; an attribute that cannot be kept costs that attribute, and is said.

use crate::format::entry::{Entry, EntryKind, Xattr, name_is_valid, path_is_valid, split};
use crate::format::wire::{Bytes, Time};
use crate::limits::{NAME_BYTES_MAX, SYMLINK_BYTES_MAX, XATTR_BYTES_MAX};
use crate::source::meta::XATTRS_BYTES_MAX;
use crate::tar::sparse::Map;
use crate::tar::{Dialect, Header, acl, pax, sparse};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use std::collections::{BTreeMap, HashSet};

/// Extended attributes of one entry.
const XATTRS_MAX: usize = 4096;
/// Attributes of one entry that are named when they cannot be kept.
const LOST_MAX: usize = 16;

/// An entry of an archive.
#[derive(Debug)]
pub struct Member {
    /// Its path, as it can be stored; empty for what the archive calls `.`.
    pub path: Vec<u8>,
    /// What is known of it; without device, inode and number of links.
    pub entry: Entry,
    /// Path of the entry of which it is another name.
    pub link: Option<Vec<u8>>,
    /// Which stretches of the content are in the archive, one behind the other; `None` where all of it is.
    pub map: Option<Map>,
    /// Attributes that could not be kept, and why.
    pub lost: Vec<String>,
}

/// A name as an archive has it, for people.
pub fn display_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The path that a name stands for: relative, without `.` and double `/`. An error where it cannot be stored.
fn path_of(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    let parts: Vec<&[u8]> = name.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err("its path climbs with `..`");
    }
    if parts.iter().any(|part| part.len() > NAME_BYTES_MAX) {
        return Err("its name is too long");
    }
    let path = parts.join(&b'/');
    if !parts.iter().all(|part| name_is_valid(part)) || !path_is_valid(&path) {
        return Err("its path cannot be stored");
    }
    Ok(path)
}

/// An extended attribute, as a record claims it.
#[derive(Clone)]
struct Attribute {
    value: Vec<u8>,
    /// Its name as it stands in libarchive's own record.
    url: Option<Vec<u8>>,
}

/// All that is claimed of an entry, later claims in the place of earlier ones.
#[derive(Clone)]
pub struct Claims {
    /// Its name, for what is said of it.
    pub name: Vec<u8>,
    /// Length of the body, where records say it.
    pub stored: Option<u64>,
    /// The map of a sparse file, where records hold it.
    pub map: Option<Map>,
    /// The map of a sparse file of the old form: what the header has of it, and whether more follows.
    pub old_map: Option<(Map, bool)>,
    /// The map stands at the beginning of the body.
    pub map_in_body: bool,
    /// Whether the size is that of a body: links and the like only claim one.
    pub has_body: bool,
    kind: u8,
    link: Vec<u8>,
    mode: Option<i64>,
    uid: Option<i64>,
    gid: Option<i64>,
    user: Vec<u8>,
    group: Vec<u8>,
    mtime: Option<Time>,
    atime: Option<Time>,
    ctime: Option<Time>,
    btime: Option<Time>,
    device: Option<(i64, i64)>,
    /// Length of a sparse file.
    real_size: Option<u64>,
    /// By their names.
    xattrs: BTreeMap<Vec<u8>, Attribute>,
    /// The `url` of each that has one. A header may hold hundreds of thousands of records: none is compared with all before it.
    urls: HashSet<Vec<u8>>,
    lost: Vec<String>,
    /// What no entry can have.
    wrong: Option<&'static str>,
}

impl Claims {
    /// What a header, records and GNU's long names say.
    pub fn new<'r>(
        header: &Header,
        records: impl Iterator<Item = (&'r [u8], &'r [u8])>,
        (long_name, long_link): (Option<Vec<u8>>, Option<Vec<u8>>),
    ) -> Self {
        let mut claims = Claims {
            name: long_name.unwrap_or_else(|| header.name()),
            stored: None,
            map: None,
            old_map: None,
            map_in_body: false,
            has_body: !matches!(header.kind(), b'1'..=b'6'),
            kind: header.kind(),
            link: long_link.unwrap_or_else(|| header.link().to_vec()),
            mode: header.mode(),
            uid: header.uid(),
            gid: header.gid(),
            user: header.user().to_vec(),
            group: header.group().to_vec(),
            mtime: header.mtime().map(|secs| Time { secs, nanos: 0 }),
            atime: None,
            ctime: None,
            btime: None,
            device: if header.dialect() == Dialect::V7 { Some((0, 0)) } else { header.device() },
            real_size: None,
            xattrs: BTreeMap::new(),
            urls: HashSet::new(),
            lost: Vec::new(),
            wrong: None,
        };
        if claims.kind == b'S' && header.dialect() == Dialect::Gnu {
            claims.old_map = header.old_sparse();
            claims.real_size = header.old_sparse_size().and_then(|size| u64::try_from(size).ok());
        }
        claims.records(records);
        // Before there was a kind for directories they were told by the end of their name.
        if matches!(claims.kind, 0 | b'0') && claims.name.ends_with(b"/") {
            claims.kind = b'5';
        }
        claims
    }

    fn records<'r>(&mut self, records: impl Iterator<Item = (&'r [u8], &'r [u8])>) {
        let (mut major, mut offset, mut real_name) = (None, None, None);
        let mut pairs: Option<Map> = None;
        for (key, value) in records {
            match key {
                // A record without a value takes back what was said before: for these, that is the header's own.
                b"path" if !value.is_empty() => self.name = value.to_vec(),
                b"linkpath" if !value.is_empty() => self.link = value.to_vec(),
                b"uname" if !value.is_empty() => self.user = value.to_vec(),
                b"gname" if !value.is_empty() => self.group = value.to_vec(),
                b"uid" if !value.is_empty() => self.uid = signed(value),
                b"gid" if !value.is_empty() => self.gid = signed(value),
                b"mtime" if !value.is_empty() => self.mtime = pax::time(value),
                b"size" if !value.is_empty() => {
                    self.stored = pax::decimal(value);
                    self.wrong = self.wrong.or(self.stored.is_none().then_some("its size is no number"));
                }
                b"atime" => self.atime = pax::time(value),
                b"ctime" => self.ctime = pax::time(value),
                b"LIBARCHIVE.creationtime" => self.btime = pax::time(value),
                b"GNU.sparse.major" => major = pax::decimal(value),
                b"GNU.sparse.name" => real_name = Some(value.to_vec()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    self.real_size = pax::decimal(value);
                    self.wrong = self.wrong.or(self.real_size.is_none().then_some("its size is no number"));
                }
                b"GNU.sparse.map" => pairs = sparse::from_list(value),
                b"GNU.sparse.offset" => offset = pax::decimal(value),
                b"GNU.sparse.numbytes" => match (offset.take(), pax::decimal(value)) {
                    (Some(offset), Some(bytes)) => pairs.get_or_insert_default().push((offset, bytes)),
                    _ => self.wrong = Some("its map of data and holes is none, or too long"),
                },
                b"GNU.sparse.numblocks" => drop(pairs.get_or_insert_default()),
                _ => self.attribute(key, value),
            }
        }
        if self.real_size.is_some() && self.old_map.is_none() {
            self.map_in_body = major == Some(1);
            self.map = pairs.filter(|_| !self.map_in_body);
            self.wrong = self.wrong.or((!self.is_sparse()).then_some("its map of data and holes is none, or too long"));
            self.name = real_name.unwrap_or_else(|| std::mem::take(&mut self.name));
        }
    }

    fn attribute(&mut self, key: &[u8], value: &[u8]) {
        // libarchive writes each attribute twice: its value as Base64, and as it is, both times with the name as in a URL. That is what the
        // name means only in the first, and in the second only where there is a first.
        let mut url = None;
        let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if self.urls.contains(name) {
                return;
            }
            (pax::unquoted(name), value.to_vec())
        } else if let Some(text) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            url = Some(text.to_vec());
            let twin = pax::unquoted(text);
            if self.xattrs.get(&twin).is_some_and(|have| have.url.is_none()) {
                self.xattrs.remove(&twin);
            }
            let name = pax::url_decoded(text);
            match STANDARD_NO_PAD.decode(value).or_else(|_| STANDARD.decode(value)) {
                Ok(value) => (name, value),
                Err(_) => return self.lose(format!("the value of its attribute {} is no Base64", display_name(&name))),
            }
        } else if key == b"RHT.security.selinux" {
            (b"security.selinux".to_vec(), [value, b"\0"].concat())
        } else if key == b"SCHILY.acl.access" || key == b"SCHILY.acl.default" {
            // GNU tar has nothing to say of the ACL of a further name of a file, and says that.
            if value.is_empty() {
                return;
            }
            match acl::from_text(value, &number_of) {
                Some(value) if key.ends_with(b"access") && acl::is_plain(&value) => return,
                Some(value) if key.ends_with(b"access") => (acl::ACCESS.to_vec(), value),
                Some(value) => (acl::DEFAULT.to_vec(), value),
                None => return self.lose(format!("its ACL `{}` means nobody here", display_name(value))),
            }
        } else {
            return;
        };
        if self.xattrs.len() == XATTRS_MAX && !self.xattrs.contains_key(&name) {
            return self.lose("it has too many attributes".to_owned());
        }
        if let Some(Attribute { url: Some(url), .. }) = self.xattrs.remove(&name) {
            self.urls.remove(&url);
        }
        self.urls.extend(url.clone());
        self.xattrs.insert(name, Attribute { value, url });
    }

    fn lose(&mut self, what: String) {
        if self.lost.len() < LOST_MAX {
            self.lost.push(what);
        }
    }

    /// Whether the body holds only part of the content.
    pub fn is_sparse(&self) -> bool {
        self.map_in_body || self.map.is_some() || self.old_map.is_some()
    }

    /// The entry, with `body` bytes of content in the archive. An error where there can be none like it.
    pub fn member(mut self, body: u64) -> Result<Member, &'static str> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let kind = match self.kind {
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            // Replaced below by what it is another name of.
            b'1' => EntryKind::File,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' | b'D' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'M' => return Err("it began in another volume"),
            _ => return Err("it is of a kind that is not known"),
        };
        let path = path_of(&self.name)?;
        if path.is_empty() && kind != EntryKind::Directory {
            return Err("it has no name");
        }
        if self.kind == b'S' && self.old_map.is_none() {
            return Err("its map of data and holes is none, or too long");
        }
        let mut entry = Entry::new(split(&path).1, kind);
        let number = |number: Option<i64>, what| number.and_then(|n| u32::try_from(n).ok()).ok_or(what);
        entry.mode = self.mode.ok_or("its mode is no number")? as u32 & 0o7777;
        entry.uid = number(self.uid, "its owner is no number that Linux has")?;
        entry.gid = number(self.gid, "its group is no number that Linux has")?;
        entry.mtime = self.mtime.ok_or("its time is none")?;
        entry.ctime = self.ctime.unwrap_or_default();
        (entry.atime, entry.btime) = (self.atime, self.btime);
        if kind == EntryKind::File && self.kind != b'1' {
            entry.size = if self.is_sparse() { self.real_size.ok_or("its size is no number")? } else { body };
            if i64::try_from(entry.size).is_err() {
                return Err("its size is no size");
            }
        }
        if kind == EntryKind::Symlink {
            if self.link.is_empty() || self.link.contains(&0) || self.link.len() > SYMLINK_BYTES_MAX {
                return Err("its target cannot be one");
            }
            entry.target = Bytes(std::mem::take(&mut self.link));
        }
        if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            let (major, minor) = self.device.ok_or("its device has no number")?;
            entry.rdev_major = number(Some(major), "its device has no number that Linux has")?;
            entry.rdev_minor = number(Some(minor), "its device has no number that Linux has")?;
        }
        let link = if self.kind == b'1' { Some(path_of(&self.link)?) } else { None };
        self.owners_and_xattrs(&mut entry);
        Ok(Member { path, entry, link, map: None, lost: self.lost })
    }

    fn owners_and_xattrs(&mut self, entry: &mut Entry) {
        for (name, to) in [(std::mem::take(&mut self.user), &mut entry.user), (std::mem::take(&mut self.group), &mut entry.group)] {
            if name.len() <= NAME_BYTES_MAX {
                *to = Bytes(name);
            } else {
                self.lose("the name of its owner or group is too long".to_owned());
            }
        }
        let mut kept = 0;
        for (name, Attribute { value, .. }) in std::mem::take(&mut self.xattrs) {
            let bytes = name.len() + value.len();
            let fits = value.len() <= XATTR_BYTES_MAX && kept + bytes <= XATTRS_BYTES_MAX;
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(&0) || !fits {
                let name = &name[..name.len().min(NAME_BYTES_MAX)];
                self.lose(format!("its attribute {} is too large to be kept", display_name(name)));
                continue;
            }
            kept += bytes;
            entry.xattrs.push(Xattr { name: Bytes(name), value: Bytes(value), extra: Vec::new() });
        }
    }
}

/// A whole number with or without a sign.
fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => pax::decimal(digits).and_then(|n| i64::try_from(n).ok()).map(|n| -n),
        None => pax::decimal(text).and_then(|n| i64::try_from(n).ok()),
    }
}

/// Number of a user or group that this system knows.
fn number_of(user: bool, name: &[u8]) -> Option<u32> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(name);
    if user { uzers::get_user_by_name(name).map(|u| u.uid()) } else { uzers::get_group_by_name(name).map(|g| g.gid()) }
}
