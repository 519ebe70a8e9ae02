-- The catalog: one file per repository in the cache directory. It only indexes what objects say; on any mismatch it is
-- dropped and made anew. Four things it knows that the repository does not say itself: `heads`, the newest snapshot
-- ever seen of each writer, by which a repository that was rolled back gives itself away; `suspects`; in `meta` when retention
-- last ran here, by which a clock that jumped does; and, in `lost.sql`, snapshots that were lost. What can be read again is in `snapshots.sql`.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE heads (
  writer      BLOB PRIMARY KEY,
  sequence    INTEGER NOT NULL,
  snapshot    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- Packs in which a check found damage that a listing does not show: backups store anew what they need of them.
CREATE TABLE suspects (
  pack        BLOB PRIMARY KEY       -- 32 bytes
) STRICT, WITHOUT ROWID;
