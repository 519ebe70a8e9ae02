//! Keys as paths, and back. Almost every key is its own path; what no path can hold (empty parts, `.` and `..`, NUL, parts of more than
//! 255 bytes) is written another way, so that every key has a path and no two have the same one.
//! It must never give two keys one path, nor a path that no reader takes.
//! It obeys spec chapter 6 (buckets).

use crate::format::entry::{name_is_valid, path_is_valid, split};
use crate::limits::NAME_BYTES_MAX;

/// What the names begin with that are written another way. One that begins with it by itself is written another way, too.
const MARK: &[u8] = b"%s3";
/// Behind the mark: the rest is the part of a key, with `%25` for `%` and `%00` for NUL.
const ESCAPED: u8 = b':';
/// Behind the mark: the same, and the next name goes on with it.
const CONTINUED: u8 = b'+';
/// The object whose key is the path of the directory that this lies in.
pub const ITSELF: &[u8] = b"%s3=";

/// The path of a key; `None` where a store has keys that are longer than any path. The empty key has the empty part for a path.
pub fn to_path(key: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(key.len());
    for (n, part) in key.split(|b| *b == b'/').enumerate() {
        if n > 0 {
            path.push(b'/');
        }
        put(part, &mut path);
    }
    path_is_valid(&path).then_some(path)
}

/// The path of the directory that a key ending in `/` marks: the path of the key without that end. The empty key marks the top.
pub fn to_directory(key: &[u8]) -> Option<Vec<u8>> {
    if key.is_empty() { Some(Vec::new()) } else { to_path(key.strip_suffix(b"/").unwrap_or(key)) }
}

fn put(part: &[u8], path: &mut Vec<u8>) {
    if name_is_valid(part) && !part.starts_with(MARK) {
        return path.extend_from_slice(part);
    }
    let room = NAME_BYTES_MAX - MARK.len() - 1;
    let mut name = Vec::new();
    for byte in part {
        let escaped = match byte {
            b'%' => &b"%25"[..],
            0 => b"%00",
            other => std::slice::from_ref(other),
        };
        if name.len() + escaped.len() > room {
            path.extend_from_slice(MARK);
            path.push(CONTINUED);
            path.append(&mut name);
            path.push(b'/');
        }
        name.extend_from_slice(escaped);
    }
    path.extend_from_slice(MARK);
    path.push(ESCAPED);
    path.append(&mut name);
}

/// The key that a path stands for; `None` for a path that no key has.
pub fn to_key(path: &[u8]) -> Option<Vec<u8>> {
    let (path, itself) = match split(path) {
        (above, ITSELF) => (above, true),
        _ => (path, false),
    };
    let mut key = Vec::with_capacity(path.len());
    let (mut begins, mut goes_on) = (true, false);
    for name in path.split(|b| *b == b'/') {
        if !begins && !goes_on {
            key.push(b'/');
        }
        (begins, goes_on) = (false, false);
        match name.strip_prefix(MARK).map(<[u8]>::split_first) {
            None => key.extend_from_slice(name),
            Some(Some((&kind @ (ESCAPED | CONTINUED), rest))) => {
                goes_on = kind == CONTINUED;
                unescape(rest, &mut key)?;
            }
            Some(_) => return None,
        }
    }
    // Each key has one path: what was not made of it does not stand for it.
    let made = to_path(&key)?;
    (made == path && !(itself && path.is_empty())).then_some(key)
}

fn unescape(mut rest: &[u8], key: &mut Vec<u8>) -> Option<()> {
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            key.push(*byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        key.push(match digits {
            b"25" => b'%',
            b"00" => 0,
            _ => return None,
        });
        rest = behind;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn most_keys_are_their_own_paths() {
        for key in ["a", "a/b.pdf", "a b/ü", "100%/x%20y", "%s/3", "x%s3=", "x/y%s3:", "...", "~", "s3:"] {
            assert_eq!(to_path(key.as_bytes()).as_deref(), Some(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn what_no_path_can_hold_is_written_another_way() {
        let long = "x".repeat(300);
        for (key, path) in [
            ("", "%s3:"),
            ("/", "%s3:/%s3:"),
            ("/a", "%s3:/a"),
            ("a//b", "a/%s3:/b"),
            ("a/", "a/%s3:"),
            (".", "%s3:."),
            ("a/../b", "a/%s3:../b"),
            ("a\0b%", "%s3:a%00b%25"),
            ("%s3:", "%s3:%25s3:"),
            ("%s3=", "%s3:%25s3="),
            ("%s3", "%s3:%25s3"),
            (&*long, &*format!("%s3+{}/%s3:{}", "x".repeat(251), "x".repeat(49))),
        ] {
            assert_eq!(String::from_utf8(to_path(key.as_bytes()).unwrap()).unwrap(), path, "{key}");
            assert_eq!(to_key(path.as_bytes()).as_deref(), Some(key.as_bytes()), "{path}");
        }
        assert_eq!(to_key(b"a/b/%s3=").as_deref(), Some(&b"a/b"[..]));
        assert_eq!(to_directory(b"").as_deref(), Some(&b""[..]));
        assert_eq!(to_directory(b"/").as_deref(), Some(&b"%s3:"[..]));
        assert_eq!(to_directory(b"a//").as_deref(), Some(&b"a/%s3:"[..]));
    }

    #[test]
    fn what_was_made_of_no_key_stands_for_none() {
        for path in
            ["%s3", "%s3x", "%s3=", "%s3:a", "a/%s3:b", "%s3:%41", "%s3:%2", "%s3+a/b", "%s3+a", "%s3=/a", "a/%s3=/b", "a/%s3=/%s3="]
        {
            assert_eq!(to_key(path.as_bytes()), None, "{path}");
        }
    }

    fn part() -> impl Strategy<Value = Vec<u8>> {
        let special = ["", ".", "..", "%s3", "%s3:", "%s3+", "%s3=", "%25", "%00", "%", "a", "b"];
        prop_oneof![
            prop::sample::select(special.to_vec()).prop_map(|part| part.as_bytes().to_vec()),
            prop::collection::vec(prop_oneof![Just(b'%'), Just(0), Just(b's'), Just(b'3'), Just(b'.'), 1..=255u8], 0..12),
            (240..600usize, any::<u8>(), any::<bool>()).prop_map(|(n, byte, last)| {
                let mut part = vec![byte; n];
                if last {
                    part.push(b'%');
                }
                part
            }),
        ]
        .prop_map(|mut part| {
            part.retain(|b| *b != b'/');
            part
        })
    }

    proptest! {
        #[test]
        fn every_key_has_a_path_that_stands_for_it_alone(parts in prop::collection::vec(part(), 1..6)) {
            let key = parts.join(&b'/');
            let path = to_path(&key).unwrap();
            prop_assert!(path_is_valid(&path) && !path.is_empty());
            prop_assert_eq!(to_key(&path), Some(key.clone()));
            // As a file where others lie below it.
            let inside = [&path[..], b"/", ITSELF].concat();
            prop_assert_eq!(to_key(&inside), Some(key.clone()));
            prop_assert_ne!(to_path(&key), Some(inside));
        }

        #[test]
        fn every_path_that_stands_for_a_key_is_the_one_made_of_it(parts in prop::collection::vec(part(), 1..5)) {
            let path = parts.join(&b'/');
            if let Some(key) = to_key(&path) {
                let made = to_path(&key).unwrap();
                prop_assert!(made == path || [&made[..], b"/", ITSELF].concat() == path);
            }
        }
    }
}
