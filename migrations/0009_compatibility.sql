-- What each migration asks of the code beside it
-- depends: 0008_bundles
-- oldest code: 0008

-- migrate: apply
-- Read by code from before a migration, to know whether it may go on: see migrations/README.md.
CREATE TABLE IF NOT EXISTS schema_compatibility (
    migration_id text COLLATE "C" PRIMARY KEY,
    oldest_code integer NOT NULL
);

GRANT SELECT ON schema_compatibility TO PUBLIC;

-- migrate: rollback
-- The table stays, with what it says: code that has just seen this migration applied looks there next, and would
-- otherwise find itself on a schema that is not for it, for as long as it takes to look again.
