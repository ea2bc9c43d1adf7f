-- Sessions may be kept elsewhere, beside a directory that stays here. What the directory decides about them is written down in
-- the transaction that decides it, run afterwards, and removed when it was. An identifier is never given again. Steps about
-- one user hold that user, and those about everything are alone: so their errands are numbered in the order of their commits.
CREATE TABLE errand (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      BIGINT NOT NULL,
    -- What is to be done, as JSON.
    what    TEXT NOT NULL,
    -- The line of the audit log that is written when it was done, if there is to be one, as JSON.
    line    TEXT
);

-- One row while sessions are kept elsewhere.
CREATE TABLE sessions_elsewhere (
    one     SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    since   BIGINT NOT NULL
);
