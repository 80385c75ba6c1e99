-- Why attempts had no result, and which processes made them
-- depends: 0014_retention
-- oldest code: 0008

-- migrate: apply
-- An ECG's row tells of its last attempt. Here are those before it, so that one which succeeds at once writes nothing more;
-- and the last one of a generation that was replayed, whose `reason` is NULL: `ecg_insights` says how that one ended.
CREATE TABLE IF NOT EXISTS attempt (
    row bigint,
    generation integer,
    attempt integer,
    claimed_by uuid NOT NULL,
    reason text,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (row, generation, attempt)
);

-- Which process a claim was made by is known for a week after it has ended.
ALTER TABLE process ADD COLUMN IF NOT EXISTS ended_at timestamptz;

CREATE OR REPLACE FUNCTION delete_with_ecg() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM attempt USING gone WHERE attempt.row = gone.row;
    DELETE FROM ecg_insights USING gone WHERE ecg_insights.row = gone.row;
    DELETE FROM ecg_signal USING gone WHERE ecg_signal.row = gone.row;
    RETURN NULL;
END;
$$;

-- migrate: rollback
-- The table of attempts stays, with what it says: code from before does not read it.
CREATE OR REPLACE FUNCTION delete_with_ecg() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ecg_insights USING gone WHERE ecg_insights.row = gone.row;
    DELETE FROM ecg_signal USING gone WHERE ecg_signal.row = gone.row;
    RETURN NULL;
END;
$$;
DELETE FROM process WHERE ended_at IS NOT NULL;
ALTER TABLE process DROP COLUMN ended_at;
