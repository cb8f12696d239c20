-- Ends a turn: its place is free, its reserve is replaced by what it cost.
-- KEYS: 1, 2 as in lapsed.lua, then the spans. ARGV: 1 lease, 2 how long a span is kept, then for each cost: its span's index in
-- KEYS, its field, its amount.
drop(ARGV[1])
for cost = 1, (#ARGV - 2) / 3 do
    local span, field, amount = tonumber(ARGV[cost * 3]), ARGV[1 + cost * 3], ARGV[2 + cost * 3]
    redis.call('HINCRBY', KEYS[span], field, amount)
    redis.call('HSET', KEYS[span], 'settled', string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[span], ARGV[2])
end
return 1
