-- Signals in partitions by the order in which ECGs came, so that old ones go whole
-- depends: 0019_signal_bound_holds
-- oldest code: 0008

-- migrate: apply
-- In the order in which statements take them, or a deadlock with one of those might end this migration.
LOCK TABLE ecg, ecg_signal, recording;

ALTER TABLE recording DROP CONSTRAINT recording_row_fkey;
ALTER TABLE ecg_signal RENAME TO ecg_signal_0;
ALTER INDEX ecg_signal_pkey RENAME TO ecg_signal_0_pkey;
CREATE TABLE ecg_signal (LIKE ecg_signal_0 INCLUDING STORAGE, PRIMARY KEY (row)) PARTITION BY RANGE (row);

-- The bound that was checked lets no row be read here. What roles may do stays as it was.
DO $$
DECLARE
    bound text := (
        SELECT substring(pg_get_constraintdef(oid) FROM '\d+') FROM pg_constraint WHERE conname = 'ecg_signal_bound'
    );
    statement text;
BEGIN
    EXECUTE format(
        'ALTER TABLE ecg_signal ATTACH PARTITION ecg_signal_0 FOR VALUES FROM (MINVALUE) TO (%s)', bound
    );
    EXECUTE format(
        'CREATE TABLE ecg_signal_rest PARTITION OF ecg_signal FOR VALUES FROM (%s) TO (MAXVALUE)', bound
    );
    FOR statement IN
        SELECT format('GRANT %s ON ecg_signal TO %s', privilege_type,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        FROM pg_class, aclexplode(relacl) WHERE oid = 'ecg_signal_0'::regclass AND grantee <> relowner
        UNION ALL
        SELECT format('GRANT %s (%I) ON ecg_signal TO %s', privilege_type, attname,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        FROM pg_attribute, aclexplode(attacl) WHERE attrelid = 'ecg_signal_0'::regclass
    LOOP
        EXECUTE statement;
    END LOOP;
END;
$$;

ALTER TABLE ecg_signal_0 DROP CONSTRAINT ecg_signal_bound;

-- In the place of the foreign key, for which no partition could come or go while a long recording is being stored. As one did, it
-- deletes whatever the rights of those are who delete signals.
CREATE FUNCTION delete_with_signal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    DELETE FROM recording WHERE row = ANY (ARRAY(SELECT row FROM gone));
    RETURN NULL;
END;
$$;

CREATE TRIGGER deleted_with_recording AFTER DELETE ON ecg_signal REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
EXECUTE FUNCTION delete_with_signal();

-- The partitions in order; the last, called `rest`, has no end.
CREATE FUNCTION signal_partitions(OUT partition regclass, OUT first_row bigint, OUT end_row bigint) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT oid::regclass, coalesce(substring(bounds FROM 'FROM \(''(\d+)''\)')::bigint, 0),
        substring(bounds FROM 'TO \(''(\d+)''\)')::bigint
    FROM pg_inherits JOIN pg_class ON oid = inhrelid, pg_get_expr(relpartbound, oid) AS bounds
    WHERE inhparent = 'ecg_signal'::regclass ORDER BY 2;
$$;

-- Whether a partition was added: so that there is always a whole empty one ahead, an eighth (`parts`) as wide as all that is there.
-- `rest` is still empty then, and becomes that one, so that nothing is read or moved; if nobody came in time, up to a million rows of
-- `rest` are read, without their samples.
CREATE FUNCTION extend_signal_partitions(least_rows bigint, parts integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    last bigint := coalesce(pg_sequence_last_value('ecg_row_seq'), 0);
    bound bigint := (SELECT first_row FROM signal_partitions() WHERE end_row IS NULL);
    width bigint := greatest(
        least_rows, 1000, (last - coalesce((SELECT row FROM ecg ORDER BY row LIMIT 1), last)) / greatest(parts, 1)
    );
BEGIN
    IF bound - last > width OR last - bound > 1000000 OR (SELECT count(*) FROM signal_partitions()) > 64 THEN
        RETURN false;
    END IF;
    LOCK TABLE ecg_signal IN ACCESS EXCLUSIVE MODE;
    IF bound <> (SELECT first_row FROM signal_partitions() WHERE end_row IS NULL) THEN
        RETURN false; -- another process was first
    END IF;
    width := width + greatest(last - bound, 0);
    ALTER TABLE ecg_signal DETACH PARTITION ecg_signal_rest;
    EXECUTE format('ALTER TABLE ecg_signal_rest RENAME TO ecg_signal_%s', bound);
    EXECUTE format('ALTER INDEX ecg_signal_rest_pkey RENAME TO ecg_signal_%s_pkey', bound);
    EXECUTE format(
        'ALTER TABLE ecg_signal ATTACH PARTITION ecg_signal_%s FOR VALUES FROM (%s) TO (%s)', bound, bound, bound + width
    );
    EXECUTE format(
        'CREATE TABLE public.ecg_signal_rest PARTITION OF ecg_signal FOR VALUES FROM (%s) TO (MAXVALUE)', bound + width
    );
    RETURN true;
END;
$$;

-- Signals whose ECGs were pruned go with their partition: the oldest that is past and has no ECG any more, and whether there was one.
CREATE FUNCTION drop_signal_partition() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    emptied regclass := (
        SELECT partition FROM signal_partitions()
        WHERE end_row <= pg_sequence_last_value('ecg_row_seq')
            AND NOT EXISTS (SELECT FROM ecg WHERE row >= first_row AND row < end_row)
        ORDER BY first_row LIMIT 1
    );
BEGIN
    IF emptied IS NOT NULL THEN
        LOCK TABLE ecg_signal IN ACCESS EXCLUSIVE MODE;
        IF emptied IN (SELECT partition FROM signal_partitions()) THEN -- another process may have been first
            EXECUTE format('ALTER TABLE ecg_signal DETACH PARTITION %s', emptied);
            EXECUTE format('DROP TABLE %s', emptied);
        END IF;
    END IF;
    RETURN emptied IS NOT NULL;
END;
$$;

-- Of a partition that is older than that as a whole and has ECGs left, those that were analysed again, the signals of the others go one
-- by one; how many did.
CREATE FUNCTION prune_signals(finished_before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    orphans bigint[] := ARRAY(
        SELECT signal.row FROM signal_partitions() AS past
        CROSS JOIN LATERAL (
            SELECT row FROM ecg_signal WHERE row >= past.first_row AND row < past.end_row
                AND NOT EXISTS (SELECT FROM ecg WHERE ecg.row = ecg_signal.row)
            ORDER BY row LIMIT most
        ) AS signal
        WHERE past.end_row <= pg_sequence_last_value('ecg_row_seq')
            AND (SELECT submitted_at FROM ecg WHERE row < past.end_row ORDER BY row DESC LIMIT 1) < finished_before
        LIMIT most
    );
BEGIN
    DELETE FROM ecg_signal WHERE row = ANY (orphans);
    RETURN cardinality(orphans);
END;
$$;

REVOKE ALL ON FUNCTION signal_partitions, extend_signal_partitions, drop_signal_partition, prune_signals FROM PUBLIC;

-- Arrays lead to the partitions that they are for; a join would look into each of them.
CREATE OR REPLACE FUNCTION delete_with_ecg() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM attempt USING gone WHERE attempt.row = gone.row;
    DELETE FROM ecg_insights USING gone WHERE ecg_insights.row = gone.row;
    IF current_setting('isoline.leave_signals', true) IS DISTINCT FROM 'on' THEN
        DELETE FROM ecg_signal WHERE row = ANY (ARRAY(SELECT row FROM gone));
    END IF;
    RETURN NULL;
END;
$$;

-- As before, but signals are left to `drop_signal_partition` where that comes within a quarter of the time that ECGs are kept.
CREATE OR REPLACE FUNCTION prune_ecgs(
    finished_before timestamptz, after_row bigint, most_ecgs integer, most_samples bigint, only_count boolean,
    OUT last_row bigint, OUT pruned integer
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    page bigint[];
    has_older boolean;
    left_rows bigint[];
BEGIN
    IF finished_before > now() - (SELECT least_age FROM retention) THEN
        RAISE EXCEPTION 'ECGs are kept for % at the least', (SELECT least_age FROM retention)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT array_agg(row ORDER BY row) FILTER (WHERE samples_before < most_samples),
        bool_or(submitted_at < finished_before)
    INTO page, has_older
    FROM (
        SELECT row, submitted_at, sum(num_samples) OVER (ORDER BY row) - num_samples AS samples_before
        FROM (SELECT * FROM ecg WHERE row > after_row ORDER BY row LIMIT most_ecgs) AS next
    ) AS summed;
    last_row := CASE WHEN has_older THEN page[cardinality(page)] END;
    page := ARRAY(
        SELECT row FROM ecg
        WHERE row = ANY (page) AND finished_at < finished_before
            AND NOT finished_at = ANY (ARRAY(SELECT created_at FROM outbox WHERE created_at < finished_before))
        ORDER BY row FOR UPDATE SKIP LOCKED
    );
    pruned := cardinality(page);
    IF only_count THEN
        RETURN;
    END IF;
    left_rows := ARRAY(
        SELECT found.row FROM signal_partitions() AS past JOIN unnest(page) AS found (row)
            ON found.row >= past.first_row AND found.row < past.end_row
        WHERE past.end_row <= pg_sequence_last_value('ecg_row_seq')
            AND (SELECT submitted_at FROM ecg WHERE row < past.end_row ORDER BY row DESC LIMIT 1)
                < finished_before + (now() - finished_before) / 4
    );
    PERFORM set_config('isoline.leave_signals', 'on', true);
    DELETE FROM recording WHERE row = ANY (left_rows);
    DELETE FROM ecg WHERE row = ANY (left_rows);
    PERFORM set_config('isoline.leave_signals', 'off', true);
    DELETE FROM ecg WHERE row = ANY (page);
END;
$$;

-- migrate: rollback
LOCK TABLE ecg, ecg_signal, recording;

-- Signals of later partitions are copied, which takes its time.
DO $$
DECLARE
    last bigint := coalesce(pg_sequence_last_value('ecg_row_seq'), 0);
    statement text;
BEGIN
    IF to_regclass('ecg_signal_0') IS NULL THEN
        CREATE TABLE ecg_signal_0 (LIKE ecg_signal INCLUDING STORAGE, PRIMARY KEY (row));
    ELSE
        ALTER TABLE ecg_signal DETACH PARTITION ecg_signal_0;
        DELETE FROM ecg_signal_0 WHERE NOT EXISTS (SELECT FROM ecg WHERE ecg.row = ecg_signal_0.row);
    END IF;
    INSERT INTO ecg_signal_0
    SELECT * FROM ecg_signal WHERE EXISTS (SELECT FROM ecg WHERE ecg.row = ecg_signal.row);
    FOR statement IN
        SELECT format('GRANT %s ON ecg_signal_0 TO %s', privilege_type,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        FROM pg_class, aclexplode(relacl) WHERE oid = 'ecg_signal'::regclass AND grantee <> relowner
        UNION ALL
        SELECT format('GRANT %s (%I) ON ecg_signal_0 TO %s', privilege_type, attname,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        FROM pg_attribute, aclexplode(attacl) WHERE attrelid = 'ecg_signal'::regclass
    LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format(
        'ALTER TABLE ecg_signal_0 ADD CONSTRAINT ecg_signal_bound CHECK (row < %s)',
        (last / 1000000 + CASE WHEN last < 1000 THEN 1 ELSE 6 END) * 1000000
    );
END;
$$;

DROP TABLE ecg_signal;
ALTER TABLE ecg_signal_0 RENAME TO ecg_signal;
ALTER INDEX ecg_signal_0_pkey RENAME TO ecg_signal_pkey;
ALTER TABLE recording ADD CONSTRAINT recording_row_fkey FOREIGN KEY (row) REFERENCES ecg_signal ON DELETE CASCADE;

DROP FUNCTION delete_with_signal, extend_signal_partitions, drop_signal_partition, prune_signals, signal_partitions;

CREATE OR REPLACE FUNCTION delete_with_ecg() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM attempt USING gone WHERE attempt.row = gone.row;
    DELETE FROM ecg_insights USING gone WHERE ecg_insights.row = gone.row;
    DELETE FROM ecg_signal USING gone WHERE ecg_signal.row = gone.row;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION prune_ecgs(
    finished_before timestamptz, after_row bigint, most_ecgs integer, most_samples bigint, only_count boolean,
    OUT last_row bigint, OUT pruned integer
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    page bigint[];
    has_older boolean;
BEGIN
    IF finished_before > now() - (SELECT least_age FROM retention) THEN
        RAISE EXCEPTION 'ECGs are kept for % at the least', (SELECT least_age FROM retention)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT array_agg(row ORDER BY row) FILTER (WHERE samples_before < most_samples), bool_or(submitted_at < finished_before)
    INTO page, has_older
    FROM (
        SELECT row, submitted_at, sum(num_samples) OVER (ORDER BY row) - num_samples AS samples_before
        FROM (SELECT * FROM ecg WHERE row > after_row ORDER BY row LIMIT most_ecgs) AS next
    ) AS summed;
    last_row := CASE WHEN has_older THEN page[cardinality(page)] END;
    page := ARRAY(
        SELECT row FROM ecg
        WHERE row = ANY (page) AND finished_at < finished_before
            AND NOT finished_at = ANY (ARRAY(SELECT created_at FROM outbox WHERE created_at < finished_before))
        ORDER BY row FOR UPDATE SKIP LOCKED
    );
    pruned := cardinality(page);
    IF NOT only_count THEN
        DELETE FROM ecg WHERE row = ANY (page);
    END IF;
END;
$$;
