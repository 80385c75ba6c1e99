-- A bound of the signals there are, so that they can become a partition without being read under a lock
-- depends: 0017_failed_ecgs
-- oldest code: 0008

-- migrate: apply
-- Rows up to it may come until 0020 is applied, which follows at once: five million, or a million in a new database.
DO $$
DECLARE
    last bigint := coalesce(pg_sequence_last_value('ecg_row_seq'), 0);
BEGIN
    EXECUTE format(
        'ALTER TABLE ecg_signal ADD CONSTRAINT ecg_signal_bound CHECK (row < %s) NOT VALID',
        (last / 1000000 + CASE WHEN last < 1000 THEN 1 ELSE 6 END) * 1000000
    );
END;
$$;

-- migrate: rollback
ALTER TABLE ecg_signal DROP CONSTRAINT ecg_signal_bound;
