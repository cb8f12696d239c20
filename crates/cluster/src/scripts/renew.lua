-- Holds leases for longer, those too that this Redis has not heard of or has lost.
-- KEYS: as in lapsed.lua. ARGV: 1 for how many milliseconds, then the leases.
for lease = 2, #ARGV do hold(ARGV[lease], tonumber(ARGV[1])) end
return #ARGV - 1
