-- A log of what happened to ECGs, in the order in which it was committed, for subscribers who come later
-- depends: 0022_process_pid
-- oldest code: 0008

-- migrate: apply
-- One row for each transaction that makes events, with one element in each array for each event. No results: the bodies are made again
-- from the rows of the ECGs, so that what was erased can't be read here. `at` is the time that the events name. Traces are named where
-- they are not those of the submissions.
CREATE TABLE event_log (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    logged_at timestamptz NOT NULL DEFAULT now(),
    at timestamptz NOT NULL,
    types text[] NOT NULL,
    owners text[] NOT NULL,
    ids text[] NOT NULL,
    generations integer[] NOT NULL,
    traceparents text[],
    PRIMARY KEY (xid, logged_at)
) PARTITION BY RANGE (logged_at);

-- For what comes on a day that has no partition.
CREATE TABLE event_log_rest PARTITION OF event_log DEFAULT;

-- Up to which transaction the log has forgotten: all that was before this migration, so that no cursor of before a way back and
-- forward is taken for one of now.
CREATE TABLE event_log_start (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    xid xid8 NOT NULL
);
INSERT INTO event_log_start (xid) VALUES (pg_current_xact_id());

-- How many partitions were added, so that today and the two days after have one each (in UTC).
CREATE FUNCTION extend_event_log() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '300ms' SET timezone = 'UTC' AS $$
DECLARE
    added integer := 0;
    day date;
    name text;
BEGIN
    FOR day IN SELECT generate_series(current_date, current_date + 2, '1 day')::date LOOP
        name := format('event_log_%s', to_char(day, 'YYYYMMDD'));
        -- What came before its partition stays where it is.
        CONTINUE WHEN to_regclass(format('public.%I', name)) IS NOT NULL
            OR EXISTS (SELECT FROM event_log_rest WHERE logged_at >= day AND logged_at < day + 1);
        EXECUTE format('CREATE TABLE public.%I (LIKE event_log INCLUDING DEFAULTS, PRIMARY KEY (xid, logged_at))', name);
        EXECUTE format(
            'ALTER TABLE event_log ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            name, day::timestamptz, (day + 1)::timestamptz
        );
        added := added + 1;
    END LOOP;
    RETURN added;
END;
$$;

-- Whether something was forgotten: the oldest partition, if all of it is older than so many days, or such rows of days without one.
CREATE FUNCTION drop_event_log(days integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '300ms' SET timezone = 'UTC' AS $$
DECLARE
    kept_from timestamptz := now() - make_interval(days => greatest(days, 1));
    oldest regclass := (
        SELECT inhrelid FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = 'event_log'::regclass AND relname ~ '^event_log_\d{8}$'
            AND to_timestamp(right(relname, 8), 'YYYYMMDD') + interval '1 day' <= kept_from
        ORDER BY relname LIMIT 1
    );
    last xid8;
BEGIN
    IF oldest IS NOT NULL THEN
        LOCK TABLE event_log IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('SELECT xid FROM %s ORDER BY xid DESC LIMIT 1', oldest) INTO last;
        EXECUTE format('ALTER TABLE event_log DETACH PARTITION %s', oldest);
        EXECUTE format('DROP TABLE %s', oldest);
    ELSE
        SELECT xid INTO last FROM event_log_rest WHERE logged_at < kept_from ORDER BY xid DESC LIMIT 1;
        DELETE FROM event_log_rest WHERE logged_at < kept_from;
    END IF;
    UPDATE event_log_start SET xid = last WHERE xid < last;
    RETURN oldest IS NOT NULL OR last IS NOT NULL;
END;
$$;

REVOKE EXECUTE ON FUNCTION extend_event_log(), drop_event_log(integer) FROM PUBLIC;

SELECT extend_event_log();

-- migrate: rollback
DROP FUNCTION extend_event_log(), drop_event_log(integer);
DROP TABLE event_log_start, event_log;
