-- Register ids. KEYS 3 what this member watches, 4 snapshots, 5 ends. ARGV 1 member, 2 how many ids, then each id with
-- what is wanted of it. Returns for each id its snapshot or "". What has ended is not registered: its snapshot says all.
local WATCHES_KEPT_MS = 3600 * 1000
local snapshots, added = {}, {}
for i = 3, 2 + 2 * tonumber(ARGV[2]), 2 do
  local snapshot = redis.call('HGET', KEYS[4], ARGV[i]) or ''
  if string.sub(snapshot, 1, 1) ~= 't' then
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
    redis.call('ZREM', KEYS[5], ARGV[i])
    added[ARGV[i]] = ARGV[i + 1]
  end
  snapshots[#snapshots + 1] = snapshot
end
redis.call('PEXPIRE', KEYS[3], WATCHES_KEPT_MS)
if next(added) then post('watch', ARGV[1], cjson.encode(added)) end
return snapshots
