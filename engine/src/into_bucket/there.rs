//! What a bucket holds, kept aside by key while it is compared: in a file without a name that goes away with the run.

use crate::error::{Error, Result};
use crate::format::entry::EntryKind;
use crate::format::wire::Time;
use crate::into_bucket::keys::{Key, Meant};
use crate::observe::Observer;
use crate::repository::Repository;
use crate::repository::merged::Merged;
use crate::repository::selector::Selected;
use crate::source::objects::attributes::etag_of;
use crate::source::objects::{Listed, Object, Objects};
use crate::store::s3::Bucket;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Pages that are kept in memory: 16 MiB.
const CACHE_KIB: i64 = 16 << 10;

/// `same`: null where the snapshot has no such key.
const SCHEMA: &str = "
PRAGMA temp_store = FILE;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE there(key TEXT PRIMARY KEY, size INTEGER, secs INTEGER, nanos INTEGER, etag TEXT, same INTEGER) WITHOUT ROWID;
BEGIN;";

/// See the module's text.
pub struct There {
    db: Connection,
}

fn failed(source: rusqlite::Error) -> Error {
    Error::Aside { source }
}

fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        key: row.get(0)?,
        size: row.get::<_, i64>(1)?.cast_unsigned(),
        mtime: Time { secs: row.get(2)?, nanos: row.get(3)? },
        etag: row.get(4)?,
        archived: false,
    })
}

impl There {
    /// Lists it.
    pub fn list(bucket: &Bucket, observer: &dyn Observer) -> Result<Self> {
        let db = Connection::open("").map_err(failed)?;
        db.execute_batch(SCHEMA).map_err(failed)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        bucket.list(&mut |listed| {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            match listed {
                Listed::Again => db.execute("DELETE FROM there", []),
                Listed::Object(object) => {
                    db.prepare_cached("INSERT OR REPLACE INTO there VALUES(?1, ?2, ?3, ?4, ?5, NULL)").and_then(|mut put| {
                        let (size, Time { secs, nanos }) = (object.size.cast_signed(), object.mtime);
                        put.execute(params![object.key, size, secs, nanos, object.etag])
                    })
                }
            }
            .map(|_| ())
            .map_err(failed)
        })?;
        Ok(There { db })
    }

    /// What has this key.
    pub fn find(&self, key: &str) -> Result<Option<Object>> {
        let find = "SELECT key, size, secs, nanos, etag FROM there WHERE key = ?1";
        self.db.prepare_cached(find).and_then(|mut find| find.query_row([key], object).optional()).map_err(failed)
    }

    /// Keeps whether what has this key is what the snapshot has.
    pub fn judge(&mut self, key: &str, same: bool) -> Result<()> {
        let judge = "UPDATE there SET same = ?2 WHERE key = ?1";
        self.db.prepare_cached(judge).and_then(|mut judge| judge.execute(params![key, same])).map(|_| ()).map_err(failed)
    }

    /// Whether what has this key was found to be what the snapshot has.
    pub fn is_same(&self, key: &str) -> Result<bool> {
        let find = "SELECT 1 FROM there WHERE key = ?1 AND same = 1";
        self.db.prepare_cached(find).and_then(|mut find| find.exists([key])).map_err(failed)
    }

    /// What the snapshot does not have, by key.
    fn rest(&self, which: &str, mut each: impl FnMut(Object) -> Result<()>) -> Result<()> {
        let rest = format!("SELECT key, size, secs, nanos, etag FROM there WHERE {which} ORDER BY key");
        let mut rest = self.db.prepare(&rest).map_err(failed)?;
        let mut rows = rest.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            each(object(row).map_err(failed)?)?;
        }
        Ok(())
    }

    /// Keys that the snapshot does not have, each with its length.
    pub fn extra(&self, mut each: impl FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.rest("same IS NULL", |object| each(&object.key, object.size))
    }
}

/// Calls `each` with every object of `bucket` that a snapshot of it does not hold as it is now: by length, time and ETag, as a backup judges.
/// Without a snapshot none is held.
pub fn unsaved(
    snapshot: Option<(&Repository, &Selected)>,
    bucket: &Bucket,
    observer: &dyn Observer,
    mut each: impl FnMut(&Object) -> Result<()>,
) -> Result<()> {
    let mut there = There::list(bucket, observer)?;
    if let Some((repository, selected)) = snapshot {
        let meant = Meant::of(selected)?;
        let reader = repository.reader()?;
        let mut merged = Merged::new(&reader, meant.snapshot(), meant.path(), true, |_| true)?;
        while let Some(item) = merged.next_item()? {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let Ok(Key(key)) = meant.key(&item) else { continue };
            let stored = item.entry.has_content() || item.entry.kind == EntryKind::Directory;
            if let Some(object) = there.find(&key)?
                && stored
            {
                let entry = &item.entry;
                let same = (object.size, object.mtime) == (entry.size, entry.mtime) && etag_of(&entry.xattrs) == object.etag.as_bytes();
                there.judge(&key, same)?;
            }
        }
    }
    there.rest("same IS NOT 1", |object| each(&object))
}
