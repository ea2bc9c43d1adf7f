-- Reads what it is asked for, all of one instant. Asked with the life that this connection was opened in, and triples of a kind and two
-- arguments; answers the generation, the last number of the log, and a list for each triple.

local refused = refusal()
if refused then
    return refused
end

-- In another life, ends may have been lost. They are done again when a connection is opened, before anything is read.
begin()
if state('life') ~= ARGV[1] then
    return redis.error_reply('MASTERDOWN the server has begun another life')
end

local generation = state('generation')
local prefix = '{kerria}:' .. generation .. ':'

local function sessions(handles)
    local read = {}
    for _, session in ipairs(handles) do
        local record = redis.call('GET', prefix .. 's:' .. session)
        if record then
            local seen = redis.call('ZSCORE', prefix .. 'seen:' .. string.sub(record, 2, 2), session)
            read[#read + 1] = { session, record, seen }
        end
    end
    return read
end

local kinds = {
    session = function(session)
        return sessions({ session })
    end,
    token = function(token)
        return sessions({ redis.call('GET', prefix .. 't:' .. token) or nil })
    end,
    user = function(user)
        return sessions(redis.call('ZRANGE', prefix .. 'u:' .. user, 0, -1))
    end,
    page = function(after, limit)
        local from = after == '' and '-' or '(' .. after
        return sessions(redis.call('ZRANGE', prefix .. 'all', from, '+', 'BYLEX', 'LIMIT', 0, limit))
    end,
    data = function(session)
        return redis.call('HGETALL', prefix .. 'd:' .. session)
    end,
    reference = function(token)
        return { redis.call('GET', prefix .. 'r:' .. token) or nil }
    end,
    key = function(key)
        return { redis.call('GET', key) or nil }
    end,
    log = entries_after,
}

local answer = { generation, state('head') }
for at = 2, #ARGV, 3 do
    answer[#answer + 1] = kinds[ARGV[at]](ARGV[at + 1], ARGV[at + 2])
end
return answer
