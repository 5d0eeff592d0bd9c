--- The programme: what it may say, where it is kept, and what it says now.
--
-- The JSON lies in shared memory under a version; each worker decodes it once per version.
-- The script's position is a shared count, so that every entry is taken exactly once.
local cjson = require "cjson"
local presets = require "server.presets"
local schema = require "server.schema"

local store = ngx.shared.busyd_programme

local programme = {}

local function with(base, extra)
  local copy = {}
  for name, value in pairs(base) do copy[name] = value end
  for name, value in pairs(extra) do copy[name] = value end
  return copy
end

local seconds = schema.number(0)

local latency_object = schema.object {
  kind = schema.one_of("fixed", "uniform", "exponential", "lognormal", "bimodal"),
  mean = seconds, min = seconds, max = seconds, sigma = schema.number(0, 10),
  p = schema.number(0, 1), slow = seconds,
}
local NEEDED = {
  fixed = { "mean" }, uniform = { "min", "max" }, exponential = { "mean" },
  lognormal = { "mean" }, bimodal = { "mean", "slow", "p" },
}

local function latency(value, where)
  if type(value) == "number" then return seconds(value, where) end
  local problem = latency_object(value, where)
  if problem then return problem end
  for _, name in ipairs(NEEDED[value.kind or "fixed"]) do
    if not value[name] then
      return ("%s.%s: needed by kind %s"):format(where, name, value.kind or "fixed")
    end
  end
end

local answer = schema.object {
  text = schema.string, tokens = schema.integer(0, 1e6), chunks = schema.integer(1, 1e6),
  reasoning = schema.either("true, false or a string", schema.boolean, schema.string),
  tool_calls = schema.list(schema.object {
    id = schema.string, name = schema.string,
    arguments = schema.either("a string or an object", schema.string, schema.map(schema.any)),
  }),
  finish_reason = schema.string, cached_tokens = schema.integer(0),
  dimensions = schema.integer(1, 10000), continues = schema.boolean,
  repeats = schema.integer(0, 1e6), lead = schema.string,
}

local scalar = schema.either("a string or a number", schema.string, schema.number(-math.huge))

local SPEC = {
  preset = schema.one_of(unpack(presets.names)), status = schema.integer(100, 999),
  headers = schema.map(schema.either("a string or a list of strings", schema.string,
    schema.list(schema.string))),
  body = schema.string, json = schema.any, retry_after = scalar, retry_after_ms = scalar,
  latency = latency, answer = answer,
}

-- An answer spec: the fields of all specs and those of its own preset.
local function spec(value, where)
  local name = type(value) == "table" and value.preset
  local of_preset = presets.fields[name or "ok"]
  if not of_preset then return SPEC.preset(name, where .. ".preset") end
  return schema.object(with(SPEC, of_preset))(value, where)
end

local item_object = schema.object { match = schema.string, error = schema.map(schema.any),
  whole = spec }

-- One of `items`.
local function item(value, where)
  return item_object(value, where) or not value.match and where .. ".match: needed" or nil
end

local CHANGEABLE = {
  capacity = schema.integer(0), queue = schema.integer(0), when_full = spec,
  queue_sign = schema.one_of("silent", "keepalive"), keepalive_every = schema.number(0.001),
  per_key = schema.boolean, capacities = schema.map(schema.integer(0)),
  latency = latency, token_interval = seconds, answer = answer,
  faults = schema.list(schema.object { share = schema.number(0, 1), answer = spec }),
  items = schema.list(item), latency_per_item = seconds,
}

local check = schema.object(with(CHANGEABLE, {
  schedule = schema.list(schema.object(with(CHANGEABLE, { at = seconds }), true)),
  repeat_every = schema.number(0.001), script = schema.list(spec), seed = schema.integer(0),
  log = schema.boolean, track = schema.boolean, reset = schema.boolean,
}))

local DEFAULTS = {
  queue = 0, queue_sign = "silent", keepalive_every = 0.1, token_interval = 0, seed = 1,
  when_full = { preset = "busy_503" }, answer = {}, faults = {}, script = {}, capacities = {},
  items = {}, latency_per_item = 0,
}

-- The programme as it stands from each entry of the schedule on: { at, fields }.
local function phases(base)
  local list, fields = { { at = 0, fields = base } }, base
  for _, entry in ipairs(base.schedule or {}) do
    fields = with(fields, entry)
    for name, value in pairs(fields) do
      if value == cjson.null then fields[name] = DEFAULTS[name] end
    end
    list[#list + 1] = { at = entry.at or 0, fields = fields }
  end
  return list
end

local current = { version = 0 }

local function load()
  local version = store:get "version" or 0
  if version ~= current.version or not current.phases then
    local kept = cjson.decode(store:get("json " .. version) or "{}")
    current = {
      version = version, since = store:get("since " .. version) or 0,
      repeat_every = kept.repeat_every, phases = phases(with(DEFAULTS, kept)),
    }
  end
  return current
end

--- What the programme says at this moment: its fields, with the defaults and the schedule applied.
function programme.now()
  local known = load()
  local list = known.phases
  if not list[2] then return list[1].fields end
  local elapsed, found = ngx.now() - known.since, list[1]
  if known.repeat_every then elapsed = elapsed % known.repeat_every end
  for _, phase in ipairs(list) do
    if phase.at <= elapsed then found = phase end
  end
  return found.fields
end

-- Entries of a schedule are given in the order of time.
local function ordered(schedule)
  for i = 2, #(schedule or {}) do
    if (schedule[i].at or 0) < (schedule[i - 1].at or 0) then
      return ("schedule[%d].at: earlier than the entry before it"):format(i)
    end
  end
end

--- Replaces the programme.
---@param json string
---@return table? programme, string? problem  naming the field
function programme.set(json)
  local ok, value = pcall(cjson.decode, json)
  if not ok or type(value) ~= "table" then return nil, "the programme is not a JSON object" end
  local problem = check(value, "") or ordered(value.schedule)
  if problem then return nil, problem end
  local version = store:incr("last version", 1, 0)
  ngx.update_time()
  assert(store:set("json " .. version, json))
  assert(store:set("since " .. version, ngx.now()))
  store:set("scripted " .. version, 0)
  store:set("version", version)
  for _, name in ipairs { "json ", "since ", "scripted " } do
    store:delete(name .. version - 2)  -- the last one may still be on its way to another worker
  end
  return value
end

--- The current programme as it was sent.
function programme.json()
  return store:get("json " .. (store:get "version" or 0)) or "{}"
end

--- The next entry of the script, or nil when it is used up.
function programme.next_scripted(fields)
  if #fields.script == 0 then return nil end
  return fields.script[store:incr("scripted " .. load().version, 1, 0)]
end

--- How many entries of the script are left.
function programme.script_left()
  local known = load()
  local used = store:get("scripted " .. known.version) or 0
  return math.max(0, #known.phases[1].fields.script - used)
end

--- Starts the script again.
function programme.rewind()
  store:set("scripted " .. load().version, 0)
end

return programme
