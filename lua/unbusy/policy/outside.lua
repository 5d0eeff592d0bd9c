--- What a script names that its sandbox does not have, in every branch, run or not.
local names = require "unbusy.policy.names"
local options = require "unbusy.options"

local outside = {}

-- What Lua has, and scripts have not; some with what to do instead.
local withheld = {}
for word in ([[_G _VERSION arg bit bit32 collectgarbage coroutine debug dofile ffi getfenv
  getmetatable io jit load loadfile loadstring module newproxy ngx os package pcall print rawequal
  rawget rawlen rawset require setfenv setmetatable unpack warn xpcall]]):gmatch "%S+" do
  withheld[word] = ""
end
withheld._ENV = ": LuaJIT has no such thing"
withheld.os = ": now() gives the time"
withheld.unpack = ": table.unpack does the same"
withheld.pcall = ": where a decision fails, the built-in one is taken"
withheld.xpcall = withheld.pcall

local function sorted_names(t)
  local out = {}
  for name in pairs(t) do out[#out + 1] = name end
  table.sort(out)
  return out
end

local function hint(name, among)
  local near = options.nearest(name, sorted_names(among))
  return near and (", did you mean '%s'?"):format(near) or ""
end

local function unknown(name, env)
  if withheld[name] then return ("'%s' is outside the sandbox%s"):format(name, withheld[name]) end
  return ("nothing is called '%s' here%s"):format(name, hint(name, env))
end

local function unknown_field(name, field, library)
  return ("'%s.%s' is outside the sandbox%s"):format(name, field, hint(field, library))
end

-- Those that the script makes itself: names, and "name.field"s.
local function made_by(found)
  local own = {}
  for _, use in ipairs(found.globals) do
    if use.set and use.name ~= "_ENV" then
      own[use.field and ("%s.%s"):format(use.name, use.field) or use.name] = true
    end
  end
  return own
end

local function fault_of(use, env, own)
  local value = env[use.name]
  if own[use.name] then return nil end
  if value == nil then return unknown(use.name, env) end
  if type(value) == "table" and use.field and value[use.field] == nil
    and not own[("%s.%s"):format(use.name, use.field)] then
    return unknown_field(use.name, use.field, value)
  end
end

local only_in_54 = { ["//"] = true, ["&"] = true, ["|"] = true, ["<<"] = true, [">>"] = true,
  ["~"] = true }

-- The word at place `i` that LuaJIT does not compile, if it is one.
local function new_syntax(list, i)
  local token, word, close = list[i], list[i + 1], list[i + 2]
  if token.kind ~= "operator" then return nil end
  if only_in_54[token.text] then return token.text end
  local attribute = token.text == "<" and close and close.text == ">"
    and (word.text == "const" or word.text == "close") and list[i - 1].kind == "name"
  return attribute and ("<%s>"):format(word.text) or nil
end

--- Looks at a script.
---@param text string that Lua compiles
---@param env table the sandbox's environment
---@return table[] problems { { line =, message = }, … }
---@return table[] notes of the same form: what another Lua would not compile
---@return table<string, integer> fields name -> line where a field of that name was last given
function outside.of(text, env)
  local found, problems, notes = names.of(text), {}, {}
  local own = made_by(found)
  for _, use in ipairs(found.globals) do
    local message = fault_of(use, env, own)
    if message then problems[#problems + 1] = { line = use.line, message = message } end
  end
  for _, use in ipairs(found.methods) do
    if env.string[use.name] == nil then
      local message = unknown_field("string", use.name, env.string)
      problems[#problems + 1] = { line = use.line, message = message }
    end
  end
  for i, token in ipairs(found.tokens) do
    local word = new_syntax(found.tokens, i)
    if word then
      notes[#notes + 1] = { line = token.line,
        message = ("'%s' is not in LuaJIT, which runs policies in nginx"):format(word) }
    end
  end
  return problems, notes, found.fields
end

return outside
