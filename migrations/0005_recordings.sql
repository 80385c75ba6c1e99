-- Recordings that are too long for one row: their samples in parts
-- depends: 0004_delivery
-- going back loses: long recordings (SELECT count(*) FROM recording)

-- migrate: apply
-- The row in ecg_signal says so by its encoding and has no samples of its own; an ordinary ECG has nothing here.
-- Parts come before the row that they are for, so that nobody waits for its key while they are written.
CREATE TABLE recording (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    row bigint UNIQUE REFERENCES ecg_signal ON DELETE CASCADE
);

CREATE TABLE recording_part (
    recording bigint REFERENCES recording ON DELETE CASCADE,
    part integer,
    num_samples integer NOT NULL,
    encoding text NOT NULL,
    samples bytea NOT NULL,
    PRIMARY KEY (recording, part)
);

ALTER TABLE recording_part ALTER COLUMN samples SET STORAGE EXTERNAL;

-- migrate: rollback
DROP TABLE recording_part, recording;
