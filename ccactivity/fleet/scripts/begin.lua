-- What a member needs that begins, or begins again. KEYS 3 what it watches, as far as the server knows. Returns the number
-- and the id of the last news, and the ids.
local n, last = end_of_news()
return {n, last, redis.call('HKEYS', KEYS[3])}
