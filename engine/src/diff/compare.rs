//! What differs between two entries of one path: their content by their lists, their attributes one by one.
//! It must never take for equal what it did not look at: content that nobody has read differs where size or time do.

use crate::format::entry::{Entry, EntryKind};
use crate::format::lists::Content;
use crate::format::wire::Time;

/// An attribute, as far as a restore brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Attribute {
    Size,
    Mode,
    Owner,
    Group,
    Mtime,
    Target,
    Device,
    Links,
    Xattrs,
    Flags,
    Status,
}

impl Attribute {
    /// The word for it in messages and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Attribute::Size => "size",
            Attribute::Mode => "mode",
            Attribute::Owner => "owner",
            Attribute::Group => "group",
            Attribute::Mtime => "mtime",
            Attribute::Target => "target",
            Attribute::Device => "rdev",
            Attribute::Links => "links",
            Attribute::Xattrs => "xattrs",
            Attribute::Flags => "flags",
            Attribute::Status => "status",
        }
    }
}

/// How much is known of the other side: attributes that nobody asked the system for are no difference.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Names of owners, extended attributes and targets.
    pub completed: bool,
    /// chattr flags, which only an open file tells.
    pub flags: bool,
}

impl Known {
    /// Everything: it is stored.
    pub const ALL: Known = Known { completed: true, flags: true };
}

/// What differs in the attributes of two entries of one path. Of what only leads to something times say nothing.
pub fn attributes(a: &Entry, b: &Entry, known: Known) -> Vec<Attribute> {
    let implied = a.implied || b.implied;
    let same_kind = a.kind == b.kind;
    let named = known.completed && !implied;
    let differs = [
        (Attribute::Size, same_kind && a.kind == EntryKind::File && a.size != b.size),
        (Attribute::Mode, a.mode != b.mode),
        (Attribute::Owner, a.uid != b.uid || named && a.user != b.user),
        (Attribute::Group, a.gid != b.gid || named && a.group != b.group),
        (Attribute::Mtime, !implied && a.mtime != b.mtime),
        (Attribute::Target, same_kind && known.completed && a.target != b.target),
        (Attribute::Device, same_kind && (a.rdev_major, a.rdev_minor) != (b.rdev_major, b.rdev_minor)),
        // 0 and 1 both say that there is no other name.
        (Attribute::Links, !implied && same_kind && a.links.max(1) != b.links.max(1)),
        (Attribute::Xattrs, named && a.xattrs != b.xattrs),
        (Attribute::Flags, named && known.flags && a.flags != b.flags),
        (Attribute::Status, known.completed && a.status != b.status),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(attribute, _)| attribute).collect()
}

/// Whether the content of two stored entries of one kind differs. A link's is its target, a device's its numbers.
pub fn content_differs((a, a_content): (&Entry, Option<&Content>), (b, b_content): (&Entry, Option<&Content>)) -> bool {
    match a.kind {
        EntryKind::File => a_content != b_content,
        _ => special_differs(a, b),
    }
}

/// The same for what is no file.
pub fn special_differs(a: &Entry, b: &Entry) -> bool {
    match a.kind {
        EntryKind::Symlink => a.target != b.target,
        EntryKind::CharDevice | EntryKind::BlockDevice => (a.rdev_major, a.rdev_minor) != (b.rdev_major, b.rdev_minor),
        _ => false,
    }
}

/// Whether a file looks as if it had been written to, by what costs nothing to ask.
pub fn looks_changed(a: &Entry, b: &Entry) -> bool {
    a.size != b.size || a.mtime != b.mtime || a.status != b.status
}

