-- types.lua: the Lua language server's notation of types, parsed.
--
--   string?   "a"|"b"   integer[]   table<string, boolean>   { at: number, [1]: string }
--   fun(a: string, b?: number, ...: any): boolean, string?
local types = {}

local builtin = {}
for name in ([[nil any boolean string number integer function table thread userdata lightuserdata
  true false unknown self ffi.cdata*]]):gmatch "%S+" do builtin[name] = true end

local parse_union

local function skip(text, at) return text:find("%S", at) or #text + 1 end

-- The place behind `what`, where it stands at `at` or after blanks.
local function accept(text, at, what)
  at = skip(text, at)
  if text:sub(at, at + #what - 1) == what then return at + #what end
end

local function fail(text, at, wanted)
  return nil, ("%s expected at '%s'"):format(wanted, text:sub(at, at + 20))
end

-- A list of what `one` parses, between commas, until `close`.
local function parse_list(text, at, close, one)
  local out = {}
  local done = accept(text, at, close)
  while not done do
    local item, after = one(text, at)
    if not item then return nil, after end
    out[#out + 1] = item
    done = accept(text, after, close)
    at = not done and accept(text, after, ",") or after
    if not done and at == after then return fail(text, after, "',' or '" .. close .. "'") end
    done = done or accept(text, at, close)
  end
  return out, done
end

-- name[?]: type, or (in a function's parameters) a name alone
local function parse_named(text, at)
  at = skip(text, at)
  local name, after = text:match("^([%a_][%w_]*)%??()", at)
  if not name then name, after = text:match("^(%.%.%.)()", at) end
  if not name then return fail(text, at, "a name") end
  local colon = accept(text, after, ":")
  if not colon then return { kind = "name", name = "any" }, after end
  return parse_union(text, colon)
end

-- name: type, or [type]: type, or a type alone
local function parse_member(text, at)
  local bracket = accept(text, at, "[")
  if not bracket then
    if text:find("^%s*[%a_][%w_]*%??%s*:", at) then return parse_named(text, at) end
    return parse_union(text, at)
  end
  local key, after = parse_union(text, bracket)
  if not key then return nil, after end
  local colon = accept(text, after, "]")
  colon = colon and accept(text, colon, ":")
  if not colon then return fail(text, after, "']:'") end
  local value, last = parse_union(text, colon)
  if not value then return nil, last end
  return { kind = "pair", key, value }, last
end

local function parse_function(text, at)
  local list, after = parse_list(text, at, ")", parse_named)
  if not list then return nil, after end
  local colon = accept(text, after, ":")
  while colon do -- what it gives
    local kind, last = parse_union(text, colon)
    if not kind then return nil, last end
    list[#list + 1], after = kind, last
    colon = accept(text, after, ",")
    if colon and not text:find("^%s*[%a_\"{(][^%s]*", colon) then colon = nil end
  end
  list.kind = "function"
  return list, after
end

local function parse_unit(text, at)
  at = skip(text, at)
  local quoted, after = text:match("^([\"'].-[\"'])()", at)
  if quoted then return { kind = "literal" }, after end
  after = text:match("^%-?%d+()", at)
  if after then return { kind = "literal" }, after end
  after = text:match("^%.%.%.()", at)
  if after then return { kind = "name", name = "any" }, after end
  if text:find("^fun%(", at) then return parse_function(text, at + 4) end
  if text:sub(at, at) == "{" then
    local list, last = parse_list(text, at + 1, "}", parse_member)
    if list then list.kind = "table" end
    return list, last
  end
  if text:sub(at, at) == "(" then
    local inner, last = parse_union(text, at + 1)
    if not inner then return nil, last end
    last = accept(text, last, ")")
    if not last then return fail(text, at, "')'") end
    return inner, last
  end
  local name
  name, after = text:match("^([%a_][%w_.]*%f[^%w_]%*?)()", at)
  if not name then return fail(text, at, "a type") end
  if text:sub(after, after) ~= "<" then return { kind = "name", name = name }, after end
  local list, last = parse_list(text, after + 1, ">", parse_union)
  if list then list.kind, list.name = "generic", name end
  return list, last
end

-- The place behind "[]" and "?", as often as they come.
local function behind_marks(text, at)
  while true do
    local after = text:match("^%[%]()", at) or text:match("^%?()", at)
    if not after then return at end
    at = after
  end
end

function parse_union(text, at)
  local out = { kind = "union" }
  repeat
    local unit, after = parse_unit(text, at)
    if not unit then return nil, after end
    out[#out + 1] = unit
    at = behind_marks(text, after)
    local bar = text:match("^%s*|%s*()", at)
    if bar then at = bar end
  until not bar
  return out, at
end

--- Parses the type that a text begins with.
---@param text string
---@return table? tree, integer|string last place behind it, or what is wrong
function types.parse(text)
  return parse_union(text, 1)
end

--- The names in a type that no language knows by itself.
---@param tree table
---@return string[]
function types.names(tree)
  local out = {}
  local function walk(node)
    if node.name and not builtin[node.name] then out[#out + 1] = node.name end
    for _, inner in ipairs(node) do walk(inner) end
  end
  walk(tree)
  return out
end

return types
