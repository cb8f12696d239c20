-- Counts a request against a rate (GCRA): one key holds the time at which the burst would be whole again.
-- KEYS: that key. ARGV: microseconds per request, burst.
-- Gives back: 1 or 0 (counted or not), requests that could be made now, microseconds to wait.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local each = tonumber(ARGV[1])
local burst = tonumber(ARGV[2])
local whole = tonumber(redis.call('GET', KEYS[1]) or now)
-- A clock that was set back must not make anybody wait longer than a whole burst takes.
whole = math.min(math.max(whole, now), now + burst * each)
local after = whole + each
local wait = after - burst * each - now
if wait > 0.5 then
    return { 0, 0, math.ceil(wait) }
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return { 1, math.floor((burst * each - (after - now)) / each + 0.001), 0 }
