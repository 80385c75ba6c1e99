-- Who works on this database now
-- depends: 0012_source
-- oldest code: 0008

-- migrate: apply
-- A process writes its row every few seconds and deletes it when it leaves; one that was killed is known by `seen_at`.
CREATE TABLE IF NOT EXISTS process (
    id uuid PRIMARY KEY,
    service text NOT NULL,
    worker integer NOT NULL,
    host text NOT NULL,
    release text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    is_draining boolean NOT NULL,
    held_ecgs integer
);

-- migrate: rollback
-- Whoever runs writes its row again once there is a table for it.
DROP TABLE process;
