-- A value of a session is put in one question. What it decides is what `put` in src/sql/session_data.rs decides in several, and what it
-- holds is what a step holds that is about one session (src/postgres/locks.rs).
--
-- `expected` is looked at if `anything` is 0; NULL is no value. The outcome is 'written', 'gone' (the session), 'overtaken' (by `held`) or
-- 'refused' (because of what is there under other keys).
CREATE FUNCTION put_session_data(
    session BYTEA, name TEXT, value TEXT, anything BIGINT, expected TEXT,
    most_keys BIGINT, most_of_value BIGINT, most_in_all BIGINT,
    OUT outcome TEXT, OUT held TEXT, OUT keys BIGINT, OUT bytes BIGINT
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1262834258, 0);
    PERFORM FROM session AS s WHERE s.id = put_session_data.session FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'gone';
        RETURN;
    END IF;
    SELECT max(json) FILTER (WHERE key = name),
           count(*) FILTER (WHERE key <> name),
           coalesce(sum(octet_length(key) + octet_length(json)) FILTER (WHERE key <> name), 0)
        INTO held, keys, bytes
        FROM session_data WHERE session_id = put_session_data.session;
    IF anything = 0 AND held IS DISTINCT FROM expected THEN
        outcome := 'overtaken';
    ELSIF octet_length(value) > most_of_value OR keys + 1 > most_keys
        OR bytes + octet_length(name) + octet_length(value) > most_in_all THEN
        outcome := 'refused';
    ELSE
        INSERT INTO session_data (session_id, key, json) VALUES (put_session_data.session, name, value)
            ON CONFLICT (session_id, key) DO UPDATE SET json = excluded.json;
        outcome := 'written';
    END IF;
END
$$;
