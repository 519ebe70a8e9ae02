-- The catalog: one file per repository in the cache directory. It only indexes what objects say; on any mismatch it is
-- dropped and made anew. Three things it knows that the repository does not say itself: `heads`, the newest snapshot ever
-- seen of each writer, by which a repository that was rolled back gives itself away; `suspects`; and in `meta` when retention
-- last ran here, by which a clock that jumped does.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE snapshots (
  id          BLOB PRIMARY KEY,      -- 32 bytes
  time        INTEGER NOT NULL,      -- nanoseconds since 1970
  series      TEXT NOT NULL,
  host        TEXT NOT NULL,
  writer      BLOB NOT NULL,         -- 16 bytes
  sequence    INTEGER NOT NULL,
  index_part  BLOB NOT NULL,         -- as in the manifest
  names_part  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshots_by_time ON snapshots (time, id);
CREATE INDEX snapshots_by_series ON snapshots (series, host, time);
CREATE INDEX snapshots_by_writer ON snapshots (writer, sequence);
CREATE TABLE heads (
  writer      BLOB PRIMARY KEY,
  sequence    INTEGER NOT NULL,
  snapshot    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- Packs in which a check found damage that a listing does not show: backups store anew what they need of them.
CREATE TABLE suspects (
  pack        BLOB PRIMARY KEY       -- 32 bytes
) STRICT, WITHOUT ROWID;
