-- Watch ids no more. KEYS 3 what this member watches. ARGV 1 member, 2 "1" if the poller knows it already, since they
-- have ended, 3 how many ids, then the ids.
local ids = {}
for i = 4, 3 + tonumber(ARGV[3]) do
  if redis.call('HDEL', KEYS[3], ARGV[i]) == 1 then ids[#ids + 1] = ARGV[i] end
end
if ARGV[2] ~= '1' and #ids > 0 then post('drop', ARGV[1], cjson.encode(ids)) end
return #ids
