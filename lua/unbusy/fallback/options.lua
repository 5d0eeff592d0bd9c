--- What may stand in for an answer: the option `fallback`, and what a policy's `fallback` returns.
--
--     text        "…{code}…"   { text =, reasoning =, finish_reason =, usage =, status = }
--     reply       { reply = { a whole body }, status = }
--     ask         { model = }   { pool = }   { model =, pool = }
--     stale       "stale"   { stale = true }   { stale = seconds }
--     by_code     { by_code = { busy = …, default = … } }
--     by_language { by_language = { zh = …, en = …, default = … } }
--     list        { first, second, … }: until one gives an answer
--     none        false: the failure itself
--
-- Wherever there is "…", any of these may stand. `read` checks all of it and makes a plan: nodes of
-- the same kinds that share nothing with what was given.
local codes = require "unbusy.codes"
local json = require "unbusy.json"
local language = require "unbusy.fallback.language"
local options = require "unbusy.options"
local pools = require "unbusy.pools"
local shape = require "unbusy.shape"
local template = require "unbusy.fallback.template"

local fallback_options = {}

local MOST_BYTES = 1024 * 1024 -- of a text, or of a body as JSON
local MOST_RUNGS = 32          -- of one list
local MOST_NODES = 1000        -- of all
local MOST_DEPTH = 16          -- of tables in each other
local MOST_NAME = 256          -- bytes of a model's name

