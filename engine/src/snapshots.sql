-- The part of the catalog that repeats the manifests, and the notes about them: made anew by whichever version of the program finds it to be another's.
CREATE TABLE snapshots (
  id          BLOB PRIMARY KEY,      -- 32 bytes
  time        INTEGER NOT NULL,      -- nanoseconds since 1970
  series      TEXT NOT NULL,
  host        TEXT NOT NULL,
  writer      BLOB NOT NULL,         -- 16 bytes
  sequence    INTEGER NOT NULL,
  index_part  BLOB NOT NULL,         -- as in the manifest
  names_part  BLOB NOT NULL,         -- with the tags and the description that notes give it
  -- The rest only repeats these two, for the views.
  started     INTEGER NOT NULL,
  finished    INTEGER NOT NULL,
  incomplete  INTEGER NOT NULL,
  user        TEXT NOT NULL,
  paths       TEXT NOT NULL,         -- JSON
  tags        TEXT NOT NULL,         -- JSON
  description TEXT NOT NULL,
  program     TEXT NOT NULL,
  parent      BLOB,
  files_new   INTEGER NOT NULL,
  files_changed INTEGER NOT NULL,
  files_unmodified INTEGER NOT NULL,
  files       INTEGER NOT NULL,
  bytes       INTEGER NOT NULL,
  bytes_added INTEGER NOT NULL,
  bytes_stored INTEGER NOT NULL,
  errors      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- The snapshots that each one vouches for: those behind which nobody has to look for a head.
CREATE TABLE vouched (
  snapshot    BLOB NOT NULL,         -- 32 bytes
  by          BLOB NOT NULL,         -- 32 bytes: a row of the table above
  PRIMARY KEY (snapshot, by)
) STRICT, WITHOUT ROWID;
CREATE INDEX vouched_by ON vouched (by);
-- Tags and descriptions that were edited: applied to the rows above whenever one is written, whichever comes first.
CREATE TABLE notes (
  id          BLOB PRIMARY KEY,      -- 16 bytes
  about       BLOB NOT NULL,         -- 32 bytes: a snapshot, whether it is here or not
  kind        TEXT NOT NULL,         -- empty: read, and of no use here
  time        INTEGER NOT NULL,      -- nanoseconds since 1970
  body        BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notes_by_about ON notes (about, kind, time, id);
CREATE INDEX snapshots_by_time ON snapshots (time, id);
CREATE INDEX snapshots_by_series ON snapshots (series, host, time);
CREATE INDEX snapshots_by_writer ON snapshots (writer, sequence);
-- For other programs: stable, documented in engine/CATALOG.md.
CREATE VIEW seabed_snapshots AS
  SELECT lower(hex(id)) AS id, substr(lower(hex(id)), 1, 8) AS short_id, time AS time_ns,
         strftime('%Y-%m-%dT%H:%M:%SZ', time / 1000000000, 'unixepoch') AS time, host, series, user, paths, tags, description, program,
         lower(hex(parent)) AS parent, incomplete, started AS started_ns, finished AS finished_ns, files, bytes, files_new, files_changed,
         files_unmodified, bytes_added, bytes_stored, errors
  FROM snapshots;
CREATE VIEW seabed_series AS
  SELECT host, series, count(*) AS snapshots, min(time) AS first_time_ns, max(time) AS last_time_ns, sum(bytes_added) AS bytes_added,
         sum(bytes_stored) AS bytes_stored
  FROM snapshots GROUP BY host, series;
