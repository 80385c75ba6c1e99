-- The bound of the signals holds for those from before it
-- depends: 0018_signal_bound
-- oldest code: 0008

-- migrate: apply
-- It reads every row, without the samples, and lets others read and write meanwhile. So does waiting for a vacuum.
SET LOCAL lock_timeout = '60s';
ALTER TABLE ecg_signal VALIDATE CONSTRAINT ecg_signal_bound;

-- migrate: rollback
DO $$
DECLARE
    bound text := (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ecg_signal_bound');
BEGIN
    EXECUTE format(
        'ALTER TABLE ecg_signal DROP CONSTRAINT ecg_signal_bound, ADD CONSTRAINT ecg_signal_bound %s NOT VALID', bound
    );
END;
$$;
