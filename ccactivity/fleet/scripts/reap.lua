-- Let go of what dead members watched. KEYS 3 members, then what each of them watches. ARGV 1 member, 2 token, 3 how many,
-- then the dead. Returns how many there were.
local now, dead = clock(), 0
if not holds_lease(ARGV[1], ARGV[2]) then return 0 end
for i = 1, tonumber(ARGV[3]) do
  local score = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[3 + i]))
  if score and score < now then
    redis.call('ZREM', KEYS[3], ARGV[3 + i])
    redis.call('DEL', KEYS[3 + i])
    post('gone', ARGV[3 + i], '')
    dead = dead + 1
  end
end
return dead
