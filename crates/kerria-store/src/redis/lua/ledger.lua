-- The ledger of the checkers. What is kept of each is how far it is, the number of its last renewal, and its name.
insist()
begin()

local function of(checker)
    local kept = redis.call('HGET', CHECKERS, checker)
    if kept then
        return string.match(kept, '^(%d+) (%d+) (.*)$')
    end
end

local questions = {
    -- What `Ledger::renew` of kerria-core says.
    renew = function(checker, applied, name, limit)
        local head = state('head')
        if applied ~= '' and tonumber(applied) > tonumber(head) then
            applied = head
        end
        local renewal = digits(redis.call('HINCRBY', STATE, 'renewals', 1))
        local held = of(checker)
        local noted = applied ~= '' and applied or held or head
        redis.call('HSET', CHECKERS, checker, noted .. ' ' .. renewal .. ' ' .. name)
        if not held or applied == '' then
            return { 0, head }
        end
        return { 1, entries_after(ARGV[3], limit) }
    end,
    read = function()
        local answer = { state('life'), state('settled'), state('head') }
        local checkers = redis.call('HGETALL', CHECKERS)
        for at = 1, #checkers, 2 do
            local applied, renewal, name = string.match(checkers[at + 1], '^(%d+) (%d+) (.*)$')
            answer[#answer + 1] = { checkers[at], applied, renewal, name }
        end
        return answer
    end,
    settle = function(life)
        if state('life') == life then
            redis.call('HSET', STATE, 'settled', '1')
        end
    end,
    forget = function(checker, seen)
        local _, renewal = of(checker)
        if renewal == seen then
            redis.call('HDEL', CHECKERS, checker)
        end
    end,
}

return questions[ARGV[1]](unpack(ARGV, 2))
