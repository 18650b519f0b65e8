-- Checks every limit over one subject's slots and takes one, all or nothing.
--
-- KEYS[1]  the subject's slots, as src/caps/packed.rs writes them: version (24 bytes), since (double), then records of
--          73 bytes, oldest first: instant (double), message (16), channel (1), topic (16), campaign (16),
--          enrollment (16)
-- ARGV[1]  the version expected
-- ARGV[2]  the version after, or empty where the message only asks
-- ARGV[3]  the record wished for
-- ARGV[4]  the instant after which the history must be whole (double), then the limits, 29 bytes each: kind (1),
--          room (4), since (double), length of a rolling window or 0 (double), end of a calendar window (double)
-- ARGV[5]  milliseconds to keep the value
--
-- Answers 0: stale; 1: granted; {2, at}: granted before; {3, at}: the last slot is later;
-- {4, limit, frees at or -1, used}: full, by the used slots (instant and message of each).
local HEAD, WIDTH, LIMIT = 32, 73, 29
local sub, unpack = string.sub, struct.unpack

local value = redis.call('GET', KEYS[1])
if not value or sub(value, 1, 24) ~= ARGV[1] then return 0 end
local size, wish = #value, ARGV[3]
if size < HEAD or (size - HEAD) % WIDTH ~= 0 then return 0 end

local message, from = sub(wish, 9, 24), HEAD + 9
while true do
  local found = string.find(value, message, from, true)
  if not found then break end
  if (found - HEAD - 9) % WIDTH == 0 then return {2, (unpack('>d', value, found - 8))} end
  from = found + 1
end

local last = size - WIDTH + 1
if last > HEAD then
  local at = unpack('>d', value, last)
  if at > unpack('>d', wish) then return {3, at} end
end
local known, needed = unpack('>d', value, 25), unpack('>d', ARGV[4])
if known > needed then return 0 end

local n = (#ARGV[4] - 8) / LIMIT
local kinds, rooms, sinces, counts, floor = {}, {}, {}, {}, math.huge
for i = 1, n do
  kinds[i], rooms[i], sinces[i] = unpack('>BI4d', ARGV[4], 9 + (i - 1) * LIMIT)
  counts[i] = 0
  if kinds[i] == 4 then floor = -math.huge elseif sinces[i] < floor then floor = sinces[i] end
end

-- Where the field a kind is about stands in a record; kind 0 counts all.
local FIRST, LAST = {25, 26, 42, 42}, {25, 41, 57, 57}
local function same(kind, at)
  return kind == 0 or sub(value, at + FIRST[kind] - 1, at + LAST[kind] - 1) == sub(wish, FIRST[kind], LAST[kind])
end

-- Whether the record at a stands before that at b: of one instant, by message.
local function before(a, b)
  if sub(value, a, a + 7) ~= sub(value, b, b + 7) then return false end
  for i = 8, 23 do
    local x, y = string.byte(value, a + i), string.byte(value, b + i)
    if x ~= y then return x < y end
  end
  return false
end

-- The first send of each enrollment of the candidate's campaign, or nil where its own has sent before.
local function first_sends()
  local own, first = sub(wish, 58, 73), {}
  for at = HEAD + 1, last, WIDTH do
    if same(4, at) then
      local enrollment = sub(value, at + 57, at + 72)
      if enrollment == own then return nil end
      if not first[enrollment] or before(at, first[enrollment]) then first[enrollment] = at end
    end
  end
  return first
end

-- The places of the slots a limit counts, oldest first; nil where the candidate passes.
local function used(i)
  local places, first = {}, nil
  if kinds[i] == 4 then
    first = first_sends()
    if not first then return nil end
  end
  for at = HEAD + 1, last, WIDTH do
    if unpack('>d', value, at) >= sinces[i] then
      if first then
        if same(4, at) and first[sub(value, at + 57, at + 72)] == at then places[#places + 1] = at end
      elseif same(kinds[i], at) then
        places[#places + 1] = at
      end
    end
  end
  return places
end

-- One pass, newest first, counts for every limit that counts messages.
for at = last, HEAD + 1, -WIDTH do
  local instant = unpack('>d', value, at)
  if instant < floor then break end
  for i = 1, n do
    if instant >= sinces[i] and kinds[i] ~= 4 and same(kinds[i], at) then counts[i] = counts[i] + 1 end
  end
end

local worst, worst_frees, worst_places = nil, nil, nil
for i = 1, n do
  local places
  if kinds[i] == 4 then
    places = used(i)
    counts[i] = places and #places or -1
  end
  if counts[i] >= rooms[i] then
    places = places or used(i)
    local too_many = counts[i] + 1 - rooms[i]
    local frees = math.huge
    if too_many <= counts[i] then
      local length, ends = unpack('>dd', ARGV[4], 9 + (i - 1) * LIMIT + 13)
      frees = length > 0 and unpack('>d', value, places[too_many]) + length or ends
    end
    if not worst or frees > worst_frees then worst, worst_frees, worst_places = i, frees, places end
  end
end
if worst then
  local by = {}
  for j, at in ipairs(worst_places) do by[j] = sub(value, at, at + 23) end
  return {4, worst - 1, worst_frees == math.huge and -1 or worst_frees, table.concat(by)}
end

if ARGV[2] ~= '' then
  local keep = HEAD + 1
  while keep <= last and unpack('>d', value, keep) <= needed do keep = keep + WIDTH end
  redis.call('SET', KEYS[1], ARGV[2] .. struct.pack('>d', needed) .. sub(value, keep) .. wish, 'PX', ARGV[5])
end
return 1
