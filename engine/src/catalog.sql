-- The catalog: one file per repository in the cache directory. It only indexes what objects say; on any mismatch it is
-- dropped and made anew. The one thing it knows that the repository cannot say itself is `heads`: the newest snapshot
-- ever seen of each writer, by which a repository that was rolled back gives itself away.
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
