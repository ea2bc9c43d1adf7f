-- What all scripts share. A session is kept in six places, under '{kerria}:<generation>:':
--   s:<session>              its record (see record.rs)
--   d:<session>              its data, and under the empty key a stamp that each write of data changes
--   t:<token>                the session that this token carries
--   all                      every session, by handle
--   seen:<r>, opened:<r>     by when it was last seen, and opened; r is 1 if it is remembered
--   u:<user>, c:<client>     by handle
-- The generation changes when everyone's sessions are ended, so that this takes no longer than ending one.
local STATE = '{kerria}:state'

local function state(field)
    return redis.call('HGET', STATE, field) or '0'
end

-- What ends something, or says who is here, is done though the memory is full: Redis lets a script go on that has begun to write.
local function insist()
    redis.call('DEL', '{kerria}:nothing')
end

-- Why nothing may be read here, if that is so. A server that was made a replica keeps its connections, and answers with what it had.
-- What does not take writes may be a replica, or a primary that another server has taken the place of: nobody may rely on what it
-- knows. Nothing is deleted; a full disk or memory is another matter.
local function refusal()
    local allowed = redis.pcall('DEL', '{kerria}:nothing')
    if type(allowed) == 'table' and allowed.err and (allowed.err:find('READONLY') or allowed.err:find('NOREPLICAS')) then
        return allowed
    end
end
