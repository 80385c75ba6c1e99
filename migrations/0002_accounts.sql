-- Accounts that change and end, and logins that can be continued
-- depends: 0001_spine
-- going back loses: changed or deleted accounts (SELECT count(*) FROM account WHERE changed_at IS NOT NULL)
-- going back loses: logins (SELECT count(*) FROM login)

-- migrate: apply
-- A deleted account stays as a tombstone: its name, which its ECGs and events bear, is never given out again.
ALTER TABLE account
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN deleted_at timestamptz;

-- What every gateway asks for every few seconds: nearly always nothing.
CREATE INDEX account_changed ON account (changed_at) WHERE changed_at IS NOT NULL;

CREATE INDEX account_admin ON account (name) WHERE 'admin' = ANY (roles);

-- One row per login, whose refresh token changes with every use.
CREATE TABLE login (
    id uuid PRIMARY KEY,
    account text COLLATE "C" NOT NULL REFERENCES account (name),
    account_version integer NOT NULL,
    token_hash bytea NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE INDEX login_account ON login (account, began_at DESC);

-- migrate: rollback
DROP TABLE login;
DROP INDEX account_admin, account_changed;
ALTER TABLE account DROP COLUMN version, DROP COLUMN changed_at, DROP COLUMN deleted_at;
