-- The path index: one file per repository in the cache directory, beside the catalog (a file of its own, so that filling it keeps no
-- backup waiting for the catalog, and deleting it costs nothing but time). It says what the entry trees say, once per change.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
-- A line of snapshots in which each is compared with the one before: a series on a host.
CREATE TABLE lines (
  line        INTEGER PRIMARY KEY,
  host        TEXT NOT NULL,
  series      TEXT NOT NULL,
  UNIQUE (host, series)
) STRICT;
-- Snapshots whose trees were looked at.
CREATE TABLE snapshots (
  id          BLOB PRIMARY KEY,      -- 32 bytes
  line        INTEGER NOT NULL,
  place       INTEGER NOT NULL,      -- ascending in a line by time; with gaps
  time        INTEGER NOT NULL,      -- nanoseconds since 1970
  state       INTEGER NOT NULL,      -- 0 indexed, 1 its tree could not be read, 2 left out for want of room
  tried       INTEGER NOT NULL,      -- when it was entered, nanoseconds since 1970
  UNIQUE (line, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE dirs (
  dir         INTEGER PRIMARY KEY,
  path        BLOB NOT NULL UNIQUE   -- without leading or trailing slash; empty for the root
) STRICT;
-- Every path that any snapshot had, and no more than those that one has for long. Ids are given in ascending order.
CREATE TABLE paths (
  path        INTEGER PRIMARY KEY,
  dir         INTEGER NOT NULL,
  name        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX paths_by_dir ON paths (dir, name);
-- What a path was from a snapshot of a line on, until the next row of the same path and line.
CREATE TABLE versions (
  path        INTEGER NOT NULL,
  line        INTEGER NOT NULL,
  since       INTEGER NOT NULL,      -- place of the snapshot
  kind        INTEGER,               -- as in the entry; NULL: it was gone
  mode        INTEGER,
  uid         INTEGER,
  gid         INTEGER,
  size        INTEGER,
  mtime       INTEGER,               -- nanoseconds since 1970
  content     INTEGER,               -- digest of the list of its chunks, or of the target of a link
  rest        INTEGER,               -- digest of names of owners, attributes, flags, device numbers, status
  PRIMARY KEY (path, line, since)
) STRICT, WITHOUT ROWID;
-- Names of complete runs of ids, for searching: block n holds ids n * 4096 + 1 to (n + 1) * 4096. Made when first searched, and again once
-- one of its paths is gone. An id that nobody has is there with directory 0 and no name.
CREATE TABLE blocks (
  block       INTEGER PRIMARY KEY,
  dirs        BLOB NOT NULL,         -- per path, 4 bytes, little-endian
  names       BLOB NOT NULL          -- one after the other, each ended by a slash
) STRICT;

-- For other programs: stable, documented in engine/CATALOG.md. Binary names are shown as text.
CREATE VIEW seabed_versions AS
  SELECT '/' || CASE WHEN d.path = x'' THEN '' ELSE CAST(d.path AS TEXT) || '/' END || CAST(p.name AS TEXT) AS path,
         l.host, l.series, v.since,
         (SELECT min(n.since) FROM versions n WHERE n.path = v.path AND n.line = v.line AND n.since > v.since) AS until,
         CASE v.kind WHEN 0 THEN 'dir' WHEN 1 THEN 'file' WHEN 2 THEN 'symlink' WHEN 3 THEN 'fifo' WHEN 4 THEN 'socket'
                     WHEN 5 THEN 'chardev' WHEN 6 THEN 'dev' END AS type,
         v.mode, v.uid, v.gid, v.size, v.mtime AS mtime_ns, v.content
  FROM versions v JOIN paths p ON p.path = v.path JOIN dirs d ON d.dir = p.dir JOIN lines l ON l.line = v.line
  WHERE v.kind IS NOT NULL;
CREATE VIEW seabed_places AS
  SELECT lower(hex(s.id)) AS snapshot, l.host, l.series, s.place, s.time AS time_ns
  FROM snapshots s JOIN lines l ON l.line = s.line WHERE s.state = 0;
