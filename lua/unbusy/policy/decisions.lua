--- The decisions that a script may take: of each function what it is given, and what it may say.
--
-- | function | is given | says | nil |
-- |---|---|---|---|
-- | `classify` | try | a code of the upstream's | the built-in code |
-- | `retry` | try | seconds to wait, 0 and more, or "default" | no more |
-- | `route` | request, targets | a target's name, or a list of them in order | built-in |
-- | `queued` | try | "wait", "switch" or "hedge" | built-in |
-- | `hedge` | try | seconds until a second try elsewhere | none |
-- | `accept` | request, reply | true, or false for a poor answer | built-in |
-- | `resume` | request, so_far | "prefix" or "prompt", or false: report the cut | built-in |
-- | `normalise` | request | the table that counts as the question | the request |
-- | `cache` | request | seconds to keep it, true, false, `{ ttl =, tags =, tools = }` | built-in |
-- | `batch` | request | `{ key =, max =, window =, endpoint =, rule = }`, or false | built-in |
-- | `merge` | requests | one request, and a path if it is another one | a fault |
-- | `split` | body, requests | a list of answers, in order | a fault |
-- | `fallback` | request, failure | a text, a table, or false for none | built-in |
-- | `peak` | request | true in hours in which it is not to be asked ahead of time | false |
--
-- A check gives true and what is decided (checked, tables copied); or false: let the built-in
-- decision be taken; or nil and what is wrong.
local fallback_options = require "unbusy.fallback.options"
local plain = require "unbusy.policy.plain"

local decisions = {}

--- What a route is told of a name that no target has.
decisions.NO_TARGET = "no target has that name"

local LONGEST = 1e6 -- seconds of any wait
local MOST = 10000  -- calls in one batch
local VALUES = 4e6  -- in what a batch is split into: 2000 embeddings of 2000 numbers

local function seen(value)
  local kind = type(value)
  if kind == "number" then return ("%.14g"):format(value) end
  return kind == "nil" and "nothing" or kind == "boolean" and tostring(value) or "a " .. kind
end

local function wants(what, value)
  return nil, ("%s expected, got %s"):format(what, seen(value))
end

local function word(words)
  local set, list = {}, {}
  for i, one in ipairs(words) do set[one], list[i] = true, ('"%s"'):format(one) end
  local what = "one of " .. table.concat(list, ", ")
  return function(value)
    if value == nil then return false end
    if set[value] then return true, value end
    if type(value) == "string" then return nil, what .. " expected, got another text" end
    return wants(what, value)
  end
end

local function is_finite(value)
  return type(value) == "number" and value - value == 0
end

local function is_wait(value)
  return is_finite(value) and value >= 0 and value <= LONGEST
end

local WAIT = ("seconds from 0 to %d"):format(LONGEST)

local function retry(value)
  if value == "default" then return false end
  if value ~= nil and not is_wait(value) then return wants(WAIT .. ', "default" or nil', value) end
  return true, value
end

local function hedge(value)
  if value == nil or is_wait(value) then return true, value end
  return wants(WAIT .. " or nil", value)
end

-- Those that may be named: all of the client's, since the call may have ruled out some. Not what
-- the script was given, which it may have changed; only where no call asks.
local function known_names(call, targets)
  local known = {}
  for _, target in ipairs(call and call.client.targets or targets) do known[target.name] = true end
  return known
end

