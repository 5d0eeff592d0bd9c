--- A rule's file, run in an environment of its own. (Until policies are loaded, by a loader of
--- their own: this stands in for it.)
local json = require "unbusy.json"

local guest = {}

local function copy(t)
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  return out
end

local function environment()
  local strings = copy(string)
  strings.dump = nil
  return { assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs,
    select = select, tonumber = tonumber, tostring = tostring, type = type, math = copy(math),
    string = strings, table = copy(table), now = os.time, null = json.null }
end

--- The table that a text returns.
---@return table? functions, string? message
function guest.load(text, name)
  local env = environment()
  local chunk, message
  if setfenv then -- luacheck: ignore 113
    chunk, message = loadstring(text, name) -- luacheck: ignore 113
    if chunk then setfenv(chunk, env) end -- luacheck: ignore 113
  else
    chunk, message = load(text, name, "t", env)
  end
  if not chunk then return nil, message end
  local ok, made = pcall(chunk)
  if not ok or type(made) ~= "table" then return nil, tostring(made) end
  return made
end

--- What a function of the guest's gives: true and its results, or false and what is wrong.
function guest.call(f, ...)
  return pcall(f, ...)
end

return guest
