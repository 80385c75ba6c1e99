-- What operators ask and do: whether processors take ECGs, and how many they settle
-- depends: 0015_attempts
-- oldest code: 0008
-- going back loses: a pause of the processors (SELECT count(*) FROM intake WHERE is_paused)

-- migrate: apply
-- One row, once an operator has paused the processors for the first time. Each processor reads it every few seconds.
CREATE TABLE intake (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    is_paused boolean NOT NULL,
    who text NOT NULL,
    why text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

-- A row for each process and minute, so that an hour's throughput is known without reading `ecg`. Kept for a day.
CREATE TABLE throughput (
    minute timestamptz,
    process uuid,
    completed integer NOT NULL,
    failed integer NOT NULL,
    latencies integer[] NOT NULL,
    PRIMARY KEY (minute, process)
);

ALTER TABLE process ADD COLUMN is_paused boolean NOT NULL DEFAULT false;

-- migrate: rollback
ALTER TABLE process DROP COLUMN is_paused;
DROP TABLE throughput, intake;
