-- The number of a process on its host, which tells apart those that run beside each other
-- depends: 0021_kept_by_owner
-- oldest code: 0008

-- migrate: apply
-- Null for a process of an earlier release.
ALTER TABLE process ADD COLUMN pid integer;

-- migrate: rollback
ALTER TABLE process DROP COLUMN pid;
