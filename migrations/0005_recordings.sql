-- Recordings that are too long for one row: their samples in parts
-- depends: 0004_delivery

-- migrate: apply
-- The row in ecg_signal says so by its encoding and has no samples of its own. An ordinary ECG has nothing here.
CREATE TABLE ecg_signal_part (
    row bigint REFERENCES ecg_signal ON DELETE CASCADE,
    part integer,
    num_samples integer NOT NULL,
    encoding text NOT NULL,
    samples bytea NOT NULL,
    PRIMARY KEY (row, part)
);

ALTER TABLE ecg_signal_part ALTER COLUMN samples SET STORAGE EXTERNAL;

-- migrate: rollback
DROP TABLE ecg_signal_part;
