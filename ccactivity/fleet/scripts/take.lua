-- Read all that a new poller needs. KEYS 3 members, 4 memo, then what each member watches. ARGV 1 member, 2 token, 3 how
-- many members, then the members. Returns 1, number and id of the last news, the memo, and the watches of each member;
-- or 0 and the members, if they are others than was thought; or -1 if another one polls by now.
if not holds_lease(ARGV[1], ARGV[2]) then return {-1} end
local members = redis.call('ZRANGE', KEYS[3], 0, -1)
table.sort(members)
local same = #members == tonumber(ARGV[3])
for i, member in ipairs(members) do same = same and member == ARGV[3 + i] end
if not same then return {0, members} end
local watches = {}
for i = 1, #members do watches[i] = redis.call('HGETALL', KEYS[4 + i]) end
local n, last = end_of_news()
return {1, n, last, redis.call('GET', KEYS[4]) or '', watches}
