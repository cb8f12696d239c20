-- What all scripts of leases begin with.
-- KEYS: 1 the leases of a key by the time at which they lapse, 2 what is set aside for them: t (tokens), m (money).
-- A lease's name ends in what is set aside for it: `id|tokens|billionths`.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function set_aside(lease, sign)
    local tokens, money = string.match(lease, '|(%d+)|(%d+)$')
    if tokens and tokens ~= '0' then redis.call('HINCRBY', KEYS[2], 't', sign .. tokens) end
    if money and money ~= '0' then redis.call('HINCRBY', KEYS[2], 'm', sign .. money) end
end

local function drop(lease)
    if redis.call('ZREM', KEYS[1], lease) == 1 then set_aside(lease, '-') end
    -- Nothing runs, so nothing is set aside, whatever was lost on the way.
    if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
end

local function hold(lease, ttl)
    if redis.call('ZADD', KEYS[1], now + ttl, lease) == 1 then set_aside(lease, '') end
    redis.call('PEXPIRE', KEYS[1], ttl * 2)
    redis.call('PEXPIRE', KEYS[2], ttl * 2)
end

for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do drop(lease) end
