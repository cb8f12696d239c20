-- Makes room for a turn, or says how a key stands.
-- KEYS: 1, 2 as in lapsed.lua, then what was spent in each span: at (when the ledger was last asked), settled, asking, t, m:CURRENCY.
-- ARGV: 1 lease, 2 its milliseconds, 3 turns at most or -1, 4 tokens and 5 money to set aside, 6 `take` or `look` (where the ledger
-- ought to be asked first, nothing is done), `take now` or `look now`, 7 1 if limits are enforced, 8 after how many milliseconds the ledger is asked again, then
-- for each pot: its span's index in KEYS, its field, its limit.
-- Gives back: 0 no room, 1 room, 2 ask the ledger first; the limit that was hit: -1 none, 0 turns, else the pot; turns; tokens and money
-- set aside; then what was spent of each pot.
local mode = ARGV[6]
if mode == 'take' or mode == 'look' then
    local ask = false
    for span = 3, #KEYS do
        local at, asking = unpack(redis.call('HMGET', KEYS[span], 'at', 'asking'))
        if not at then
            ask = true
        elseif now - tonumber(at) > tonumber(ARGV[8]) and not (asking and now - tonumber(asking) < 1000) then
            -- One asks; the others go on with what is known.
            redis.call('HSET', KEYS[span], 'asking', string.format('%.0f', now))
            ask = true
        end
    end
    if ask then return { 2, -1, 0, 0, 0 } end
end

local turns = redis.call('ZCARD', KEYS[1])
local aside = redis.call('HMGET', KEYS[2], 't', 'm')
local tokens, money = tonumber(aside[1] or 0), tonumber(aside[2] or 0)
local most = tonumber(ARGV[3])
local hit = -1
if most >= 0 and turns >= most then hit = 0 end
local answer = {}
for pot = 1, (#ARGV - 8) / 3 do
    local span, field, limit = tonumber(ARGV[6 + pot * 3]), ARGV[7 + pot * 3], tonumber(ARGV[8 + pot * 3])
    local spent = redis.call('HGET', KEYS[span], field) or '0'
    answer[pot] = spent
    if hit == -1 then
        local full
        if field == 't' then
            -- Without a reserve there is room as long as anything is left.
            full = tonumber(spent) + tokens + math.max(tonumber(ARGV[4]), 1) > limit
        else
            local taken = tonumber(spent) + money
            full = taken + tonumber(ARGV[5]) > limit or taken >= limit
        end
        if full then hit = pot end
    end
end
local room = hit == -1 or ARGV[7] ~= '1'
if room and string.sub(mode, 1, 4) == 'take' then
    hold(ARGV[1], tonumber(ARGV[2]))
    turns = turns + 1
    tokens = tokens + tonumber(ARGV[4])
    money = money + tonumber(ARGV[5])
end
-- As text: numbers would be cut to what a double holds on their way out.
return { room and 1 or 0, hit, turns, string.format('%.0f', tokens), string.format('%.0f', money), unpack(answer) }
