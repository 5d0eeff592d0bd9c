--- How many calls and tokens a client key has had in the last minute.
--
-- Two minutes are counted, this one and the one before, of which as much counts as still lies
-- within sixty seconds: so no minute's end lets twice as many through.
local clock = require "unbusy.clock"

local quotas = {}
quotas.__index = quotas

local WINDOW = 60

--- Counts nothing yet.
---@param now function? gives seconds
function quotas.new(now)
  return setmetatable({ now = now or clock, counts = {} }, quotas)
end

-- The count under a name, moved on to the minute of now.
local function count_of(self, name, now)
  local minute = math.floor(now / WINDOW)
  local c = self.counts[name]
  if not c then
    c = { minute = minute, this = 0, last = 0 }
    self.counts[name] = c
  end
  if c.minute ~= minute then
    c.last = c.minute == minute - 1 and c.this or 0
    c.minute, c.this = minute, 0
  end
  return c
end

-- What counts at `now`, and the seconds until there is room for `more`.
local function room(c, now, most, more)
  local past = now % WINDOW
  local used = c.this + c.last * (1 - past / WINDOW)
  if used + more <= most then return true end
  local left = WINDOW - past -- this minute's end
  if c.this + more <= most and c.last > 0 then
    return false, (used + more - most) / c.last * WINDOW
  elseif c.this == 0 then
    return false, left
  end
  return false, left + math.max(0, (c.this + more - most) / c.this) * WINDOW
end

-- Is there room for one more? The count, or a refusal.
local function look(self, key, what)
  local now, most = self.now(), key[what]
  local c = count_of(self, what .. " " .. key.name, now)
  local fine, seconds = room(c, now, most, 1)
  if fine then return c end
  return nil, ("this key may have %.0f %s a minute"):format(most, what), seconds
end

--- May a call be made for this key? It counts when it may.
---@param key table { name =, calls =, tokens = }
---@return boolean? true, string? message, number? seconds until it may
function quotas:take(key)
  for _, what in ipairs { "tokens", "calls" } do
    if key[what] then
      local c, message, seconds = look(self, key, what)
      if not c then return nil, message, seconds end
      if what == "calls" then c.this = c.this + 1 end
    end
  end
  return true
end

--- A call of this key's has used so many tokens.
---@param key table
---@param tokens number
function quotas:spend(key, tokens)
  if not key.tokens then return end
  local c = count_of(self, "tokens " .. key.name, self.now())
  c.this = c.this + tokens
end

return quotas
