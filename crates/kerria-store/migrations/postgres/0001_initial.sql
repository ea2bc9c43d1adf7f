-- Identifiers are the 16 bytes of a UUID, hashes the 32 bytes of SHA-256, instants milliseconds since 1970.
--
-- The same tables as in SQLite. What is compared or ordered as text is so by its bytes, whatever the language of the
-- database.

CREATE TABLE installation (
    one         SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    token_key   BYTEA NOT NULL CHECK (length(token_key) = 16),
    form_key    BYTEA NOT NULL CHECK (length(form_key) = 32)
);

CREATE TABLE account (
    id                  BYTEA NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name                TEXT,
    email               TEXT,
    -- The forms that are compared. One has an @ and the other has none, so that what somebody types to sign in can
    -- never mean two accounts.
    name_key            TEXT COLLATE "C" UNIQUE CHECK (name_key NOT LIKE '%@%'),
    email_key           TEXT COLLATE "C" UNIQUE CHECK (email_key LIKE '%@%'),
    password            TEXT NOT NULL,
    -- Counts the changes of credentials and status.
    version             BIGINT NOT NULL,
    status              TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
    created_at          BIGINT NOT NULL,
    last_sign_in_at     BIGINT,
    CHECK (name IS NOT NULL OR email IS NOT NULL),
    CHECK ((name IS NULL) = (name_key IS NULL) AND (email IS NULL) = (email_key IS NULL))
);

-- No foreign keys here and in session_data: ending everyone's sessions must not look at each of them twice. What ends
-- a session deletes its data.
CREATE TABLE session (
    id                  BYTEA NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    token_hash          BYTEA NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    user_id             BYTEA,
    method              TEXT,
    transport           TEXT NOT NULL,
    remembered          SMALLINT NOT NULL CHECK (remembered IN (0, 1)),
    opened_at           BIGINT NOT NULL,
    last_seen_at        BIGINT NOT NULL,
    authenticated_at    BIGINT NOT NULL,
    user_agent          TEXT NOT NULL,
    address             TEXT NOT NULL,
    -- Of a session that is carried in tokens: for whom it was opened. Its `token_hash` is the hash of the present
    -- refresh token.
    client_id           TEXT COLLATE "C" CHECK ((client_id IS NULL) = (transport <> 'tokens')),
    scope               TEXT CHECK ((scope IS NULL) = (client_id IS NULL)),
    audience            TEXT CHECK ((audience IS NULL) = (client_id IS NULL)),
    -- The token before the present one, from what its successor follows, and when it was replaced. Of a session token
    -- in a cookie, the nonce goes when the successor is first used, and that is the time then.
    previous_hash       BYTEA
        CHECK (length(previous_hash) = 32) CHECK (previous_hash IS NULL OR transport IN ('tokens', 'cookie')),
    nonce               BYTEA
        CHECK (length(nonce) = 32)
        CHECK ((nonce IS NULL) = (previous_hash IS NULL) OR (nonce IS NULL AND transport = 'cookie')),
    rotated_at          BIGINT CHECK ((rotated_at IS NULL) = (previous_hash IS NULL)),
    CHECK ((user_id IS NULL) = (method IS NULL))
);

CREATE INDEX session_of_user ON session (user_id);
-- For the sweep, which looks for either limit of a session's life.
CREATE INDEX session_seen ON session (remembered, last_seen_at);
CREATE INDEX session_opened ON session (remembered, opened_at);
CREATE UNIQUE INDEX session_previous ON session (previous_hash)
    WHERE previous_hash IS NOT NULL AND transport = 'cookie';
CREATE INDEX session_of_client ON session (client_id) WHERE client_id IS NOT NULL;

CREATE TABLE session_data (
    session_id  BYTEA NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    json        TEXT NOT NULL,
    PRIMARY KEY (session_id, key)
);

-- The number of the last entry of the log, and of the last one that was removed. A row and not a sequence: it is
-- changed inside the transaction that writes the entry, so that numbers become visible in their order, without a gap.
CREATE TABLE log_counter (
    one         SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    number      BIGINT NOT NULL,
    removed     BIGINT NOT NULL
);

INSERT INTO log_counter (one, number, removed) VALUES (1, 0, 0);

