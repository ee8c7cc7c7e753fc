-- Say what became of a permit. ARGV 11 ticket, 12 verdict, 13 when it was granted, 14 "1" for the
-- background, 15 microseconds: of the pause after a throttle, or until the vendor's 00:00 (negative: it did not say), 16
-- for how much longer the background waits for a new day.
local WIDTH_MAX = 16
local PROBE_INTERVAL = 600 * SECOND    -- a refused probe is repeated, not put off for a day
local CLOCKS_DIFFER = 900 * SECOND     -- by more: one of the two is wrong, and the earlier 00:00 counts

local now = open_quota()
local ticket, verdict, seconds = ARGV[11], ARGV[12], tonumber(ARGV[15])
local known, probe = redis.call('ZREM', KEYS[4], ticket) == 1, q.probe == ticket
if probe then put('probe', '') end

if verdict == 'refund' then
  if known then                        -- else the server has forgotten that it was charged
    put('refunded', q.refunded + 1)
    local before = ',' .. ARGV[13]
    local at = string.find(q.log .. ',', before .. ',', 1, true)
    if at then put('log', string.sub(q.log, 1, at - 1) .. string.sub(q.log, at + #before)) end
    if ARGV[14] == '1' then
      fill_bank(now)
      put('bank', q.bank + 1)
    end
  end
elseif verdict == 'answered' then
  put('width', math.max(1, q.width * 0.95))
  if probe then
    put('shut', 0)
    put('bgshut', 0)
  end
elseif verdict == 'throttled' then
  put('paused', math.max(q.paused, now + seconds))
  put('width', math.min(WIDTH_MAX, q.width * 2))
elseif verdict == 'exceeded' then
  local ours = (q.day + 1) * DAY - now
  if seconds < 0 then seconds = ours end
  if math.abs(seconds - ours) > CLOCKS_DIFFER then seconds = math.min(seconds, ours) end
  if probe then seconds = math.min(seconds, PROBE_INTERVAL) end
  put('shut', now + seconds)
  put('bgshut', now + seconds + tonumber(ARGV[16]))
  put('probe', '')
end
return close_quota(now, 0, 0)
