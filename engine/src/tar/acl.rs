//! POSIX ACLs: as Linux keeps them in extended attributes, and as the text that `SCHILY.acl` records hold and GNU tar, bsdtar and star read.
//! Users and groups are written as numbers, which every reader takes.

/// Attribute that holds the access ACL.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute that holds the ACL that what is made in a directory begins with.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Entries that are taken; a kernel takes as many as fit into 64 KiB.
const ENTRIES_MAX: usize = 8191;

const VERSION: u32 = 2;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// The text of an ACL; `None` where the attribute is none.
pub fn to_text(value: &[u8]) -> Option<String> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, []) = entries.as_chunks::<8>() else { return None };
    if u32::from_le_bytes(*version) != VERSION || entries.is_empty() {
        return None;
    }
    let mut parts = Vec::with_capacity(entries.len());
    for [t0, t1, p0, p1, id @ ..] in entries {
        let (tag, perm, id) = (u16::from_le_bytes([*t0, *t1]), u16::from_le_bytes([*p0, *p1]), u32::from_le_bytes(*id));
        let bit = |bit, letter| if perm & bit != 0 { letter } else { '-' };
        let perms: String = [bit(4, 'r'), bit(2, 'w'), bit(1, 'x')].into_iter().collect();
        parts.push(match tag {
            USER_OBJ => format!("user::{perms}"),
            USER => format!("user:{id}:{perms}"),
            GROUP_OBJ => format!("group::{perms}"),
            GROUP => format!("group:{id}:{perms}"),
            MASK => format!("mask::{perms}"),
            OTHER => format!("other::{perms}"),
            _ => return None,
        });
    }
    Some(parts.join(","))
}

/// Finds the number of a user (`true`) or group by its name.
pub type Lookup<'a> = dyn Fn(bool, &[u8]) -> Option<u32> + 'a;

/// The attribute that a text stands for; `None` where it makes no sense, or names somebody whom `lookup` does not know and whose number
/// does not stand behind it.
pub fn from_text(text: &[u8], lookup: &Lookup<'_>) -> Option<Vec<u8>> {
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for part in text.split(|b| matches!(b, b',' | b'\n')) {
        let part = part.split(|b| *b == b'#').next().unwrap_or_default().trim_ascii();
        if part.is_empty() {
            continue;
        }
        entries.push(entry(part, lookup)?);
        if entries.len() > ENTRIES_MAX {
            return None;
        }
    }
    // The kernel wants them in this order, each once.
    entries.sort_unstable();
    let once = entries.windows(2).all(|pair| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1));
    let has = |tag| entries.iter().any(|entry| entry.0 == tag);
    if !once || !has(USER_OBJ) || !has(GROUP_OBJ) || !has(OTHER) || (has(USER) || has(GROUP)) && !has(MASK) {
        return None;
    }
    let mut out = VERSION.to_le_bytes().to_vec();
    for (tag, id, perm) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

/// Whether an access ACL says no more than the permission bits: a file with one is a file without.
pub fn is_plain(value: &[u8]) -> bool {
    value.len() == 4 + 3 * 8
}

fn entry(part: &[u8], lookup: &Lookup<'_>) -> Option<(u16, u32, u16)> {
    let fields: Vec<&[u8]> = part.split(|b| *b == b':').map(<[u8]>::trim_ascii).collect();
    let (who, named, perms, number) = match fields[..] {
        // Solaris leaves the empty name of the last two away.
        [who @ (b"mask" | b"m" | b"other" | b"o"), perms] => (who, &b""[..], perms, None),
        [who, named, perms] => (who, named, perms, None),
        [who, named, perms, number] => (who, named, perms, Some(number)),
        _ => return None,
    };
    let id = |user| {
        let written = |text: &[u8]| super::pax::decimal(text).and_then(|id| u32::try_from(id).ok());
        number.and_then(written).or_else(|| written(named)).or_else(|| lookup(user, named))
    };
    let (tag, id) = match (who, named.is_empty()) {
        (b"user" | b"u", true) => (USER_OBJ, u32::MAX),
        (b"user" | b"u", false) => (USER, id(true)?),
        (b"group" | b"g", true) => (GROUP_OBJ, u32::MAX),
        (b"group" | b"g", false) => (GROUP, id(false)?),
        (b"mask" | b"m", true) => (MASK, u32::MAX),
        (b"other" | b"o", true) => (OTHER, u32::MAX),
        _ => return None,
    };
    let mut bits = 0;
    for letter in perms {
        bits |= match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => 0,
            _ => return None,
        };
    }
    Some((tag, id, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nobody(_user: bool, _name: &[u8]) -> Option<u32> {
        None
    }

    #[test]
    fn texts_of_others_are_understood() {
        let want = from_text(b"user::rw-,user:1234:r--,group::r--,mask::r--,other::---", &nobody).unwrap();
        assert_eq!(to_text(&want).unwrap(), "user::rw-,user:1234:r--,group::r--,mask::r--,other::---");
        // GNU tar writes lines, star a number behind the name, Solaris short forms; the order may be any.
        for text in [
            &b"user::rw-\nuser:1234:r--\t#effective:r--\ngroup::r--\nmask::r--\nother::---\n"[..],
            b"other:---,user::rw-,mask:r--,group::r--,user:joe:r--:1234",
            b"u::rw,u:joe:r,g::r,m::r,o::-",
        ] {
            let joe = |user: bool, name: &[u8]| (user && name == b"joe").then_some(1234);
            assert_eq!(from_text(text, &joe).as_ref(), Some(&want), "{}", text.escape_ascii());
        }
        for bad in [
            &b""[..],
            b"user::rw-",
            b"user::rw-,group::r--,other::r--,user:joe:rwx,mask::rwx",
            b"user::rw-,group::r--,other::r--,user:7:rwx",
            b"user::rw-,user::rw-,group::r--,other::r--",
            b"user::rwz,group::r--,other::r--",
            b"nobody::rwx,user::rw-,group::r--,other::r--",
        ] {
            assert_eq!(from_text(bad, &nobody), None, "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_value_is_an_acl_or_not(value in proptest::collection::vec(any::<u8>(), 0..60), text in "[ugmo:,rwx0-9#\n-]{0,40}") {
            let _ = (to_text(&value), from_text(text.as_bytes(), &nobody));
        }
    }
}