-- The revocation log. An entry without a cause says that what it selects has changed.
CREATE TABLE log (
    number      BIGINT NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    selector    TEXT NOT NULL
                CHECK (selector IN ('session', 'user', 'user_except', 'token', 'client', 'everyone')),
    user_id     BYTEA,
    session_id  BYTEA,
    token_id    BYTEA,
    client_id   TEXT,
    cause       TEXT
);

CREATE TABLE invitation (
    token_hash      BYTEA NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    expires_at      BIGINT NOT NULL,
    first_account   SMALLINT NOT NULL CHECK (first_account IN (0, 1))
);

CREATE INDEX invitation_expiry ON invitation (expires_at);

CREATE TABLE known_device (
    user_id         BYTEA NOT NULL REFERENCES account (id),
    device_hash     BYTEA NOT NULL CHECK (length(device_hash) = 32),
    known_at        BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_hash)
);

CREATE TABLE door (
    name            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    failures        BIGINT NOT NULL,
    last_attempt    BIGINT NOT NULL,
    -- When nothing is left to remember, by the rule of the last attempt.
    forget_at       BIGINT NOT NULL
);

CREATE INDEX door_forgotten ON door (forget_at);

-- Keeps the identifiers of accounts and sessions that are gone.
CREATE TABLE audit (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          BIGINT NOT NULL,
    event       TEXT NOT NULL,
    user_id     BYTEA,
    session_id  BYTEA,
    address     TEXT,
    detail      TEXT NOT NULL
);

CREATE INDEX audit_of_user ON audit (user_id, id);

-- Opaque access tokens. One whose session has ended is as good as gone, so ending a session leaves them to the sweep.
CREATE TABLE reference_token (
    token_hash  BYTEA NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    id          BYTEA NOT NULL UNIQUE CHECK (length(id) = 16),
    session_id  BYTEA CHECK (length(session_id) = 16),
    client_id   TEXT COLLATE "C" NOT NULL,
    scope       TEXT NOT NULL,
    audience    TEXT NOT NULL,
    issued_at   BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);

CREATE INDEX reference_token_of_client ON reference_token (client_id);
CREATE INDEX reference_token_expiry ON reference_token (expires_at);

-- What may be used once: the identifiers of assertions.
CREATE TABLE spent (
    client_id   TEXT COLLATE "C" NOT NULL,
    jti         TEXT COLLATE "C" NOT NULL,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (client_id, jti)
);

CREATE INDEX spent_expiry ON spent (expires_at);

CREATE TABLE client (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name            TEXT NOT NULL,
    -- none, client_secret or private_key_jwt.
    authentication  TEXT NOT NULL,
    secret_hash     BYTEA,
    jwks            TEXT,
    -- Words with spaces between them.
    grants          TEXT NOT NULL,
    scope           TEXT NOT NULL,
    audiences       TEXT NOT NULL,
    -- The algorithm of its JWTs, or 'reference'.
    access_tokens   TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    CHECK ((secret_hash IS NOT NULL) = (authentication = 'client_secret')),
    CHECK ((jwks IS NOT NULL) = (authentication = 'private_key_jwt'))
);

CREATE TABLE signing_key (
    kid         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm   TEXT COLLATE "C" NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    sealed      BYTEA NOT NULL,
    public      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    since       BIGINT NOT NULL
);

-- One of each at a time.
CREATE UNIQUE INDEX signing_key_next ON signing_key (algorithm) WHERE state = 'next';
CREATE UNIQUE INDEX signing_key_active ON signing_key (algorithm) WHERE state = 'active';

-- The ledger of the processes that answer from their own memory, each under a lease. It is not worth a write to the disk at
-- every renewal, so its tables are unlogged: a server that crashes, or another one that takes its place, has them empty. Then a
-- new life begins, and for the length of a lease nobody relies on what the ledger says.
CREATE UNLOGGED TABLE ledger (
    one         SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    life        BIGINT NOT NULL,
    -- Whether every lease from before this life is over.
    settled     BOOLEAN NOT NULL
);

-- Before this there were no leases.
INSERT INTO ledger (one, life, settled) VALUES (1, 1, TRUE);

CREATE UNLOGGED TABLE checker (
    id          BYTEA NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    -- Which process it is, for people.
    name        TEXT NOT NULL,
    -- The last entry of the log that it says it has applied.
    applied     BIGINT NOT NULL,
    -- The number of its last renewal.
    renewal     BIGINT NOT NULL
);

-- Renewals of all checkers are numbered. Should the numbers be lost, so is the life that they counted in.
CREATE UNLOGGED SEQUENCE checker_renewal;
