--- Where a policy comes from: a text, a table of functions; and what it must look like.
local core = require "unbusy.core"
local decisions = require "unbusy.policy.decisions"
local faults = require "unbusy.policy.faults"
local options = require "unbusy.options"
local sandbox = require "unbusy.policy.sandbox"

local source = {}

local MOST = 1024 * 1024 -- bytes of a file
local INSTRUCTIONS, BYTES = 1e7, 32 * 1024 * 1024 -- that the file itself may take, when it is run
local WORDS = 500 -- bytes of a message

--- Why no function may have that name.
---@param name any
---@return string
function source.unknown(name)
  local near = type(name) == "string" and options.nearest(name, decisions.names)
  return ("no decision is called '%s'%s"):format(type(name) == "string" and name or "?",
    near and (", did you mean '%s'?"):format(near) or "")
end

-- The functions of a policy's table, or what is wrong with it, and the line. What is no function
-- and has no name of one is the script's own affair.
local function functions_of(t)
  local out = {}
  for _, name in ipairs(decisions.names) do
    local f = t[name]
    if f ~= nil and type(f) ~= "function" then
      return nil, ("%s: a function expected, got a %s"):format(name, type(f))
    end
    out[name] = f
  end
  for name, value in next, t do
    if type(value) == "function" and not decisions.check[name] then
      return nil, source.unknown(name), debug.getinfo(value, "S").linedefined
    end
  end
  return out
end

-- Why the file itself failed. It has been told nothing yet, so its words may be told.
local function load_fault(name, error_value, why)
  if why or type(error_value) ~= "string" then
    return faults.describe(error_value, why, { file = name, place = name .. ": " })
  end
  return faults.whole(error_value, WORDS)
end

--- The table that a script returns.
---@param text string
---@param name string the file's, for messages
---@param world table see `sandbox.environment`
---@return table? t, string? message
function source.run(text, name, world)
  local chunk, message = sandbox.compile(text, name, sandbox.environment(world))
  if not chunk then return nil, message end
  local raised = world.raised
  local ok, result, why = core.guarded(INSTRUCTIONS, BYTES, chunk)
  world.raised = raised
  if not ok then return nil, load_fault(name, result, why) end
  if type(result) ~= "table" then
    return nil, ("%s: a table of functions expected, got %s"):format(name,
      result == nil and "nothing" or "a " .. type(result))
  end
  return result
end

--- The functions of a script; as `source.run`.
---@return table<string, function>? functions, string? message
function source.of_text(text, name, world)
  local result, message = source.run(text, name, world)
  if not result then return nil, message end
  local functions, wrong, line = functions_of(result)
  if not functions then return nil, ("%s:%s %s"):format(name, line and line .. ":" or "", wrong) end
  return functions
end

--- The functions of the program's own table. On LuaJIT, what they call may be compiled, and is
--- then not stopped.
---@param t table
---@return table<string, function>? functions, string? message
function source.of_table(t)
  local ok, functions, wrong = pcall(functions_of, t)
  if not ok then return nil, "a table of functions expected" end
  for _, f in pairs(functions or {}) do sandbox.interpret(f) end
  return functions, wrong
end

--- The bytes of a script's file, and the stamp that it had before and after they were read (nil
--- where that was not the same).
---@param path string
---@return string? text, string? stamp_or_message
function source.read(path)
  local before, wrong = core.stamp(path)
  if not before then return nil, wrong end
  local f, message = io.open(path, "rb")
  if not f then return nil, message end
  local text
  text, message = f:read(MOST + 1)
  f:close()
  if message then return nil, ("%s: %s"):format(path, message) end
  if text and #text > MOST then return nil, ("%s: larger than %d bytes"):format(path, MOST) end
  return text or "", core.stamp(path) == before and before or nil
end

return source