/// Whether nobody has written to a file, by all that the system says of it: if its content differs all the same, a disk or memory has
/// changed it. Where the time of attribute changes is not kept, nobody can say so.
pub fn is_untouched(a: &Entry, b: &Entry) -> bool {
    let told = a.ctime != Time::default() && a.inode != 0;
    told && a.kind == b.kind
        && (a.size, a.inode, a.status) == (b.size, b.inode, b.status)
        && (a.mtime, a.ctime, a.mode) == (b.mtime, b.ctime, b.mode)
        && (a.uid, a.gid) == (b.uid, b.gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::lists::Item;
    use crate::format::wire::Bytes;
    use crate::id::ChunkId;

    fn file() -> Entry {
        let mut entry = Entry::new(b"f", EntryKind::File);
        (entry.mode, entry.size, entry.inode) = (0o644, 10, 7);
        (entry.mtime, entry.ctime) = (Time::from_nanos(5), Time::from_nanos(6));
        entry
    }

    #[test]
    fn each_attribute_is_told_by_its_name() {
        let a = file();
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut b = file();
            change(&mut b);
            attributes(&a, &b, Known::ALL).into_iter().map(Attribute::word).collect::<Vec<_>>()
        };
        assert_eq!(with(&|_| {}), [""; 0]);
        assert_eq!(with(&|b| b.mode = 0o600), ["mode"]);
        assert_eq!(with(&|b| b.uid = 1), ["owner"]);
        assert_eq!(with(&|b| b.group = Bytes(b"staff".to_vec())), ["group"]);
        assert_eq!(with(&|b| b.mtime = Time::from_nanos(7)), ["mtime"]);
        assert_eq!(with(&|b| (b.size, b.flags) = (11, 64)), ["size", "flags"]);
        assert_eq!(with(&|b| b.links = 1), [""; 0]);
        assert_eq!(with(&|b| b.links = 2), ["links"]);
        // What a restore does not bring back.
        assert_eq!(with(&|b| (b.inode, b.ctime, b.device) = (8, Time::from_nanos(9), 3)), [""; 0]);
        let mut b = file();
        (b.flags, b.user) = (64, Bytes(b"ann".to_vec()));
        assert!(attributes(&a, &b, Known { completed: false, flags: false }).is_empty(), "nobody asked");
        (b.implied, b.mtime) = (true, Time::default());
        assert!(!attributes(&a, &b, Known::ALL).contains(&Attribute::Flags), "it only leads to something");
    }

    #[test]
    fn only_what_nobody_wrote_to_can_have_rotted() {
        let a = file();
        assert!(is_untouched(&a, &file()));
        let changes: [fn(&mut Entry); 4] = [|b| b.ctime = Time::from_nanos(9), |b| b.inode = 9, |b| b.mode = 0, |b| b.size = 9];
        for change in changes {
            let mut b = file();
            change(&mut b);
            assert!(!is_untouched(&a, &b));
        }
        let mut tar = file();
        (tar.ctime, tar.inode) = (Time::default(), 0);
        assert!(!is_untouched(&tar, &tar.clone()));
    }

    #[test]
    fn content_is_what_a_path_leads_to() {
        let content = |n: u8| Some(Content::Inline(vec![Item::Chunk(ChunkId::new([n; 32]))]));
        let differs = |a: &Entry, x: Option<Content>, b: &Entry, y: Option<Content>| content_differs((a, x.as_ref()), (b, y.as_ref()));
        assert!(!differs(&file(), content(1), &file(), content(1)));
        assert!(differs(&file(), content(1), &file(), content(2)));
        assert!(differs(&file(), content(1), &file(), None));
        let (mut a, mut b) = (Entry::new(b"l", EntryKind::Symlink), Entry::new(b"l", EntryKind::Symlink));
        assert!(!differs(&a, None, &b, None));
        a.target = Bytes(b"x".to_vec());
        assert!(differs(&a, None, &b, None));
        (a.kind, b.kind) = (EntryKind::CharDevice, EntryKind::CharDevice);
        assert!(!differs(&a, None, &b, None));
        b.rdev_minor = 1;
        assert!(differs(&a, None, &b, None));
    }
}
