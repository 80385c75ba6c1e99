-- API keys, by which services and devices act for an account
-- depends: 0023_event_log
-- oldest code: 0008

-- migrate: apply
-- A revoked key has no row. `prefix` is the beginning of the secret, which is nowhere else but in its hash.
-- No foreign key: this table stays when the migration is taken back, and `account` may go then.
CREATE TABLE IF NOT EXISTS api_key (
    id uuid PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    secret_hash bytea NOT NULL UNIQUE,
    roles text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz
);

CREATE INDEX IF NOT EXISTS api_key_account ON api_key (account);

-- migrate: rollback
-- The table stays, with its keys: code from before does not take them.
