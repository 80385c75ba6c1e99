-- Accounts, ECGs with their signals and insights, and the outbox
-- depends:

-- migrate: apply
CREATE TABLE account (
    name text COLLATE "C" PRIMARY KEY,
    password_hash text NOT NULL,
    roles text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One narrow row per ECG: all that changes after it was accepted is here and nowhere else.
CREATE TABLE ecg (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    generation integer NOT NULL DEFAULT 1 CHECK (generation >= 1),
    status text COLLATE "C" NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'completed', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    republished integer NOT NULL DEFAULT 0,
    due_at timestamptz,
    error text,
    content_hash bytea NOT NULL,
    num_samples integer NOT NULL,
    traceparent text,
    submitted_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (owner, id),
    CHECK ((status = 'queued') = (due_at IS NOT NULL)),
    CHECK ((status = 'queued') = (finished_at IS NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL))
);

-- The relay's sweep reads only what is queued, however many are finished.
CREATE INDEX ecg_due ON ecg (due_at) WHERE status = 'queued';

-- Written once, read by the processor, never updated.
CREATE TABLE ecg_signal (
    row bigint PRIMARY KEY REFERENCES ecg ON DELETE CASCADE,
    date text NOT NULL,
    sampling_rate_hz double precision,
    unit text,
    leads json NOT NULL,
    encoding text NOT NULL,
    samples bytea NOT NULL
);

-- pglz would be 3 to 8 times slower for signals and hardly make them smaller.
ALTER TABLE ecg_signal ALTER COLUMN samples SET STORAGE EXTERNAL;

CREATE TABLE ecg_insights (
    row bigint REFERENCES ecg ON DELETE CASCADE,
    generation integer NOT NULL,
    document json NOT NULL,
    PRIMARY KEY (row, generation)
);

CREATE TABLE outbox (
    event_id uuid PRIMARY KEY,
    type text NOT NULL,
    body bytea NOT NULL,
    republished integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX outbox_due ON outbox (due_at);

-- migrate: rollback
DROP TABLE outbox, ecg_insights, ecg_signal, ecg, account;
