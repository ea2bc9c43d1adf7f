-- Reads or changes the data of one session. Asked with the session, what to do, and what that takes.
local session, what, key = ARGV[1], ARGV[2], ARGV[3]
local prefix = '{kerria}:' .. state('generation') .. ':'
local kept = prefix .. 'd:' .. session

if what == 'get' then
    return refusal() or redis.call('HGET', kept, key)
end

if what == 'all' then
    return refusal() or redis.call('HGETALL', kept)
end

-- Whoever has read the data notices that it has changed.
local function changes()
    redis.call('HINCRBY', kept, '', 1)
end

-- `expected` is nothing if any value may be replaced, '-' for none, and '=' before a value. The limits are those of `DataLimits`;
-- what is refused is answered with what there is under other keys. A server that takes no writes knows nothing of all this.
if what == 'put' then
    local json, expected, most_keys, most_of_value, most_in_all = unpack(ARGV, 4)
    if redis.call('EXISTS', prefix .. 's:' .. session) == 0 then
        return refusal() or { 'gone' }
    end
    local held = redis.call('HGET', kept, key)
    if expected ~= '' and (held and '=' .. held or '-') ~= expected then
        return refusal() or { 'overtaken', held }
    end
    local keys, bytes, all = 0, 0, redis.call('HGETALL', kept)
    for at = 1, #all, 2 do
        if all[at] ~= '' and all[at] ~= key then
            keys, bytes = keys + 1, bytes + #all[at] + #all[at + 1]
        end
    end
    if #json > tonumber(most_of_value) or keys + 1 > tonumber(most_keys)
        or bytes + #key + #json > tonumber(most_in_all) then
        return refusal() or { 'refused', keys, bytes }
    end
    changes()
    redis.call('HSET', kept, key, json)
    return { 'written' }
end

insist()

-- With `expected`, only that value.
if what == 'remove' then
    local held, expected = redis.call('HGET', kept, key), ARGV[4]
    if not held or expected and held ~= expected then
        return false
    end
    changes()
    redis.call('HDEL', kept, key)
    return held
end

if what == 'clear' then
    local cleared = 0
    for _, name in ipairs(redis.call('HKEYS', kept)) do
        if name ~= '' then
            cleared = cleared + redis.call('HDEL', kept, name)
        end
    end
    if cleared > 0 then
        changes()
    end
    return cleared
end
