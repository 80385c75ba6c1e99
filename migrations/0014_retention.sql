-- Erasing what was finished long ago
-- depends: 0013_processes
-- oldest code: 0008

-- migrate: apply
-- How far the processors' present round has come: each page is erased by whichever of them locks this row. Nothing that was
-- finished less than `least_age` ago is erased; only the owner of the tables can change it.
CREATE TABLE IF NOT EXISTS retention (
    is_this boolean PRIMARY KEY DEFAULT true CHECK (is_this),
    next_at timestamptz NOT NULL DEFAULT now(),
    after_row bigint NOT NULL DEFAULT 0,
    pruned bigint NOT NULL DEFAULT 0,
    least_age interval NOT NULL DEFAULT '1 day'
);

INSERT INTO retention DEFAULT VALUES ON CONFLICT DO NOTHING;

-- With the rights of its owner, so that no service may delete ECGs but by this. One page of the table in the order of its rows, which is
-- nearly the order of time: `last_row` is where the next one begins, and null where no older ECGs are to be expected. A page of long ECGs
-- is short: `most_samples` bounds what one transaction deletes. An ECG whose event is not published yet has the time of
-- the event's row: both are the time of the transaction that made them.
CREATE FUNCTION prune_ecgs(
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

-- What else only grows: logins that can't be continued any more, and records of operations.
CREATE FUNCTION prune_records() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    DELETE FROM login WHERE expires_at < now() - interval '1 day';
    DELETE FROM operation WHERE at < now() - greatest(interval '400 days', (SELECT least_age FROM retention));
$$;

REVOKE ALL ON FUNCTION prune_ecgs, prune_records FROM PUBLIC;

-- migrate: rollback
-- The table stays, with what it says: how long ECGs are kept at the least.
DROP FUNCTION prune_ecgs, prune_records;
