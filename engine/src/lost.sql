-- Snapshots that this machine has seen and whose manifests are gone, though nobody has forgotten them: what it knows of them may be all that
-- anybody does, and a repair asks for it. A row stays until there is a tombstone, or the manifest again.
CREATE TABLE IF NOT EXISTS lost (
  id          BLOB PRIMARY KEY,      -- 32 bytes
  time        INTEGER NOT NULL,      -- nanoseconds since 1970
  writer      BLOB NOT NULL,         -- 16 bytes
  sequence    INTEGER NOT NULL,
  index_part  BLOB NOT NULL,
  names_part  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
