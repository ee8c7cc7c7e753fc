-- Give up the lease, if it is held, and say so. KEYS 3 members, 4 what this member watches. ARGV 1 member, 2 token, 3 "1"
-- to leave the fleet too.
if ARGV[3] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  if redis.call('DEL', KEYS[4]) == 1 then post('gone', ARGV[1], '') end
end
if holds_lease(ARGV[1], ARGV[2]) then
  redis.call('HSET', KEYS[1], 'until', 0)
  post('vacant', ARGV[1], '')
end
return 1
