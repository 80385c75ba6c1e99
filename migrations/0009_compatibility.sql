-- What each migration asks of the code beside it
-- depends: 0008_bundles
-- oldest code: 0008

-- migrate: apply
-- Read by code from before a migration, to know whether it may go on: see migrations/README.md.
CREATE TABLE schema_compatibility (
    migration_id text COLLATE "C" PRIMARY KEY,
    oldest_code integer NOT NULL
);

GRANT SELECT ON schema_compatibility TO PUBLIC;

-- migrate: rollback
DROP TABLE schema_compatibility;
