-- Failed ECGs of all owners, the last to fail first
-- depends: 0016_operators
-- oldest code: 0008
-- transaction: false

-- migrate: apply
-- Few ECGs fail, and only those are in it: to complete an ECG costs nothing more.
CREATE INDEX CONCURRENTLY ecg_failed ON ecg (finished_at DESC, row DESC) WHERE status = 'failed';

-- migrate: rollback
DROP INDEX ecg_failed;
