-- Commits a step, unless what it was decided on has changed.
--
-- Asked with a generation (or nothing, if any will do), conditions, and orders. A condition is a command and what it has to
-- answer still; an order is a command, or one of those below. Answers 0 if a condition does not hold; otherwise 1, the last number
-- of the log, how many sessions were ended (or other things removed), the user of the last one, and whether anything was logged.
local at = 0
local function word()
    at = at + 1
    return ARGV[at]
end
local function words()
    local read = {}
    for number = 1, tonumber(word()) do
        read[number] = word()
    end
    return read
end

local generation = state('generation')
local wanted = word()
if wanted ~= '' and wanted ~= generation then
    return { 0 }
end
for _ = 1, tonumber(word()) do
    local condition = words()
    local expected = table.remove(condition, 1)
    local reply = redis.call(unpack(condition))
    if type(reply) == 'table' then
        reply = table.concat(reply)
    end
    if (reply and '=' .. reply or '-') ~= expected then
        return { 0 }
    end
end

-- Sessions or reference tokens that are removed one by one in a step, if it is up to us.
local AT_ONCE = 10000

local current = '{kerria}:' .. generation .. ':'
local removed, user, logged = 0, '', false

-- Calls a command with as many arguments at once as it takes.
local function in_pieces(arguments, call)
    for from = 1, #arguments, 1000 do
        call(unpack(arguments, from, math.min(from + 999, #arguments)))
    end
end

local function unlink(keys)
    in_pieces(keys, function(...)
        redis.call('UNLINK', ...)
    end)
end

local function leave(key, members)
    in_pieces(members, function(...)
        redis.call('ZREM', key, ...)
    end)
end

local function add(lists, name, member)
    local list = lists[name] or {}
    list[#list + 1] = member
    lists[name] = list
end

-- Removes sessions from wherever they are kept, and returns those that were there.
local function drop(prefix, sessions)
    local gone, keys, lists = {}, {}, {}
    for _, session in ipairs(sessions) do
        local record = redis.call('GET', prefix .. 's:' .. session)
        if record then
            local remembered, from = string.sub(record, 2, 2), 38
            gone[#gone + 1] = session
            keys[#keys + 1] = prefix .. 's:' .. session
            keys[#keys + 1] = prefix .. 'd:' .. session
            keys[#keys + 1] = prefix .. 't:' .. string.sub(record, 6, 37)
            add(lists, 'seen:' .. remembered, session)
            add(lists, 'opened:' .. remembered, session)
            user = ''
            if string.sub(record, 3, 3) == '1' then
                user, from = string.sub(record, 38, 53), 54
                add(lists, 'u:' .. user, session)
            end
            if string.sub(record, 4, 4) == '1' then
                keys[#keys + 1] = prefix .. 't:' .. string.sub(record, from, from + 31)
                from = from + 32
            end
            if string.sub(record, 5, 5) == 't' then
                add(lists, 'c:' .. cjson.decode(string.sub(record, from)).client, session)
            end
        end
    end
    unlink(keys)
    leave(prefix .. 'all', gone)
    for name, members in pairs(lists) do
        leave(prefix .. name, members)
    end
    removed = removed + #gone
    return gone
end

local function drop_references(prefix, tokens)
    for _, token in ipairs(tokens) do
        local kept = redis.call('GET', prefix .. 'r:' .. token)
        if kept then
            local reference = cjson.decode(kept)
            redis.call('UNLINK', prefix .. 'r:' .. token, prefix .. 'ri:' .. reference.id)
            redis.call('SREM', prefix .. 'rc:' .. reference.client, token)
        end
        redis.call('ZREM', prefix .. 'refs', token)
    end
end

local function log(when, entry)
    if not logged then
        begin()
        logged = true
    end
    local number = digits(redis.call('HINCRBY', STATE, 'head', 1))
    redis.call('XADD', LOG, number .. '-0', 'at', when, 'entry', entry)
end

-- Those that were opened until then; all, if that is nothing.
local function opened_until(sessions, before)
    if before == '' then
        return sessions
    end
    local found = {}
    for _, session in ipairs(sessions) do
        local opened = redis.call('ZSCORE', current .. 'opened:0', session)
            or redis.call('ZSCORE', current .. 'opened:1', session)
        if opened and tonumber(opened) <= tonumber(before) then
            found[#found + 1] = session
        end
    end
    return found
end

-- A handle as it is written for people.
local function written(session)
    local hex = string.gsub(session, '.', function(byte)
        return string.format('%02x', string.byte(byte))
    end)
    return (string.gsub(hex, '(........)(....)(....)(....)(............)', '%1-%2-%3-%4-%5'))
end

local function over(key, bound, limit)
    return redis.call('ZRANGE', key, '-inf', bound, 'BYSCORE', 'LIMIT', 0, limit)
end

local orders = {
    end_session = function(session)
        drop(current, { session })
    end,
    end_user = function(whose, except, before)
        local sessions = redis.call('ZRANGE', current .. 'u:' .. whose, 0, -1)
        local ended = {}
        for _, session in ipairs(opened_until(sessions, before)) do
            if session ~= except then
                ended[#ended + 1] = session
            end
        end
        drop(current, ended)
    end,
    -- Each of its sessions has an entry of its own, in which '@' stands for the handle. With a limit, so many of them and nothing else.
    end_client = function(client, before, when, entry, limit)
        insist()
        local last = limit == '' and -1 or limit - 1
        local sessions = redis.call('ZRANGE', current .. 'c:' .. client, 0, last)
        for _, session in ipairs(drop(current, opened_until(sessions, before))) do
            log(when, (string.gsub(entry, '@', written(session))))
        end
        if limit == '' then
            drop_references(current, redis.call('SMEMBERS', current .. 'rc:' .. client))
        end
    end,
    end_token = function(token)
        insist()
        local kept = redis.call('GET', current .. 'ri:' .. token)
        if kept then
            drop_references(current, { kept })
        end
    end,
    -- Only of what was there until then, if that is given. If that is too much to be removed at once, everything goes.
    end_everyone = function(before)
        insist()
        if before ~= '' then
            local there, tokens = {}, {}
            for _, list in ipairs({ 'opened:0', 'opened:1' }) do
                for _, session in ipairs(over(current .. list, before, AT_ONCE + 1)) do
                    there[#there + 1] = session
                end
            end
            local references = redis.call('ZRANGE', current .. 'refs', 0, -1)
            for _, token in ipairs(references) do
                local kept = redis.call('GET', current .. 'r:' .. token)
                if kept and cjson.decode(kept).issued_at <= tonumber(before) then
                    tokens[#tokens + 1] = token
                end
            end
            if #there <= AT_ONCE then
                drop(current, there)
                drop_references(current, tokens)
                return
            end
        end
        removed = removed + redis.call('ZCARD', current .. 'all')
        redis.call('SADD', '{kerria}:old', generation)
        redis.call('HINCRBY', STATE, 'generation', 1)
    end,
    log = log,
    log_if_ended = function(when, entry)
        if removed > 0 then
            log(when, entry)
        end
    end,
    -- Notes that this was done, and what it came to.
    mark = function(key, seconds)
        redis.call('SET', key, digits(removed), 'EX', seconds)
    end,
    -- From the oldest on, those from before. One that was written later stops it: the log has no holes.
    trim_log = function(before, limit)
        local last
        for _, entry in ipairs(entries('-', limit)) do
            if tonumber(entry[2][2]) >= tonumber(before) then
                break
            end
            last, removed = string.sub(entry[1], 1, -3), removed + 1
        end
        if last then
            redis.call('XTRIM', LOG, 'MINID', last .. '-1')
            redis.call('HSET', STATE, 'removed', last)
        end
    end,
    touch = function(session, when)
        insist()
        redis.call('ZADD', current .. 'seen:0', 'XX', 'GT', when, session)
        redis.call('ZADD', current .. 'seen:1', 'XX', 'GT', when, session)
    end,
    -- Sweeping. The limit is that of the whole commit.
    sweep_sessions = function(list, bound, limit)
        drop(current, over(current .. list, bound, tonumber(limit) - removed))
    end,
    sweep_references = function(now, limit)
        local tokens = over(current .. 'refs', now, limit)
        drop_references(current, tokens)
        removed = removed + #tokens
    end,
    sweep_spent = function(now, limit)
        local spent = over('{kerria}:spent', now, tonumber(limit) - removed)
        leave('{kerria}:spent', spent)
        removed = removed + #spent
    end,
    sweep_doors = function(now, limit)
        local doors = over('{kerria}:doors', now, limit)
        local keys = {}
        for number, door in ipairs(doors) do
            keys[number] = '{kerria}:door:' .. door
        end
        unlink(keys)
        leave('{kerria}:doors', doors)
        removed = removed + #doors
    end,
    -- Of one generation that is over, some of what is left.
    sweep_old = function(limit)
        local old = redis.call('SRANDMEMBER', '{kerria}:old')
        if not old then
            return
        end
        local prefix = '{kerria}:' .. old .. ':'
        drop(prefix, redis.call('ZRANGE', prefix .. 'all', 0, limit - 1))
        local tokens = redis.call('ZRANGE', prefix .. 'refs', 0, limit - 1)
        drop_references(prefix, tokens)
        removed = removed + #tokens
        if removed == 0 then
            redis.call('SREM', '{kerria}:old', old)
            removed = 1
        end
    end,
}

for _ = 1, tonumber(word()) do
    local order = words()
    local own = orders[order[1]]
    if own then
        own(unpack(order, 2))
    else
        redis.call(unpack(order))
    end
end
local head = state('head')
if logged then
    redis.call('PUBLISH', '{kerria}:log', head)
end
return { 1, head, digits(removed), user, logged and 1 or 0 }
