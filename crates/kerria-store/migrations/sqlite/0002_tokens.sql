-- Sessions that are carried in tokens: for whom they were opened, and what refresh rotation has to remember. Their
-- `token_hash` is the hash of the present refresh token.
ALTER TABLE session ADD COLUMN client_id TEXT CHECK ((client_id IS NULL) = (transport <> 'tokens'));
ALTER TABLE session ADD COLUMN scope TEXT CHECK ((scope IS NULL) = (client_id IS NULL));
ALTER TABLE session ADD COLUMN audience TEXT CHECK ((audience IS NULL) = (client_id IS NULL));
-- The token before the present one, from what its successor follows, and when it was replaced. Of a session token in a
-- cookie, the nonce goes when the successor is first used, and that is the time then.
ALTER TABLE session ADD COLUMN previous_hash BLOB
    CHECK (length(previous_hash) = 32) CHECK (previous_hash IS NULL OR transport IN ('tokens', 'cookie'));
ALTER TABLE session ADD COLUMN nonce BLOB
    CHECK (length(nonce) = 32)
    CHECK ((nonce IS NULL) = (previous_hash IS NULL) OR (nonce IS NULL AND transport = 'cookie'));
ALTER TABLE session ADD COLUMN rotated_at INTEGER CHECK ((rotated_at IS NULL) = (previous_hash IS NULL));

CREATE UNIQUE INDEX session_previous ON session (previous_hash)
    WHERE previous_hash IS NOT NULL AND transport = 'cookie';
CREATE INDEX session_of_client ON session (client_id) WHERE client_id IS NOT NULL;

-- The log learns to select access tokens and clients. SQLite cannot change a CHECK, so the table is made anew.
CREATE TABLE new_log (
    number      INTEGER NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    selector    TEXT NOT NULL
                CHECK (selector IN ('session', 'user', 'user_except', 'token', 'client', 'everyone')),
    user_id     BLOB,
    session_id  BLOB,
    token_id    BLOB,
    client_id   TEXT,
    cause       TEXT
) STRICT;

INSERT INTO new_log (number, at, selector, user_id, session_id, cause)
SELECT number, at, selector, user_id, session_id, cause FROM log;

DROP TABLE log;
ALTER TABLE new_log RENAME TO log;

-- Opaque access tokens. One whose session has ended is as good as gone, so ending a session leaves them to the sweep.
CREATE TABLE reference_token (
    token_hash  BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    id          BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    session_id  BLOB CHECK (length(session_id) = 16),
    client_id   TEXT NOT NULL,
    scope       TEXT NOT NULL,
    audience    TEXT NOT NULL,
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX reference_token_of_client ON reference_token (client_id);
CREATE INDEX reference_token_expiry ON reference_token (expires_at);

-- What may be used once: the identifiers of assertions.
CREATE TABLE spent (
    client_id   TEXT NOT NULL,
    jti         TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (client_id, jti)
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_expiry ON spent (expires_at);

CREATE TABLE client (
    id              TEXT NOT NULL PRIMARY KEY,
    name            TEXT NOT NULL,
    -- none, client_secret or private_key_jwt.
    authentication  TEXT NOT NULL,
    secret_hash     BLOB,
    jwks            TEXT,
    -- Words with spaces between them.
    grants          TEXT NOT NULL,
    scope           TEXT NOT NULL,
    audiences       TEXT NOT NULL,
    -- The algorithm of its JWTs, or 'reference'.
    access_tokens   TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    CHECK ((secret_hash IS NOT NULL) = (authentication = 'client_secret')),
    CHECK ((jwks IS NOT NULL) = (authentication = 'private_key_jwt'))
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
    kid         TEXT NOT NULL PRIMARY KEY,
    algorithm   TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    sealed      BLOB NOT NULL,
    public      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    since       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One of each at a time.
CREATE UNIQUE INDEX signing_key_next ON signing_key (algorithm) WHERE state = 'next';
CREATE UNIQUE INDEX signing_key_active ON signing_key (algorithm) WHERE state = 'active';
