-- Takes one message's slot out of a subject's history.
--
-- KEYS[1]  the subject's slots, as src/caps/packed.rs writes them
-- ARGV[1]  the version expected
-- ARGV[2]  the version after
-- ARGV[3]  the message
--
-- Answers 0: stale; 1: done; 2: no slot of that message.
local HEAD, WIDTH = 32, 73
local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 1, 24) ~= ARGV[1] then return 0 end
local from = HEAD + 9
while true do
  local found = string.find(value, ARGV[3], from, true)
  if not found then return 2 end
  if (found - HEAD - 9) % WIDTH == 0 then
    local rest = string.sub(value, 25, found - 9) .. string.sub(value, found - 8 + WIDTH)
    redis.call('SET', KEYS[1], ARGV[2] .. rest, 'KEEPTTL')
    return 1
  end
  from = found + 1
end
