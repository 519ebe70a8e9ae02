//! What a bucket was listed to hold, before any of it is read: keys come in the order of their bytes, and a tree wants the order of paths.
//! Kept as the entries of archives are ([`Members`](super::members::Members)): a few pages in memory, the rest in a file without a name.
//! Here a key becomes a path, and one that is also the beginning of others goes where both can be. None is lost to another.

use crate::backup::members::{dir_of, key};
use crate::error::{Error, Result};
use crate::format::entry::{join, path_is_valid, split};
use crate::format::wire::Time;
use crate::source::objects::Object;
use crate::source::objects::keys::{ITSELF, to_directory, to_path};
use rusqlite::{Connection, OptionalExtension, params};

/// Pages that are kept in memory: 16 MiB.
const CACHE_KIB: i64 = 16 << 10;

/// `object`: 0 for a directory that only leads to what is in it.
const SCHEMA: &str = "
PRAGMA temp_store = FILE;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE listed(
    dir BLOB, name BLOB, directory INTEGER, object INTEGER, key TEXT, size INTEGER, secs INTEGER, nanos INTEGER, etag TEXT,
    archived INTEGER, PRIMARY KEY(dir, name)
) WITHOUT ROWID;
BEGIN;";

/// See the module's text.
pub struct Listing {
    db: Connection,
    /// The directory in which all of it lies.
    top: Vec<u8>,
    /// The directory that was made sure of last.
    dir: Option<Vec<u8>>,
}

/// Something that was listed, where it goes.
pub struct Found {
    /// Its name.
    pub name: Vec<u8>,
    /// It is a directory.
    pub directory: bool,
    /// The object; `None` for a directory that only leads to what is in it.
    pub object: Option<Object>,
}

fn failed(source: rusqlite::Error) -> Error {
    Error::Aside { source }
}

/// Where an object goes below the directory of its source, and whether it marks a directory; `None` where its key is longer than any path.
pub fn place(object: &Object) -> Option<(Vec<u8>, bool)> {
    let key = object.key.as_bytes();
    let marks = object.size == 0 && (key.is_empty() || key.ends_with(b"/"));
    Some((if marks { to_directory(key)? } else { to_path(key)? }, marks))
}

impl Listing {
    /// Nothing yet, in the directory `top`.
    pub fn new(top: &[u8]) -> Result<Self> {
        let db = Connection::open("").map_err(failed)?;
        db.execute_batch(SCHEMA).map_err(failed)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        let mut listing = Listing { db, top: top.to_vec(), dir: None };
        listing.make_sure_of(top)?;
        Ok(listing)
    }

    /// Forgets all of it.
    pub fn clear(&mut self) -> Result<()> {
        self.db.execute("DELETE FROM listed", []).map_err(failed)?;
        self.dir = None;
        self.make_sure_of(&self.top.clone())
    }

    /// Takes in an object under what [`place`] says of it. `false` where that is no path in this directory.
    pub fn take(&mut self, object: &Object, (path, marks): (&[u8], bool)) -> Result<bool> {
        let path = match (&self.top[..], path) {
            (b"", path) => path.to_vec(),
            (top, b"") => top.to_vec(),
            (top, path) => join(top, path),
        };
        let fits = i64::try_from(object.size).is_ok() && path_is_valid(&path);
        // At the top of a snapshot there is no entry that could be the directory.
        if !fits || path.is_empty() {
            return Ok(fits);
        }
        if marks {
            self.make_sure_of(&path)?;
            self.put(&path, Some(object), true)?;
            return Ok(true);
        }
        self.make_sure_of(split(&path).0)?;
        match self.is_directory(&path)? {
            Some(true) => self.put(&join(&path, ITSELF), Some(object), false)?,
            _ => self.put(&path, Some(object), false)?,
        }
        Ok(true)
    }

    fn is_directory(&self, path: &[u8]) -> Result<Option<bool>> {
        let (dir, name) = split(path);
        let find = "SELECT directory FROM listed WHERE dir = ?1 AND name = ?2";
        self.db
            .prepare_cached(find)
            .and_then(|mut find| find.query_row(params![key(dir), name], |row| row.get(0)).optional())
            .map_err(failed)
    }

    fn put(&self, path: &[u8], object: Option<&Object>, directory: bool) -> Result<()> {
        let (dir, name) = split(path);
        let object_is = object.is_some();
        let (own, size, time, etag, archived) = object.map_or(("", 0, Time::default(), "", false), |object| {
            (object.key.as_str(), object.size.cast_signed(), object.mtime, object.etag.as_str(), object.archived)
        });
        let values = params![key(dir), name, directory, object_is, own, size, time.secs, time.nanos, etag, archived];
        let put = "INSERT OR REPLACE INTO listed VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        self.db.prepare_cached(put).and_then(|mut put| put.execute(values)).map(|_| ()).map_err(failed)
    }

