-- The news of one account: a stream whose entries are counted, so that whoever reads it sees that one is missing. It
-- is a hint; what is true stands in the hashes. KEYS 1 lease, 2 news.
local NEWS_MAX, NEWS_KEPT_MS = 10000, 3600 * 1000

local function post(kind, member, text)
  local n = redis.call('HINCRBY', KEYS[1], 'news', 1)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', NEWS_MAX, '*', 'n', n, 'k', kind, 'm', member, 'd', text)
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
  redis.call('PEXPIRE', KEYS[2], NEWS_KEPT_MS)
  return n
end

local function holds_lease(member, token)
  local held = redis.call('HMGET', KEYS[1], 'holder', 'token', 'until')
  return held[1] == member and held[2] == token and held[3] ~= '0'
end

-- Where the stream ends: the number and the id of its last entry.
local function end_of_news()
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  return tonumber(redis.call('HGET', KEYS[1], 'news')) or 0, last[1] and last[1][1] or '0-0'
end
