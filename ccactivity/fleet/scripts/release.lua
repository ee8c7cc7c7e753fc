-- Give up the lease, and say so. KEYS 1 lease, 2 news. ARGV 1 member, 2 token. Returns 1 if it was held.
local held = redis.call('HMGET', KEYS[1], 'holder', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'until', 0)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'k', 'vacant')
redis.call('PEXPIRE', KEYS[2], 3600 * 1000)
return 1
