-- Fewer records for each change of an ECG
-- depends: 0006_due

-- migrate: apply
-- In the order in which statements take them, or a deadlock with one of those might end this migration.
LOCK TABLE ecg, ecg_signal, ecg_insights;

-- Signals and insights are written by the statement that writes their ECG, or under its lock. For each of them the
-- check of a foreign key ran a query of its own and locked the ECG's row: a tenth of what a small ECG took.
ALTER TABLE ecg_signal DROP CONSTRAINT ecg_signal_row_fkey;
ALTER TABLE ecg_insights DROP CONSTRAINT ecg_insights_row_fkey;

-- What a foreign key did besides, and nobody but whoever deletes ECGs by hand pays for it.
CREATE FUNCTION delete_with_ecg() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ecg_insights USING gone WHERE ecg_insights.row = gone.row;
    DELETE FROM ecg_signal USING gone WHERE ecg_signal.row = gone.row;
    RETURN NULL;
END;
$$;

CREATE TRIGGER deleted_whole AFTER DELETE ON ecg REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
EXECUTE FUNCTION delete_with_ecg();

-- The same guards, after the update and for those columns that they look at: before it, a guard locks each row once
-- more, and its condition is read anew by every statement, those that only claim among them.
DROP TRIGGER terminal_is_final ON ecg;
CREATE TRIGGER terminal_is_final AFTER UPDATE OF generation, status, error, finished_at ON ecg FOR EACH ROW
WHEN (OLD.generation = NEW.generation AND OLD.status <> 'queued'
    AND (OLD.status = 'erased' OR NEW.status <> 'erased')
    AND (NEW.status, NEW.error, NEW.finished_at) IS DISTINCT FROM (OLD.status, OLD.error, OLD.finished_at))
EXECUTE FUNCTION refuse_transition();

DROP TRIGGER generation_begins_queued ON ecg;
CREATE TRIGGER generation_begins_queued AFTER UPDATE OF generation ON ecg FOR EACH ROW
WHEN (OLD.generation <> NEW.generation
    AND (NEW.generation <> OLD.generation + 1 OR OLD.status = 'queued' OR NEW.status <> 'queued'))
EXECUTE FUNCTION refuse_transition();

-- Room in its page for each row's next version: a claim then writes to no index, and settling frees what the claim
-- left. Without it a claimed row went to another page and into all five indexes anew.
ALTER TABLE ecg SET (fillfactor = 45);

-- migrate: rollback
LOCK TABLE ecg, ecg_signal, ecg_insights;

ALTER TABLE ecg RESET (fillfactor);

DROP TRIGGER generation_begins_queued ON ecg;
CREATE TRIGGER generation_begins_queued BEFORE UPDATE ON ecg FOR EACH ROW
WHEN (OLD.generation <> NEW.generation
    AND (NEW.generation <> OLD.generation + 1 OR OLD.status = 'queued' OR NEW.status <> 'queued'))
EXECUTE FUNCTION refuse_transition();

DROP TRIGGER terminal_is_final ON ecg;
CREATE TRIGGER terminal_is_final BEFORE UPDATE ON ecg FOR EACH ROW
WHEN (OLD.generation = NEW.generation AND OLD.status <> 'queued'
    AND (OLD.status = 'erased' OR NEW.status <> 'erased')
    AND (NEW.status, NEW.error, NEW.finished_at) IS DISTINCT FROM (OLD.status, OLD.error, OLD.finished_at))
EXECUTE FUNCTION refuse_transition();

DROP TRIGGER deleted_whole ON ecg;
DROP FUNCTION delete_with_ecg;
ALTER TABLE ecg_insights ADD FOREIGN KEY (row) REFERENCES ecg ON DELETE CASCADE;
ALTER TABLE ecg_signal ADD FOREIGN KEY (row) REFERENCES ecg ON DELETE CASCADE;
