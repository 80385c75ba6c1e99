-- An owner's ECGs, listed and erased
-- depends: 0001_spine
-- going back loses: erased ids (SELECT count(*) FROM ecg WHERE status = 'erased')

-- migrate: apply
-- An erased ECG keeps its row as a tombstone: the generation goes on from there if the id comes again, and
-- the unique key makes that one atomic step, which a table of tombstones would not.
ALTER TABLE ecg DROP CONSTRAINT ecg_status_check;
ALTER TABLE ecg ADD CONSTRAINT ecg_status_check
    CHECK (status IN ('queued', 'completed', 'failed', 'erased'));

-- Only a submission fills a tombstone again: what would merely requeue it fails.
ALTER TABLE ecg ADD CONSTRAINT ecg_erased_is_empty CHECK ((status = 'erased') = (content_hash = ''));

-- Pages of all of an owner's ECGs, newest first.
CREATE INDEX ecg_newest ON ecg (owner, submitted_at DESC, id DESC) WHERE status <> 'erased';

-- Most ECGs are completed: pages of the others must not read past all of those.
CREATE INDEX ecg_not_completed ON ecg (owner, status, submitted_at DESC, id DESC)
    WHERE status IN ('queued', 'failed');

-- migrate: rollback
DROP INDEX ecg_newest, ecg_not_completed;
DELETE FROM ecg WHERE status = 'erased';
ALTER TABLE ecg DROP CONSTRAINT ecg_erased_is_empty;
ALTER TABLE ecg DROP CONSTRAINT ecg_status_check;
ALTER TABLE ecg ADD CONSTRAINT ecg_status_check CHECK (status IN ('queued', 'completed', 'failed'));
