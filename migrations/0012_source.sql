-- What events of this installation name as their source
-- depends: 0011_generations
-- oldest code: 0008

-- migrate: apply
-- Ids of events are made of it: no two installations may have the same, and one must keep what it has. Facts from before
-- `since` have ids, and a source, that are the same everywhere: see shared/events.py.
CREATE TABLE IF NOT EXISTS installation (
    is_this boolean PRIMARY KEY DEFAULT true CHECK (is_this),
    source text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

INSERT INTO installation (source) VALUES ('urn:uuid:' || gen_random_uuid()) ON CONFLICT DO NOTHING;

-- It is in every event; a service that could not read it would tell of nothing.
GRANT SELECT ON installation TO PUBLIC;

-- migrate: rollback
-- The table stays, with what it says: a source that was made anew would be another one.
