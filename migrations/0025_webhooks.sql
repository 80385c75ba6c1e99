-- Webhooks: where events are sent over HTTP, how far each has come in the event log, and what was sent
-- depends: 0024_api_keys
-- oldest code: 0008

-- migrate: apply
-- `after_xid` and `after_place` are a position in the event log; without one it begins with what is kept, or with `since`.
-- A processor sends for a webhook while it has the lease. No foreign keys: these tables stay when the migration is taken
-- back, and others may go then.
CREATE TABLE IF NOT EXISTS webhook (
    id uuid PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    types text[] NOT NULL,
    of_all_owners boolean NOT NULL,
    secret text NOT NULL,
    previous_secret text,
    previous_secret_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    is_enabled boolean NOT NULL DEFAULT true,
    disabled_at timestamptz,
    disabled_reason text,
    after_xid xid8,
    after_place integer NOT NULL DEFAULT 0,
    since timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_error text,
    resume_at timestamptz NOT NULL DEFAULT now(),
    last_delivered_at timestamptz,
    lease uuid,
    leased_until timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 45);

CREATE INDEX IF NOT EXISTS webhook_account ON webhook (account);

-- One row for each event that was sent, or was tried to be; it names an ECG and has nothing of it. A test event is in no log: it has no
-- `xid`. `due_at` says when it is sent again.
CREATE TABLE IF NOT EXISTS webhook_delivery (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook uuid NOT NULL,
    xid xid8,
    place integer,
    event_id uuid NOT NULL,
    type text NOT NULL,
    owner text COLLATE "C",
    ecg text COLLATE "C",
    generation integer,
    state text NOT NULL,
    attempts integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_attempt_at timestamptz,
    due_at timestamptz,
    give_up_at timestamptz NOT NULL,
    status integer,
    error text,
    duration_s double precision
);

CREATE UNIQUE INDEX IF NOT EXISTS webhook_delivery_event ON webhook_delivery (webhook, xid, place);
CREATE INDEX IF NOT EXISTS webhook_delivery_newest ON webhook_delivery (webhook, row);
CREATE INDEX IF NOT EXISTS webhook_delivery_due ON webhook_delivery (webhook, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhook_delivery_ecg ON webhook_delivery (owner, ecg);

-- Where they were here before, and the log was made anew since, all that it has is new to them.
UPDATE webhook SET after_xid = NULL WHERE after_xid < (SELECT xid FROM event_log_start);

-- migrate: rollback
-- The tables stay, with the webhooks: code from before sends nothing to them.
