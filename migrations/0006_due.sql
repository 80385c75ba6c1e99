-- An index of due times that nothing but a due time leads to
-- depends: 0005_recordings

-- migrate: apply
-- The same rows as before, for only what is queued has a due time. But the condition on the status fitted every
-- statement that named it, and the planner, with no or old statistics, took the whole index for one row.
DROP INDEX ecg_due;
CREATE INDEX ecg_due ON ecg (due_at) WHERE due_at IS NOT NULL;

-- migrate: rollback
DROP INDEX ecg_due;
CREATE INDEX ecg_due ON ecg (due_at) WHERE status = 'queued';
