--- Takes entries out of a Redis server, all of them or those with a tag, step by step.
--
--     SCAN ──► names ──► (with a tag: the beginning of each) ──► UNLINK ──► SCAN … till it is round
--
-- The server is asked for some hundred names at a time, so that others have their turn there. What
-- is stored meanwhile may stay or go. There is no index of tags, which a server that evicts could
-- lose: each entry says its tags itself.
local sweep = {}

local COUNT = "500"  -- names that a SCAN looks at
local BEGIN = 296    -- bytes that are read of an entry at first: its head and most tags
local NAME = ("%x"):rep(32) .. "$"

local job = {}
job.__index = job

-- A text as a pattern of Redis' that it alone matches.
local function literal(text)
  return (text:gsub("[%*%?%[%]\\^]", "\\%0"))
end

-- Is it the name of an entry of ours?
local function is_entry(self, name)
  local prefix = self.level.prefix
  return type(name) == "string" and name:sub(1, #prefix) == prefix
    and name:find("^" .. NAME, #prefix + 1) ~= nil
end

local function finish(self, message, code)
  if self.done then return end
  self.done = true
  if self.on_end then self.on_end() end
  self.level:job_done(self.removed, message and { code = code, message = "redis: " .. message })
end

-- Sends a command; `self[step]` is told the reply, and what else is given here.
local function ask(self, step, words, more)
  local reply = {}
  function reply.arrived(_, level, id)
    if self.done or level.closed or not level.link:owned() then
      return finish(self, "it was closed", "closed")
    end
    local ok, value, why = level.link:take(id)
    if ok then return self[step](self, value, more) end
    finish(self, "removing entries: " .. (why or "another process"),
      value == "failed" and why or "upstream")
  end
  if not self.level:command(reply, words) then
    finish(self, "there is no connection", "network")
  end
end

local function scan(self)
  ask(self, "scanned", { "SCAN", self.cursor, "MATCH", literal(self.level.prefix) .. "*", "COUNT",
    COUNT })
end

-- Reads the beginning of an entry, so many bytes.
local function look(self, name, length)
  ask(self, "looked", { "GETRANGE", name, "0", tostring(length - 1) },
    { name = name, length = length })
end

-- What was found is taken out; then it goes on.
local function unlink(self)
  if self.found[1] then
    table.insert(self.found, 1, "UNLINK")
    return ask(self, "unlinked", self.found)
  end
  if self.cursor == "0" then return finish(self) end
  scan(self)
end

function job:unlinked(count)
  self.removed = self.removed + (type(count) == "number" and count or 0)
  self.found = {}
  unlink(self)
end

function job:scanned(reply)
  local cursor, names = nil, nil
  if type(reply) == "table" then cursor, names = reply[1], reply[2] end
  if type(cursor) ~= "string" or type(names) ~= "table" then
    return finish(self, "its answer makes no sense", "upstream")
  end
  self.cursor, self.found, self.looking = cursor, {}, 0
  local of_ours = {}
  for _, name in ipairs(names) do
    if is_entry(self, name) then of_ours[#of_ours + 1] = name end
  end
  if not self.tag then
    self.found = of_ours
    return unlink(self)
  end
  self.looking = #of_ours + 1
  for _, name in ipairs(of_ours) do look(self, name, BEGIN) end
  self:looked_at_one()
end

-- When all of them have been looked at, it goes on.
function job:looked_at_one()
  self.looking = self.looking - 1
  if self.looking == 0 and not self.done then unlink(self) end
end

-- What is shorter than was asked for has no more: it was cut, if it says so.
function job:looked(bytes, asked)
  bytes = type(bytes) == "string" and bytes or ""
  local needed, tags = self.level.tags_of(bytes)
  if needed > #bytes and #bytes == asked.length then return look(self, asked.name, needed) end
  for _, tag in ipairs(tags or {}) do
    if tag == self.tag then
      self.found[#self.found + 1] = asked.name
      break
    end
  end
  self:looked_at_one()
end

--- Begins to take out what a level (`unbusy.caching.redis`) keeps; it is told by `job_done`.
---@param level table
---@param tag string?
---@param on_end function? called when it is over
function sweep.begin(level, tag, on_end)
  level.jobs = level.jobs + 1
  scan(setmetatable({ level = level, tag = tag, cursor = "0", removed = 0, found = {},
    on_end = on_end }, job))
end

return sweep
