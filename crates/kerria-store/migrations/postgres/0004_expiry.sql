-- When a session is to be over, if the policy does not end it sooner: 0 for when the policy says, an instant in milliseconds, or the
-- time without use in negative ones.
ALTER TABLE session ADD COLUMN expiry BIGINT NOT NULL DEFAULT 0;
