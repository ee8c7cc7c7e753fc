-- The quota of one API key. This text stands before that of each script which reads or changes it.
--
-- KEYS 1 quota, 2 tickets, 3 due, 4 flying. ARGV 1-7 what the caller was told last: day, granted, refunded, shut, and
-- another day with its granted and refunded; 8-10 its limits: per_second, per_day, reserve (-1: none).
local WINDOW = 1.1 * SECOND            -- no more than a burst of permits within it
local CLOSED = 1.5 * SECOND            -- longer than a beat: everyone alive tells what they know meanwhile
local CLOCK_STANDS = SECOND            -- a clock that goes back by less stands still; by more, the count begins anew
local FLYING_MAX = 120 * SECOND        -- a permit that nobody has settled by then never will be
local BANK_CAPACITY = 500

local q, changed = {}, {}

local function put(field, value) q[field], changed[field] = value, value end
local function limit(field) return q[field] < 0 and math.huge or q[field] end
local function spent() return q.granted - q.refunded end
local function left() return limit('per_day') - spent() end
local function keep_reserve() put('reserved', math.max(0, math.min(q.reserve, left() / 10))) end

local function set_limits()
  local per_second, per_day, reserve = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
  if q.per_second ~= per_second or q.per_day ~= per_day or q.reserve ~= reserve then
    put('per_second', per_second)
    put('per_day', per_day)
    put('reserve', reserve)
    keep_reserve()
  end
end

local function begin_epoch(now, day)
  put('epoch', now)
  put('last', now)
  put('open', now + CLOSED)
  put('day', day)
  put('granted', 0)
  put('refunded', 0)
  put('other_day', -1)
  put('other_granted', 0)
  put('other_refunded', 0)
  put('paused', 0)
  put('width', 1)
  put('shut', 0)
  put('bgshut', 0)
  put('probe', '')
  put('probe_at', 0)
  put('bank', BANK_CAPACITY)
  put('banked', now)
  put('lastgrant', 0)
  put('log', '')
  put('run', 'r' .. server_run())
  set_limits()
end

local function set_clock_back(now)
  local back = q.last - now
  put('open', now + CLOSED)
  put('last', now)
  put('log', '')
  put('lastgrant', 0)
  put('banked', now)
  put('paused', q.paused - back)
  put('probe_at', math.min(q.probe_at, now))
  put('shut', math.min(q.shut, now + DAY))
  put('bgshut', math.min(q.bgshut, now + DAY))
  redis.call('DEL', KEYS[2], KEYS[3])
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. number(now), '+inf')) do
    redis.call('ZADD', KEYS[4], number(now), ticket)
  end
end

local function begin_day(now, day)
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. number(now - FLYING_MAX))
  -- Nobody knows on which side of 00:00 the vendor saw what is under way: it is charged to both days.
  local granted, refunded = redis.call('ZCARD', KEYS[4]), 0
  if day == q.other_day then           -- the clock went back over 00:00, or comes to it once more
    granted, refunded = granted + q.other_granted, q.other_refunded
  end
  put('other_day', q.day)
  put('other_granted', q.granted)
  put('other_refunded', q.refunded)
  put('day', day)
  put('granted', granted)
  put('refunded', refunded)
  keep_reserve()
end

-- What somebody alive knows of a day, and the server has lost.
local function hear_of_day(now, seen_day, granted, refunded)
  if seen_day == q.day and granted > q.granted then
    put('granted', granted)
    put('refunded', math.max(q.refunded, refunded))
    put('open', math.max(q.open, now + WINDOW))
    keep_reserve()
  elseif seen_day ~= q.day and seen_day >= 0 and (seen_day > q.other_day or granted > q.other_granted) then
    put('other_day', seen_day)
    put('other_granted', granted)
    put('other_refunded', refunded)
  end
end

-- Take in what the caller knows and the server may have lost. Returns the time.
local function open_quota()
  local now = clock()
  local flat = redis.call('HGETALL', KEYS[1])
  for i = 1, #flat, 2 do q[flat[i]] = tonumber(flat[i + 1]) or flat[i + 1] end
  if not q.epoch then
    begin_epoch(now, math.floor(now / DAY))
  elseif now < q.last - CLOCK_STANDS then
    set_clock_back(now)
  else
    now = math.max(now, q.last)
    put('last', now)
  end
  local run, day = 'r' .. server_run(), math.floor(now / DAY)
  if q.run ~= run then                 -- restarted, or another server: its last writes may be missing
    put('run', run)
    put('open', now + CLOSED)
  end
  if day ~= q.day then begin_day(now, day) end
  local seen = {}
  for i = 1, 7 do seen[i] = tonumber(ARGV[i]) end
  hear_of_day(now, seen[1] == -1 and day or seen[1], seen[2], seen[3])
  hear_of_day(now, seen[5], seen[6], seen[7])
  if seen[4] > now and q.shut < seen[4] then
    put('shut', math.min(seen[4], now + DAY))
    put('bgshut', math.max(q.bgshut, q.shut))
  end
  return now
end

-- Let what the day has left flow in, evenly until 00:00. Returns how much a second.
local function fill_bank(now)
  if limit('per_day') == math.huge then
    put('bank', BANK_CAPACITY)
    return 0
  end
  local since_midnight = now - q.day * DAY
  local spendable = math.max(0, left() - math.min(q.reserve, left() / 10))
  local rate = spendable / math.max(1, (DAY - since_midnight) / SECOND)
  local passed = math.min(math.max(0, now - q.banked), since_midnight) / SECOND
  put('bank', math.max(0, math.min(BANK_CAPACITY, spendable, q.bank + rate * passed)))
  put('banked', now)
  return rate
end

-- Seconds until the day has requests again, and 0 while it has; in microseconds.
local function until_gate_opens(now, background)
  local shut = background and q.bgshut or q.shut
  if now < shut then return shut - now end
  if left() >= 1 and not (background and left() <= q.reserved) then return 0 end
  return (q.day + 1) * DAY - now
end

-- Write what has changed, and return what every script tells: behind its own numbers, the state of the key.
local function close_quota(now, ...)
  local rate, flat = fill_bank(now), {}
  for field, value in pairs(changed) do
    flat[#flat + 1] = field
    flat[#flat + 1] = type(value) == 'number' and number(value) or value
  end
  redis.call('HSET', KEYS[1], unpack(flat))
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], KEPT_MS) end
  local told = {
    now, q.day, q.granted, q.refunded, q.shut, q.other_day, q.other_granted, q.other_refunded, q.epoch,
    q.bank * 1000, rate * 1000000,
  }
  for _, value in ipairs({...}) do told[#told + 1] = value end
  return told
end
