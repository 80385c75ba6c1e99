-- Attempts that count once, transitions that the database guards, and who operated on what
-- depends: 0003_requests
-- going back loses: records of operations (SELECT count(*) FROM operation)

-- migrate: apply
-- Who counted the last attempt: asking again after a lost answer must not count another.
ALTER TABLE ecg ADD COLUMN claimed_by uuid;

CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ECG row % may not go from % (generation %) to % (generation %)',
        OLD.row, OLD.status, OLD.generation, NEW.status, NEW.generation
        USING ERRCODE = 'integrity_constraint_violation';
END;
$$;

-- One terminal transition per generation, after which only its owner may erase it; only a terminal ECG, or an
-- erased one that is submitted anew, gets a next generation, and begins it queued.
-- The conditions are here and not in the function, so that no lawful update pays for calling it.
CREATE TRIGGER terminal_is_final BEFORE UPDATE ON ecg FOR EACH ROW
WHEN (OLD.generation = NEW.generation AND OLD.status <> 'queued'
    AND (OLD.status = 'erased' OR NEW.status <> 'erased')
    AND (NEW.status, NEW.error, NEW.finished_at) IS DISTINCT FROM (OLD.status, OLD.error, OLD.finished_at))
EXECUTE FUNCTION refuse_transition();

CREATE TRIGGER generation_begins_queued BEFORE UPDATE ON ecg FOR EACH ROW
WHEN (OLD.generation <> NEW.generation
    AND (NEW.generation <> OLD.generation + 1 OR OLD.status = 'queued' OR NEW.status <> 'queued'))
EXECUTE FUNCTION refuse_transition();

-- What operators did, why, and to how much.
CREATE TABLE operation (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    why text NOT NULL,
    what text NOT NULL,
    subject json NOT NULL
);

-- migrate: rollback
DROP TABLE operation;
DROP TRIGGER generation_begins_queued ON ecg;
DROP TRIGGER terminal_is_final ON ecg;
DROP FUNCTION refuse_transition;
ALTER TABLE ecg DROP COLUMN claimed_by;
