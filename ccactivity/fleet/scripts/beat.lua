-- A sign of life, and the election of who polls. KEYS 5 lease, 6 members, 7 what this member watches, 8 snapshots.
-- ARGV 11 member, 12 "1" for a candidate, 13 the highest token that it has seen, 14 its lease in microseconds.
-- Returns token, what is left of the lease, members, how many ids the server knows to be watched by this one, how
-- many snapshots there are, the number of the last news, the three limits, the holder, and for that one alone the
-- members that have given no sign of life for too long.
local ALIVE = 10 * SECOND

local now = open_quota()
local member, lease = ARGV[11], tonumber(ARGV[14])
redis.call('ZADD', KEYS[6], number(now + ALIVE), member)
for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '(' .. number(now + ALIVE), '+inf')) do
  redis.call('ZADD', KEYS[6], number(now + ALIVE), ahead)  -- the clock went back
end

local held = redis.call('HMGET', KEYS[5], 'holder', 'token', 'until', 'lease', 'highest', 'run', 'opens')
local holder, token, till = held[1] or '', tonumber(held[2]) or 0, tonumber(held[3]) or 0
till = math.min(till, now + (tonumber(held[4]) or 0))  -- or the clock went back
local highest, opens = math.max(token, tonumber(held[5]) or 0, tonumber(ARGV[13])), tonumber(held[7]) or 0
if held[6] ~= q.run then               -- of a server that has lost it, or that lacks the last take-over
  till, opens = 0, now + CLOSED
end
opens = math.min(opens, now + CLOSED)
if till > now and holder == member then
  till = now + lease
elseif till <= now then
  holder, till = '', 0
  -- Not before everyone alive had time to tell the highest token that they have seen.
  if ARGV[12] == '1' and now >= math.max(q.open, opens) then
    token = math.max(highest, now) + 1
    holder, till = member, now + lease
  end
end
redis.call(
  'HSET', KEYS[5], 'holder', holder, 'token', number(token), 'until', number(till), 'highest', number(highest),
  'run', q.run, 'opens', number(opens)
)
if holder == member then
  redis.call('HSET', KEYS[5], 'lease', number(lease))
  set_limits()                         -- those of the holder count
end
local gone = holder == member and redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', '(' .. number(now)) or {}
for i = 5, 8 do redis.call('PEXPIRE', KEYS[i], KEPT_MS) end
return close_quota(
  now, token, math.max(0, till - now), redis.call('ZCOUNT', KEYS[6], number(now), '+inf'), redis.call('HLEN', KEYS[7]),
  redis.call('HLEN', KEYS[8]), tonumber(redis.call('HGET', KEYS[5], 'news')) or 0, number(q.per_second), number(q.per_day), number(q.reserve), holder, gone
)