    /// Makes sure that there is a directory, and all above it. An object that has the path goes into it.
    fn make_sure_of(&mut self, dir: &[u8]) -> Result<()> {
        if dir.is_empty() || self.dir.as_deref() == Some(dir) {
            return Ok(());
        }
        // From below: where there is a directory, all above it are.
        let mut missing = Vec::new();
        let mut at = dir;
        while !at.is_empty() {
            match self.is_directory(at)? {
                Some(true) => break,
                Some(false) => {
                    let (above, name) = split(at);
                    let into = "UPDATE listed SET dir = ?3, name = ?4 WHERE dir = ?1 AND name = ?2";
                    let values = params![key(above), name, key(at), ITSELF];
                    self.db.prepare_cached(into).and_then(|mut into| into.execute(values)).map_err(failed)?;
                    missing.push(at);
                }
                None => missing.push(at),
            }
            at = split(at).0;
        }
        missing.into_iter().try_for_each(|at| self.put(at, None, true))?;
        self.dir = Some(dir.to_vec());
        Ok(())
    }

    /// Calls `each` for all that was listed, in the order of a tree: with its directory.
    pub fn each<E: From<Error>>(&self, mut each: impl FnMut(&[u8], Found) -> std::result::Result<(), E>) -> std::result::Result<(), E> {
        let all = "SELECT dir, name, directory, object, key, size, secs, nanos, etag, archived FROM listed ORDER BY dir, name";
        let mut all = self.db.prepare(all).map_err(failed)?;
        let mut rows = all.query([]).map_err(failed)?;
        let mut last: (Vec<u8>, Vec<u8>) = Default::default();
        while let Some(row) = rows.next().map_err(failed)? {
            let found = || -> rusqlite::Result<(Vec<u8>, Found)> {
                let object = match row.get::<_, bool>(3)? {
                    false => None,
                    true => Some(Object {
                        key: row.get(4)?,
                        size: row.get::<_, i64>(5)?.cast_unsigned(),
                        mtime: Time { secs: row.get(6)?, nanos: row.get(7)? },
                        etag: row.get(8)?,
                        archived: row.get(9)?,
                    }),
                };
                Ok((row.get(0)?, Found { name: row.get(1)?, directory: row.get(2)?, object }))
            };
            let (dir, found) = found().map_err(failed)?;
            if dir != last.0 {
                last = (dir.clone(), dir_of(dir));
            }
            each(&last.1, found)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, size: u64) -> Object {
        Object { key: key.to_owned(), size, etag: format!("of {key}"), ..Object::default() }
    }

    fn listed(top: &str, keys: &[(&str, u64)]) -> Vec<(String, bool, Option<String>)> {
        let mut listing = Listing::new(top.as_bytes()).unwrap();
        for (key, size) in keys {
            let object = object(key, *size);
            let (path, marks) = place(&object).unwrap();
            assert!(listing.take(&object, (&path, marks)).unwrap());
        }
        let mut all = Vec::new();
        listing
            .each(|dir, found| {
                let path = String::from_utf8(join(dir, &found.name)).unwrap();
                all.push((path, found.directory, found.object.map(|object| object.key)));
                Ok::<_, Error>(())
            })
            .unwrap();
        all
    }

    #[test]
    fn keys_come_out_in_the_order_of_a_tree() {
        let paths: Vec<String> =
            listed("b", &[("a-b", 1), ("a/x", 1), ("a/x.y/z", 1), ("b", 1)]).into_iter().map(|(path, ..)| path).collect();
        assert_eq!(paths, ["b", "b/a", "b/a-b", "b/b", "b/a/x", "b/a/x.y", "b/a/x.y/z"]);
    }

    /// In whatever order they come: a key that begins others lies in the directory that these make of it.
    #[test]
    fn a_key_that_begins_others_is_not_lost() {
        let keys = [("a", 1), ("a/b", 1), ("a/b/c", 0), ("a/", 0), ("a/b/", 3), ("/", 0), ("", 0)];
        let want = |path: &str, directory, key: Option<&str>| (path.to_owned(), directory, key.map(str::to_owned));
        let all = [
            want("t", true, Some("")),
            want("t/%s3:", true, Some("/")),
            want("t/a", true, Some("a/")),
            want("t/a/%s3=", false, Some("a")),
            want("t/a/b", true, None),
            want("t/a/b/%s3:", false, Some("a/b/")),
            want("t/a/b/%s3=", false, Some("a/b")),
            want("t/a/b/c", false, Some("a/b/c")),
        ];
        assert_eq!(listed("t", &keys), all);
        let backwards: Vec<_> = keys.into_iter().rev().collect();
        assert_eq!(listed("t", &backwards), all);
        assert_eq!(listed("", &[("", 0), ("a", 1)]), [want("a", false, Some("a"))]);
    }

    #[test]
    fn a_listing_that_comes_again_is_the_last_one() {
        let mut listing = Listing::new(b"t").unwrap();
        assert!(listing.take(&object("a", 1), (b"a", false)).unwrap());
        listing.clear().unwrap();
        assert!(listing.take(&object("b", 1), (b"b", false)).unwrap());
        assert!(!listing.take(&object("c", u64::MAX), (b"c", false)).unwrap());
        let mut names = Vec::new();
        listing
            .each(|_, found| {
                names.push(found.name);
                Ok::<_, Error>(())
            })
            .unwrap();
        assert_eq!(names, [b"t", b"b"]);
    }
}