-- A list of names, each once.
local function route(value, _, call, _, targets)
  if value == nil then return false end
  local list, out = type(value) == "string" and { value } or value, {}
  if type(list) ~= "table" then return wants("a name or a list of names", value) end
  local known = known_names(call, targets)
  for i, name in ipairs(list) do
    if type(name) ~= "string" then return wants(("a name at place %d"):format(i), name) end
    if known[name] == nil then return nil, ("place %d: %s"):format(i, decisions.NO_TARGET) end
    if known[name] then out[#out + 1] = name end
    known[name] = false
  end
  if not out[1] then return nil, "a list of at least one name expected" end
  return true, out
end

local function yes_or_no(value)
  if value == nil then return false end
  if type(value) ~= "boolean" then return wants("true or false", value) end
  return true, value
end

local says_how = word { "prefix", "prompt" }

local function resume(value)
  if value == false then return true, false end
  return says_how(value)
end

local function copied(value, most)
  local copy, wrong = plain.strict(value, most)
  if wrong then return nil, "plain data expected, got " .. wrong end
  return true, copy
end

local function normalise(value)
  if value == nil then return false end
  if type(value) ~= "table" then return wants("a table", value) end
  return copied(value)
end

local function is_time(value)
  return is_finite(value) and value > 0 and value <= 1e9
end

local MOST_TAGS = 10

-- A list of short texts, copied; or nil and what is wrong.
local function copied_tags(value)
  if type(value) ~= "table" then return wants("tags: a list", value) end
  local out = {}
  for i, tag in ipairs(value) do
    if type(tag) ~= "string" then return wants(("tags: a text at place %d"):format(i), tag) end
    if tag == "" or #tag > 64 or tag:find "[%z\1-\31\127]" then
      return nil, "tags: texts of 1 to 64 bytes without control characters expected"
    end
    out[i] = tag
  end
  if #out > MOST_TAGS then return nil, ("tags: at most %d expected"):format(MOST_TAGS) end
  return out
end

-- The form of it that says more than how long.
local function cache_table(value)
  local ttl, tags = value.ttl, nil
  if ttl == nil and value.tags == nil and value.tools == nil then
    return nil, "ttl, tags or tools expected, got none of them"
  elseif ttl ~= nil and not is_time(ttl) then
    return wants("ttl: seconds above 0", ttl)
  elseif value.tools ~= nil and type(value.tools) ~= "boolean" then
    return wants("tools: true or false", value.tools)
  end
  if value.tags ~= nil then
    local wrong
    tags, wrong = copied_tags(value.tags)
    if not tags then return nil, wrong end
  end
  return true, { ttl = ttl, tags = tags, tools = value.tools or false }
end

local function cache(value)
  if value == nil then return false end
  if type(value) == "boolean" or is_time(value) then return true, value end
  if type(value) == "table" then return cache_table(value) end
  return wants("seconds above 0, true or false", value)
end

local function is_whole(value, least, most)
  return is_finite(value) and value == math.floor(value) and value >= least and value <= most
end

-- Of `batch`: a name of a shipped rule, or what may go together.
local function wrong_batch(value)
  if value.rule ~= nil and type(value.rule) ~= "string" then
    return wants("rule: a name", value.rule)
  elseif value.rule == nil and value.key == nil then
    return wants("key: a text or a table", nil)
  elseif value.max ~= nil and not is_whole(value.max, 1, MOST) then
    return wants(("max: a whole number from 1 to %d"):format(MOST), value.max)
  elseif value.window ~= nil and not is_wait(value.window) then
    return wants("window: " .. WAIT, value.window)
  elseif value.endpoint ~= nil and type(value.endpoint) ~= "boolean" then
    return wants("endpoint: true or false", value.endpoint)
  end
end

local function batch(value)
  if value == nil then return false end
  if value == false then return true, false end
  if type(value) ~= "table" then return wants("a table, false or nil", value) end
  local _, wrong = wrong_batch(value)
  if wrong then return nil, wrong end
  local ok, key = true, nil
  if value.key ~= nil then ok, key = copied(value.key) end
  if not ok then return nil, "key: " .. key end
  return true, { key = key, max = value.max, window = value.window, rule = value.rule,
    endpoint = value.endpoint }
end

local function merge(value, path)
  if type(value) ~= "table" then return wants("a request", value) end
  if path ~= nil and not (type(path) == "string" and path:find "^/[^%c%s#]*$") then
    return nil, "a path that starts with / expected"
  end
  local ok, copy = copied(value)
  return ok, copy, path
end

-- What is wrong with a list that must have an answer for each request.
local function wrong_count(list, count)
  local given = 0
  for _ in next, list do given = given + 1 end
  for i = 1, count do
    if type(list[i]) ~= "table" then return wants("an answer at place " .. i, list[i]) end
  end
  if given > count then return nil, ("%d answers expected, got more"):format(count) end
end

-- `requests` are those that were asked.
local function split(value, _, _, _, requests)
  if type(value) ~= "table" then return wants("a list of answers", value) end
  if requests then
    local _, wrong = wrong_count(value, #requests)
    if wrong then return nil, wrong end
  end
  return copied(value, VALUES)
end

-- What it is, and the plan that it makes, see `unbusy.fallback.options`. Without a call any pool
-- and model may be, and no word of a prompt is in it.
local function fallback(value, _, call)
  if value == nil then return false end
  if value == false then return true, false end
  local plan, message = fallback_options.read(value,
    { pools = call and call.client.pools, cache = true,
      discreet = call ~= nil and not call.is_sample })
  if not plan then return nil, message end
  return true, type(value) == "table" and plain.lenient(value) or value, plan
end

--- The codes that a script may give a try.
decisions.codes = { "busy", "limited", "quota", "auth", "invalid", "timeout", "network", "tls",
  "cut", "empty", "upstream" }

--- Function -> what checks what it says: `check(value, second, call, …)`, `…` being what it was
--- given.
decisions.check = {
  classify = word(decisions.codes), retry = retry, route = route,
  queued = word { "wait", "switch", "hedge" }, hedge = hedge, accept = yes_or_no,
  resume = resume, normalise = normalise, cache = cache, batch = batch,
  merge = merge, split = split, fallback = fallback, peak = yes_or_no,
}

--- Decisions about one try, which its target's own policy may take.
decisions.of_try = { classify = true, retry = true, queued = true, hedge = true, resume = true }

--- Their names, sorted.
decisions.names = {}
for name in pairs(decisions.check) do decisions.names[#decisions.names + 1] = name end
table.sort(decisions.names)

return decisions
