-- Identifiers are the 16 bytes of a UUID, hashes the 32 bytes of SHA-256, instants milliseconds since 1970.
--
-- A trap in every statement that reads this: to SQLite `$2` is a name and `?2` a position.

-- "KERR": tells our files from other people's.
PRAGMA application_id = 1262834258;

CREATE TABLE installation (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    token_key   BLOB NOT NULL CHECK (length(token_key) = 16),
    form_key    BLOB NOT NULL CHECK (length(form_key) = 32)
) STRICT;

CREATE TABLE account (
    id                  BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name                TEXT,
    email               TEXT,
    -- The forms that are compared. One has an @ and the other has none, so that what somebody types to sign in can
    -- never mean two accounts.
    name_key            TEXT UNIQUE CHECK (name_key NOT LIKE '%@%'),
    email_key           TEXT UNIQUE CHECK (email_key LIKE '%@%'),
    password            TEXT NOT NULL,
    -- Counts the changes of credentials and status.
    version             INTEGER NOT NULL,
    status              TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
    created_at          INTEGER NOT NULL,
    last_sign_in_at     INTEGER,
    CHECK (name IS NOT NULL OR email IS NOT NULL),
    CHECK ((name IS NULL) = (name_key IS NULL) AND (email IS NULL) = (email_key IS NULL))
) STRICT, WITHOUT ROWID;

-- No foreign keys here and in session_data: a table with one cannot be emptied in one stroke, and ending everyone's
-- sessions must not take a minute. What ends a session deletes its data; `kerria db check` looks for leftovers.
CREATE TABLE session (
    id                  BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    token_hash          BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    user_id             BLOB,
    method              TEXT,
    transport           TEXT NOT NULL,
    remembered          INTEGER NOT NULL CHECK (remembered IN (0, 1)),
    opened_at           INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    authenticated_at    INTEGER NOT NULL,
    user_agent          TEXT NOT NULL,
    address             TEXT NOT NULL,
    CHECK ((user_id IS NULL) = (method IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX session_of_user ON session (user_id);
-- For the sweep, which looks for either limit of a session's life.
CREATE INDEX session_seen ON session (remembered, last_seen_at);
CREATE INDEX session_opened ON session (remembered, opened_at);

CREATE TABLE session_data (
    session_id  BLOB NOT NULL,
    key         TEXT NOT NULL,
    json        TEXT NOT NULL,
    PRIMARY KEY (session_id, key)
) STRICT, WITHOUT ROWID;

-- The number of the last entry of the log, and of the last one that was removed. A row and not a sequence: it is
-- changed inside the transaction that writes the entry, so that numbers become visible in their order, without a gap.
CREATE TABLE log_counter (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    number      INTEGER NOT NULL,
    removed     INTEGER NOT NULL
) STRICT;

INSERT INTO log_counter (one, number, removed) VALUES (1, 0, 0);

-- The revocation log. An entry without a cause says that what it selects has changed.
CREATE TABLE log (
    number      INTEGER NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    selector    TEXT NOT NULL CHECK (selector IN ('session', 'user', 'user_except', 'everyone')),
    user_id     BLOB,
    session_id  BLOB,
    cause       TEXT
) STRICT;

CREATE TABLE invitation (
    token_hash      BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    expires_at      INTEGER NOT NULL,
    first_account   INTEGER NOT NULL CHECK (first_account IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX invitation_expiry ON invitation (expires_at);

CREATE TABLE known_device (
    user_id         BLOB NOT NULL REFERENCES account (id),
    device_hash     BLOB NOT NULL CHECK (length(device_hash) = 32),
    known_at        INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE door (
    name            TEXT NOT NULL PRIMARY KEY,
    failures        INTEGER NOT NULL,
    last_attempt    INTEGER NOT NULL,
    -- When nothing is left to remember, by the rule of the last attempt.
    forget_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX door_forgotten ON door (forget_at);

-- Keeps the identifiers of accounts and sessions that are gone.
CREATE TABLE audit (
    id          INTEGER NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    event       TEXT NOT NULL,
    user_id     BLOB,
    session_id  BLOB,
    address     TEXT,
    detail      TEXT NOT NULL
) STRICT;

CREATE INDEX audit_of_user ON audit (user_id, id);
