-- Tell what was seen. KEYS 3 snapshots, 4 ends, 5 memo. ARGV 1 member, 2 token, 3 memo or "", 4 how many, then for each
-- its kind, id and text. Kinds: "a" a snapshot, "t" a terminal one, "l" the error of what cannot be followed, "r" what
-- nobody watches any more. A terminal snapshot is taken from anyone, and never replaced; the rest from who polls now.
-- Returns 1, or 0 if something was refused.
local END_KEPT = 600 * SECOND
local now, mine, all = clock(), holds_lease(ARGV[1], ARGV[2]), 1
for i = 5, 4 + 3 * tonumber(ARGV[4]), 3 do
  local kind, id, text = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local known = string.sub(redis.call('HGET', KEYS[3], id) or '', 1, 1)
  if known == 't' then
    if kind ~= 't' and not mine then all = 0 end
  elseif kind == 't' or mine then
    if kind == 'a' or kind == 't' then redis.call('HSET', KEYS[3], id, kind .. text) end
    if kind ~= 'a' then redis.call('ZADD', KEYS[4], number(now), id) end
    if kind ~= 'r' then post(kind, ARGV[1], cjson.encode({id, text})) end
  else
    all = 0
  end
end
if mine then
  if ARGV[3] ~= '' then redis.call('SET', KEYS[5], ARGV[3], 'PX', KEPT_MS) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', number(now - END_KEPT), 'LIMIT', 0, 500)) do
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[3], id)
  end
end
redis.call('PEXPIRE', KEYS[3], KEPT_MS)
redis.call('PEXPIRE', KEYS[4], KEPT_MS)
return all
