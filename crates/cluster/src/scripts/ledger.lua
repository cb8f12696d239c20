-- Takes over what the ledger says was spent in a span.
-- KEYS: 1, 2 as in lapsed.lua, 3 the span. ARGV: 1 how long it is kept, 2 how long nothing must have been settled for the ledger to be
-- the whole truth, then for each thing spent: its field, its amount.
local at, settled = unpack(redis.call('HMGET', KEYS[3], 'at', 'settled'))
local quiet = redis.call('EXISTS', KEYS[1]) == 0 and now - tonumber(settled or 0) > tonumber(ARGV[2])
if at and quiet then
    redis.call('DEL', KEYS[3])
end
for spent = 1, (#ARGV - 2) / 2 do
    local field, amount = ARGV[1 + spent * 2], ARGV[2 + spent * 2]
    if not at then
        -- What was settled while the ledger was asked stands here already, and may not be in it yet.
        redis.call('HINCRBY', KEYS[3], field, amount)
    elseif tonumber(redis.call('HGET', KEYS[3], field) or 0) < tonumber(amount) then
        -- Turns end, and the ledger is behind; or it knows of some that nobody told us of. Neither says more than is true.
        redis.call('HSET', KEYS[3], field, amount)
    end
end
redis.call('HSET', KEYS[3], 'at', string.format('%.0f', now))
redis.call('HDEL', KEYS[3], 'asking')
redis.call('PEXPIRE', KEYS[3], ARGV[1])
return 1
