-- What every script begins with. Times are whole microseconds of the server's clock.
local function clock() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
local function server_run() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '' end

local SECOND = 1000000
local DAY = 86400 * SECOND
local KEPT_MS = 3 * 86400 * 1000       -- after the last use of a key

local function number(value) return string.format('%.17g', value) end
