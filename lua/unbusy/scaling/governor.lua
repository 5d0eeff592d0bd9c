--- Whether a wish is followed: floor and ceiling, cool-down, and calm before there are fewer.
--
--     vote ──► missing? nothing ──► switched off? nothing ──► floor, ceiling
--          ──► more: unless the last growth is younger than `cool_down`
--          ──► less: to the greatest wish of the last `calm` seconds, `down` at a time
--
-- Pure: time is handed in. What it remembers is a list of the wishes of the last `calm` seconds and
-- two times.
local governor = {}
governor.__index = governor

local max, min = math.max, math.min

--- The options; also read by the command line.
governor.schema = {
  least = { type = "whole", default = 3, min = 1, max = 10000, doc = "replicas at least" },
  most = { type = "whole", default = 15, min = 1, max = 10000, doc = "replicas at most" },
  cool_down = { type = "number", default = 180, min = 0, max = 86400, unit = "s",
    doc = "between two growths: what is new must have had time to start" },
  calm = { type = "number", default = 300, min = 0, max = 86400, unit = "s",
    doc = "that fewer must have been enough, before there are fewer" },
  down = { type = "whole", default = 1, min = 1, max = 10000,
    doc = "replicas fewer at a time" },
  down_every = { type = "number", default = 60, min = 0, max = 86400, unit = "s",
    doc = "between two shrinkings" },
}

--- What is wrong with options that are well each for itself; nil where they fit each other.
---@param o table
---@return string? message
function governor.fault(o)
  if o.most < o.least then return "most: at least as many as least expected" end
end

--- A governor that remembers nothing.
---@param o table options
---@return table
function governor.new(o)
  return setmetatable({ o = o, up_at = nil, down_at = nil, since = nil, wishes = {}, first = 1,
    last = 0 }, governor)
end

-- {== The wishes of the last while ========================================

local function forget(self)
  self.wishes, self.first, self.last, self.since = {}, 1, 0, nil
end

-- Notes a wish; a list in which each is greater than those behind it, so that the first is the
-- greatest of the last `calm` seconds.
local function note(self, now, wish)
  local list = self.wishes
  self.since = self.since or now
  while self.last >= self.first and list[self.last].wish <= wish do
    list[self.last] = nil
    self.last = self.last - 1
  end
  self.last = self.last + 1
  list[self.last] = { at = now, wish = wish }
  while list[self.first].at < now - self.o.calm do
    list[self.first] = nil
    self.first = self.first + 1
  end
  return list[self.first].wish
end

-- }========================================================================

local function hold(n, action, why)
  return { replicas = n, action = action, why = why }
end

local function grow(self, now, n, wish, why)
  local o = self.o
  if n >= o.most then
    return hold(n, "ceiling", ("%s; %d is the most"):format(why, o.most))
  end
  local rest = self.up_at and self.up_at + o.cool_down - now or 0
  if rest > 0 then return hold(n, "cooling", ("%s; %.0f s to cool down"):format(why, rest)) end
  return { replicas = min(wish, o.most), action = "up", why = why }
end

local function shrink(self, now, n, greatest, why)
  local o = self.o
  local since = max(self.since, self.up_at or -math.huge)
  if greatest >= n or now - since < o.calm then
    return hold(n, "calming", why .. "; not for long enough")
  end
  if self.down_at and now - self.down_at < o.down_every then return hold(n, "calming", why) end
  return { replicas = max(greatest, n - o.down, o.least), action = "down", why = why }
end

--- What is to be done. Nothing is taken for done: `done` says that it was.
---@param now number seconds of any clock that does not go back
---@param n integer replicas that are asked for now
---@param vote table { wish =, why = } or { missing = }
---@return table decision { replicas =, why =, action = "up", "down"; or, with the replicas as they
--- are, "hold", "ceiling", "cooling", "calming", "off", "missing" }
function governor:decide(now, n, vote)
  if vote.missing then
    forget(self)
    return hold(n, "missing", vote.missing .. ": not known, so nothing is done")
  end
  if n == 0 then
    forget(self)
    return hold(0, "off", "0 replicas: somebody has switched it off")
  end
  local wish = max(vote.wish, self.o.least)
  local greatest = note(self, now, wish)
  if n > self.o.most then return shrink(self, now, n, min(greatest, self.o.most), vote.why) end
  if wish > n then return grow(self, now, n, wish, vote.why) end
  if wish < n then return shrink(self, now, n, greatest, vote.why) end
  return hold(n, "hold", vote.why)
end

--- A decision has been carried out.
---@param now number
---@param decision table
function governor:done(now, decision)
  if decision.action == "up" then self.up_at = now end
  if decision.action == "down" then self.down_at = now end
end

-- {== Remembering across a restart ========================================

--- What it remembers, with ages (seconds) in place of times.
---@param now number
---@return table memory { up =, down =, since = or nil, wishes = { { age, wish }, … } }
function governor:memory(now)
  local out = { up = self.up_at and now - self.up_at, down = self.down_at and now - self.down_at,
    since = self.since and now - self.since, wishes = {} }
  for i = self.first, self.last do
    local w = self.wishes[i]
    out.wishes[#out.wishes + 1] = { now - w.at, w.wish }
  end
  return out
end

local function is_age(n)
  return type(n) == "number" and n >= 0 and n < math.huge
end

local function is_count(n)
  return is_age(n) and n == math.floor(n) and n < 2 ^ 31
end

-- The wishes, if all of them make sense; a list in which each is greater than those behind it.
local function wishes_of(list, now, gap)
  local out = {}
  if type(list) ~= "table" then return nil end
  for i, w in ipairs(list) do
    if type(w) ~= "table" or not is_age(w[1]) or not is_count(w[2]) then return nil end
    out[i] = { at = now - w[1] - gap, wish = w[2] }
    if i > 1 and (out[i].wish >= out[i - 1].wish or out[i].at < out[i - 1].at) then return nil end
  end
  return out
end

--- Remembers what another has. Wishes of so long ago that the time between is not known, or that
--- make no sense, are forgotten: then the calm begins anew.
---@param now number
---@param memory table as of `memory`; not trusted
---@param gap number seconds since it was written
---@param longest number seconds that may lie between two looks
function governor:remember(now, memory, gap, longest)
  if is_age(memory.up) then self.up_at = now - memory.up - gap end
  if is_age(memory.down) then self.down_at = now - memory.down - gap end
  local wishes = gap <= longest and is_age(memory.since) and wishes_of(memory.wishes, now, gap)
  if not wishes or not wishes[1] then return end
  self.since, self.wishes, self.first, self.last = now - memory.since - gap, wishes, 1, #wishes
end

-- }========================================================================

return governor
