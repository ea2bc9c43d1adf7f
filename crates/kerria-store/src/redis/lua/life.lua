-- The log and the ledger, and the life that they are in.
local LOG, CHECKERS = '{kerria}:log', '{kerria}:checkers'

-- A whole number in digits. By itself, Lua writes large ones as 1.8e+15.
local function digits(number)
    return string.format('%.0f', number)
end

-- The process that executes this, its history, and the history that this one goes on from: others after a restart, and on a
-- replica that was promoted.
local function here()
    local process = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    local replication = redis.call('INFO', 'replication')
    return process, string.match(replication, 'master_replid:(%x+)'), string.match(replication, 'master_replid2:(%x+)')
end

-- Begins another life of the log and the ledger, if this server is not the one that has begun the last one, or has forgotten
-- it. Numbers of the log go on beyond every number that was given in a life before, though it may have been lost: nobody
-- writes as many entries as there are microseconds.
local function begin()
    local process, history, before = here()
    local server, last = process .. history, redis.call('HGET', STATE, 'server')
    if last == server then
        return
    end
    -- The first replica of a server gives it a new history, which goes on from none. One that was promoted goes on from that of
    -- its primary.
    if last and string.sub(last, 1, #process) == process and not string.find(before, '[^0]') then
        redis.call('HSET', STATE, 'server', server)
        return
    end
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local head = digits(math.max(tonumber(state('head')) + 1, now))
    redis.call('DEL', LOG, CHECKERS)
    redis.call('HSET', STATE, 'server', server, 'settled', '0', 'head', head, 'removed', head,
        'life', string.sub(redis.sha1hex(server .. head), 1, 13))
end

-- Of no entries, Redis makes nothing at all instead of an empty list.
local function entries(from, limit)
    return redis.call('XRANGE', LOG, from, '+', 'COUNT', limit) or {}
end

-- The head of the log, the last entry that was removed from it, and up to `limit` entries after `number`.
local function entries_after(number, limit)
    local page = { state('head'), state('removed') }
    for _, entry in ipairs(entries('(' .. number .. '-0', limit)) do
        page[#page + 1] = string.sub(entry[1], 1, -3)
        page[#page + 1] = entry[2][4]
    end
    return page
end