-- {== Schemas =============================================================

local status = { type = "whole", default = 200, min = 200, max = 599,
  doc = "of the reply, and of the gateway's answer" }
local count = { type = "whole", default = 0, min = 0, max = 2 ^ 53 }

local usage = {
  prompt_tokens = count, completion_tokens = count,
}

--- The options of each kind of table.
fallback_options.schemas = {
  text = {
    text = { type = "string", required = true, doc = "with places for facts: `{code}`" },
    reasoning = { type = "string", doc = "thoughts before it" },
    finish_reason = { type = "string", default = "stop",
      one_of = { "stop", "length", "content_filter" }, doc = "why it ends" },
    usage = { type = "table", fields = usage, doc = "`prompt_tokens` and `completion_tokens`" },
    status = status,
  },
  reply = {
    reply = { type = "table", required = true, doc = "a body as the provider would send it" },
    status = status,
  },
  ask = {
    model = { type = "string", doc = "asks again with this model" },
    pool = { type = "string", doc = "asks again in this pool" },
  },
  stale = {
    stale = { type = "boolean|number", required = true, min = 0, max = 1e9, unit = "s",
      doc = "true: the last good answer; a number: one that is no older" },
  },
  by_code = { by_code = { type = "table", required = true, doc = "code = what stands in" } },
  by_language = {
    by_language = { type = "table", required = true, doc = "language = what stands in" },
  },
}

-- Which field tells which kind of table it is.
local tellers = { { "by_code", "by_code" }, { "by_language", "by_language" }, { "reply", "reply" },
  { "model", "ask" }, { "pool", "ask" }, { "stale", "stale" }, { "text", "text" } }

local field_names = {}
for _, schema in pairs(fallback_options.schemas) do
  for name in pairs(schema) do field_names[#field_names + 1] = name end
end
table.sort(field_names)

-- }========================================================================

local bodiless = { [204] = true, [205] = true, [304] = true } -- HTTP gives them no body

local function status_fault(value, where)
  if bodiless[value] then return ("%s.status: with %d goes no body"):format(where, value) end
end

-- Words that were given, after what they are. A script's may be a prompt's: they are not told.
local function said(state, what, word)
  return state.known.discreet and what or ("%s '%s'"):format(what, tostring(word))
end

local function nearest(word, words)
  local near = type(word) == "string" and options.nearest(word, words)
  return near and (", did you mean '%s'?"):format(near) or ""
end

local function text_fault(text, where)
  if #text > MOST_BYTES then
    return ("%s: at most %d bytes expected, got %d"):format(where, MOST_BYTES, #text)
  end
  if not json.is_utf8(text) then return where .. ": a text in UTF-8 expected" end
end

-- {== Kinds ===============================================================

local read_node
local readers = {}

function readers.text(state, o, where)
  local message = text_fault(o.text, where) or status_fault(o.status, where)
    or o.reasoning and text_fault(o.reasoning, where .. ".reasoning")
  if message then return nil, message end
  local parts
  parts, message = template.compile(o.text, state.known.discreet)
  if not parts then return nil, ("%s: %s"):format(where, message) end
  return { kind = "text", parts = parts, status = o.status, reasoning = o.reasoning,
    finish = o.finish_reason, usage = o.usage }
end

function readers.reply(state, o, where)
  local message = status_fault(o.status, where)
  if message then return nil, message end
  local text
  where = where .. ".reply"
  text, message = json.encode(o.reply)
  if not text then
    return nil, ("%s: %s"):format(where, state.known.discreet and "it is no JSON" or message)
  end
  message = text_fault(text, where)
  if message then return nil, message end
  local kinds, any = {}, false
  for _, kind in ipairs { "chat", "complete", "responses" } do
    kinds[kind] = shape.filled(kind, json.decode(text)) ~= nil
    any = any or kinds[kind]
  end
  if not any then
    return nil, where .. ": a whole answer with choices or an output expected"
  end
  return { kind = "reply", text = text, kinds = kinds, status = o.status }
end

local function model_fault(state, model, pool, where)
  local known = state.known
  local plain = not model:find "[%z\1-\31\127]" and json.is_utf8(model)
  if model == "" or #model > MOST_NAME or not plain then
    return ("%s.model: a name of 1 to %d plain characters expected"):format(where, MOST_NAME)
  end
  local names = known.pools and pools.models(known.pools, pool)
  for _, name in ipairs(names or {}) do
    if name == model then return nil end
  end
  if not names then return nil end
  return ("%s.model: %s%s"):format(where, said(state, "no target has", model)
    .. (known.discreet and " it" or ""), nearest(model, names))
end

function readers.ask(state, o, where)
  local known = state.known
  local message = o.pool and known.pools and pools.fault(known.pools, o.pool, known.discreet)
  if message then return nil, ("%s.pool: %s"):format(where, message) end
  message = o.model and model_fault(state, o.model, o.pool, where)
  if message then return nil, message end
  return { kind = "ask", model = o.model, pool = o.pool }
end

function readers.stale(state, o, where)
  if o.stale == false then return nil, where .. ".stale: true or a number expected" end
  if not state.known.cache then return nil, where .. ": without a cache nothing is stale" end
  state.stale = true
  return { kind = "stale", most = type(o.stale) == "number" and o.stale or nil }
end

-- The nodes of a map, whose names `name_of(state, name)` gives as they are looked up; or what is
-- wrong.
local function read_map(state, map, where, name_of)
  local nodes = {}
  for name, given in pairs(map) do
    local key, message = name_of(state, name)
    if not key then return nil, ("%s: %s"):format(where, message) end
    if nodes[key] then return nil, ("%s: %s"):format(where, said(state, "twice", key)) end
    local at = state.known.discreet and where or ("%s.%s"):format(where, name)
    nodes[key], message = read_node(state, given, at)
    if message then return nil, message end
  end
  if next(nodes) == nil then return nil, where .. ": a table with something in it expected" end
  return nodes
end

-- The codes for which something may stand in, sorted.
local code_words = {}
for word, code in pairs(codes) do
  if code.fallback then code_words[#code_words + 1] = word end
end
table.sort(code_words)

local function code_of(state, name)
  if name == "default" or codes[name] and codes[name].fallback then return name end
  if codes[name] then return nil, ("no fallback stands in for '%s'"):format(name) end
  return nil, said(state, "unknown code", name) .. nearest(name, code_words)
end

local function tag_of(state, name)
  if language.is_tag(name) then return name:lower() end
  return nil, said(state, "no language tag:", name)
end

function readers.by_code(state, o, where)
  local nodes, message = read_map(state, o.by_code, where .. ".by_code", code_of)
  return nodes and { kind = "by_code", nodes = nodes }, message
end

function readers.by_language(state, o, where)
  local nodes, message = read_map(state, o.by_language, where .. ".by_language", tag_of)
  return nodes and { kind = "by_language", nodes = nodes }, message
end

-- }========================================================================

-- {== The tree ============================================================

local function read_list(state, given, where)
  local list, message = options.field({ type = "list", max = MOST_RUNGS }, given, where)
  if not list then return nil, message end
  local node = { kind = "list" }
  for i = 1, #list do
    node[i], message = read_node(state, list[i], ("%s[%d]"):format(where, i))
    if message then return nil, message end
  end
  return node
end

-- Is it a list? nil and a message when it is half of one.
local function is_list(state, given, where)
  local numbers, name
  for key in pairs(given) do
    if type(key) == "number" then numbers = true else name = key end
  end
  if numbers and name ~= nil then
    return nil, ("%s: %s"):format(where, said(state, "a list expected, got key", name))
  end
  return numbers or false
end

-- An option that there is not, among those of `schema`, or of any kind of table.
local function stranger(state, given, schema, where)
  for name in pairs(given) do
    if schema == nil or schema[name] == nil then
      local full = type(name) == "string" and where .. "." .. name or name
      return said(state, "unknown option", full) .. nearest(name, field_names)
    end
  end
end

local function read_fields(state, kind, given, where)
  local schema = fallback_options.schemas[kind]
  local message = stranger(state, given, schema, where)
  if message then return nil, message end
  local o
  o, message = options.field({ type = "table", fields = schema }, given, where)
  if not o then return nil, message end
  return readers[kind](state, o, where)
end

local function read_table(state, given, where)
  local list, message = is_list(state, given, where)
  if message then return nil, message end
  if list then return read_list(state, given, where) end
  for _, teller in ipairs(tellers) do
    if given[teller[1]] ~= nil then return read_fields(state, teller[2], given, where) end
  end
  return nil, stranger(state, given, nil, where) or where .. ".text is missing"
end

-- A table that is being read already stands in itself.
local function read_once(state, given, where)
  if state.within[given] then return nil, where .. ": a table that contains itself" end
  if state.depth >= MOST_DEPTH then
    return nil, ("%s: nested deeper than %d"):format(where, MOST_DEPTH)
  end
  state.within[given], state.depth = true, state.depth + 1
  local node, message = read_table(state, given, where)
  state.within[given], state.depth = nil, state.depth - 1
  return node, message
end

function read_node(state, given, where)
  state.nodes = state.nodes + 1
  if state.nodes > MOST_NODES then
    return nil, ("%s: more than %d parts in all"):format(where, MOST_NODES)
  end
  if given == false then return { kind = "none" } end
  if given == "stale" then return readers.stale(state, { stale = true }, where) end
  if type(given) == "string" then
    return readers.text(state, { text = given, status = 200, finish_reason = "stop" }, where)
  elseif type(given) == "table" then
    return read_once(state, given, where)
  end
  return nil, ("%s: a text or a table expected, got a %s"):format(where, type(given))
end

-- }========================================================================

--- Checks what was given and makes a plan of it.
---@param given any
---@param known table what there is: `pools` (see `unbusy.pools`; nil where any may be), `cache` (is
--- there one?); and `discreet`: no word that was given is told
---@param where string? opens each message
---@return table? plan { root = node, stale = does it say when a stale answer is due? }
---@return string? message what is wrong
function fallback_options.read(given, known, where)
  local state = { known = known, within = {}, depth = 0, nodes = 0, stale = false }
  local root, message = read_node(state, given, where or "fallback")
  if not root then return nil, message end
  return { root = root, stale = state.stale }
end

return fallback_options
