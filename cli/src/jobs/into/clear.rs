//! What makes a PostgreSQL database empty again, and what tells whether it is. Plain SQL, for `psql` in one transaction with the restore that
//! follows: if that fails, all is as it was.

/// What counts as content: relations, functions, types and schemas that neither the server nor an extension brought. A row each, at most a few.
pub const HOLDS: &str = "WITH ours AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'), \
    found AS (\
      SELECT 'pg_class'::regclass AS class, c.oid, CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view ' WHEN 'S' THEN 'sequence ' ELSE 'table ' END \
        || c.relname AS what FROM pg_catalog.pg_class c JOIN ours n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'm', 'S', 'f', 'p') \
      UNION ALL SELECT 'pg_proc'::regclass, p.oid, 'function ' || p.proname FROM pg_catalog.pg_proc p JOIN ours n ON n.oid = p.pronamespace \
      UNION ALL SELECT 'pg_type'::regclass, t.oid, 'type ' || t.typname FROM pg_catalog.pg_type t JOIN ours n ON n.oid = t.typnamespace \
        WHERE t.typtype IN ('e', 'd', 'r') \
      UNION ALL SELECT 'pg_namespace'::regclass, oid, 'schema ' || nspname FROM ours WHERE nspname <> 'public' \
      UNION ALL SELECT 'pg_largeobject_metadata'::regclass, oid, 'large object ' || oid FROM pg_catalog.pg_largeobject_metadata\
    ) SELECT what || CASE WHEN count(*) OVER () > 1 THEN ' and ' || count(*) OVER () - 1 || ' more' ELSE '' END FROM found \
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = found.class AND d.objid = found.oid AND d.deptype = 'e') \
    ORDER BY what LIKE 'table %' DESC, what LIMIT 1";

/// Takes everything out of a database that a dump of it would hold. What cannot be taken out inside a transaction is refused.
pub const CLEAR: &str = "SET client_min_messages = warning;
DO $seabed$
DECLARE it record; oid_ oid;
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) THEN
    RAISE EXCEPTION 'the database has subscriptions, which cannot be dropped in a transaction: drop them first';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_default_acl WHERE defaclnamespace = 0) THEN
    RAISE EXCEPTION 'the database has default privileges (ALTER DEFAULT PRIVILEGES): restore into a new database instead';
  END IF;
  FOR it IN SELECT evtname FROM pg_catalog.pg_event_trigger LOOP EXECUTE format('DROP EVENT TRIGGER %I', it.evtname); END LOOP;
  FOR it IN SELECT pubname FROM pg_catalog.pg_publication LOOP EXECUTE format('DROP PUBLICATION %I', it.pubname); END LOOP;
  FOR it IN SELECT extname FROM pg_catalog.pg_extension WHERE oid >= 16384 LOOP
    EXECUTE format('DROP EXTENSION IF EXISTS %I CASCADE', it.extname);
  END LOOP;
  FOR it IN SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', it.nspname);
  END LOOP;
  FOR it IN SELECT fdwname FROM pg_catalog.pg_foreign_data_wrapper LOOP
    EXECUTE format('DROP FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', it.fdwname);
  END LOOP;
  FOR it IN SELECT castsource::regtype AS a, casttarget::regtype AS b FROM pg_catalog.pg_cast WHERE oid >= 16384 LOOP
    EXECUTE format('DROP CAST IF EXISTS (%s AS %s) CASCADE', it.a, it.b);
  END LOOP;
  FOR it IN SELECT lanname FROM pg_catalog.pg_language WHERE oid >= 16384 LOOP
    EXECUTE format('DROP LANGUAGE IF EXISTS %I CASCADE', it.lanname);
  END LOOP;
  FOR it IN SELECT amname FROM pg_catalog.pg_am WHERE oid >= 16384 LOOP
    EXECUTE format('DROP ACCESS METHOD IF EXISTS %I CASCADE', it.amname);
  END LOOP;
  FOR oid_ IN SELECT oid FROM pg_catalog.pg_largeobject_metadata LOOP PERFORM pg_catalog.lo_unlink(oid_); END LOOP;
  -- As a new database has it.
  IF current_setting('server_version_num')::int >= 150000 THEN
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
  ELSE
    CREATE SCHEMA public;
    GRANT ALL ON SCHEMA public TO PUBLIC;
  END IF;
  COMMENT ON SCHEMA public IS 'standard public schema';
END
$seabed$;
RESET client_min_messages;
";
