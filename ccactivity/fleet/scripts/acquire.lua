-- Ask for one permit. KEYS 5 lease. ARGV 11 ticket, 12 "1" for the background, 13 token of the lease, 14 waited so far.
-- Returns 1 and 0 (granted), 0 and when to ask again with the same ticket, -1 (another one polls) or -2 and the wait
-- until the day has requests again. All waiting is in microseconds.
local OVERDUE = 5 * SECOND             -- then a background ticket goes before all others
local HEAD = 1e15                      -- taken off the score of those who go first
local LATE = 0.3 * SECOND              -- who has not come back by then has given up their place
local SPACING = 1.2 * SECOND           -- divided by the requests a second: between two background permits
local PROBE_MAX = 60 * SECOND          -- after it another one may probe
local PROBE_RECHECK = 0.5 * SECOND
local WAIT_MIN, WAIT_MAX = 1000, 60 * SECOND

local now = open_quota()
local ticket, background = ARGV[11], ARGV[12] == '1'

local function leave()
  redis.call('ZREM', KEYS[2], ticket)
  redis.call('ZREM', KEYS[3], ticket)
end

if background then
  local lease = redis.call('HMGET', KEYS[5], 'token', 'until', 'run')
  if lease[1] ~= ARGV[13] or lease[2] == '0' or lease[3] ~= q.run then
    leave()
    return close_quota(now, -1, 0)
  end
end

local closed = until_gate_opens(now, background)
if closed > 0 and now >= q.open then
  leave()
  return close_quota(now, -2, closed)
end

for _, late in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. number(now - LATE))) do
  if late ~= ticket then
    redis.call('ZREM', KEYS[2], late)
    redis.call('ZREM', KEYS[3], late)
  end
end

local score = tonumber(redis.call('ZSCORE', KEYS[2], ticket))
if not score then
  score = now - tonumber(ARGV[14]) + (background and OVERDUE or 0)
  redis.call('ZADD', KEYS[2], number(score), ticket)
end
if background and score > 0 and score <= now then
  score = score - HEAD
  redis.call('ZADD', KEYS[2], number(score), ticket)
end

local rank, log = redis.call('ZRANK', KEYS[2], ticket), {}
for at in string.gmatch(q.log, '%d+') do
  if tonumber(at) > now - WINDOW then log[#log + 1] = tonumber(at) end
end
local burst = math.floor(limit('per_second'))
local free = burst - #log
local ready = math.max(q.open, q.paused)
if background then
  local turn = 1
  for _, ahead in ipairs(rank > 0 and redis.call('ZRANGE', KEYS[2], 0, rank - 1) or {}) do
    if string.sub(ahead, 1, 1) == 'b' then turn = turn + 1 end
  end
  ready = math.max(ready, q.lastgrant + turn * SPACING / limit('per_second') * q.width)
end
local probing = q.shut > 0 and q.probe ~= '' and now < q.probe_at + PROBE_MAX
if probing then ready = math.max(ready, now + PROBE_RECHECK) end

if rank < free and ready <= now then
  leave()
  redis.call('ZADD', KEYS[4], number(now), ticket)
  put('granted', q.granted + 1)
  put('lastgrant', now)
  if burst < math.huge then
    log[#log + 1] = now
    for i, at in ipairs(log) do log[i] = number(at) end
    put('log', ',' .. table.concat(log, ','))
  end
  if q.shut > 0 then
    put('probe', ticket)
    put('probe_at', now)
  end
  if background then
    fill_bank(now)
    put('bank', math.max(0, q.bank - 1))
  end
  return close_quota(now, 1, 0)
end

local due, slot = ready, rank - free
if slot >= 0 then                      -- it falls free when the permit that has it leaves the window
  due = math.max(due, (log[slot % burst + 1] or now) + WINDOW * (1 + math.floor(slot / burst)))
end
if background and score > now then due = math.min(due, score) end
due = math.ceil(math.min(math.max(due, now + WAIT_MIN), now + WAIT_MAX))
redis.call('ZADD', KEYS[3], number(due), ticket)
return close_quota(now, 0, due - now)
