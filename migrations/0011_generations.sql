-- How a generation ended stays when the next begins
-- depends: 0010_header
-- oldest code: 0008

-- migrate: apply
-- In the order in which statements take them, or a deadlock with one of those might end this migration.
LOCK TABLE ecg, ecg_insights;

-- An ECG's row has room for its present generation alone. What it says of one that ended is kept beside the document of
-- that generation, which is empty where it failed. Until the next one has ended, GET shows it.
ALTER TABLE ecg_insights
    ADD COLUMN IF NOT EXISTS past_error text,
    ADD COLUMN IF NOT EXISTS past_finished_at timestamptz;

CREATE FUNCTION keep_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ecg_insights (row, generation, document, past_error, past_finished_at)
    VALUES (OLD.row, OLD.generation, '{}', OLD.error, OLD.finished_at)
    ON CONFLICT (row, generation) DO UPDATE SET past_finished_at = excluded.past_finished_at;
    RETURN NULL;
END;
$$;

-- By a trigger, so that a replay of the release before keeps it too. An erased ECG has nothing to be kept.
CREATE TRIGGER generation_is_kept AFTER UPDATE OF generation ON ecg FOR EACH ROW
WHEN (OLD.generation <> NEW.generation AND OLD.status IN ('completed', 'failed'))
EXECUTE FUNCTION keep_generation();

-- migrate: rollback
-- The columns stay, with what they say: code from before does not read them.
LOCK TABLE ecg, ecg_insights;
DROP TRIGGER generation_is_kept ON ecg;
DROP FUNCTION keep_generation;
