--- What the header of a trace may say, as schemas (see `unbusy.options`).
--
-- A header line is `#: ` and a JSON object with one of: `trace` (of the whole), `calls` (of all
-- calls), `target` (of one target, from the beginning or from `at` on).
local chance = require "unbusy.simulate.chance"
local config = require "unbusy.config"
local json = require "unbusy.json"
local options = require "unbusy.options"

local schema = {}

local MOST_SECONDS = 1e6

local seconds = { type = "number", min = 0, max = MOST_SECONDS }

--- A distribution of seconds.
schema.distribution = {
  kind = { type = "string", default = "fixed",
    one_of = { "fixed", "uniform", "exponential", "lognormal", "bimodal" } },
  mean = seconds, min = seconds, max = seconds, slow = seconds,
  sigma = { type = "number", min = 0, max = 10 }, p = { type = "number", min = 0, max = 1 },
}

local function duration(default, doc)
  return { type = "number|table", default = default, min = 0, max = MOST_SECONDS,
    distribution = true, doc = doc }
end

-- What a failure looks like.
local function failure(more)
  local fields = {
    status = { type = "whole", default = 503, min = 0, max = 599,
      doc = "of HTTP; 0: the connection does not come about" },
    retry_after = { type = "number", min = 0, max = MOST_SECONDS, doc = "of its header" },
    latency = duration(0, "until it is there"),
  }
  for name, field in pairs(more) do fields[name] = field end
  return fields
end

--- A target, or what changes there at a time.
schema.target = {
  target = { type = "string", required = true, doc = "its name" },
  at = { type = "number", min = 0, max = 1e7, doc = "from when on; the beginning" },
  capacity = { type = "whole", min = 0, max = 1e6, doc = "calls in service at once; no limit" },
  queue = { type = "whole", default = 0, min = 0, max = 1e6, doc = "places in its own line" },
  queue_sign = { type = "string", default = "silent", one_of = { "silent", "keepalive" },
    doc = "what those in line see" },
  keepalive_every = { type = "number", default = 1, min = 0.001, max = 1e6,
    doc = "seconds between keep-alives" },
  when_full = { type = "table", fields = failure {}, doc = "what the others get" },
  latency = duration(1, "from the place to the first byte of answer"),
  writing = duration(0, "from there to the last byte"),
  faults = { type = "list", default = {}, max = 100, doc = "what befalls a share of those let in",
    each = { type = "table", fields = failure {
      share = { type = "number", required = true, min = 0, max = 1 },
      cut = { type = "number", min = 0, max = 1,
        doc = "it begins well, and breaks off behind this share of its writing" } } } },
  weak = { type = "number", default = 0, min = 0, max = 1,
    doc = "share of its answers that are poor ones: cut for their length" },
  pool = { type = "string", doc = "of the client's targets; from the beginning" },
  price = { type = "table", fields = config.price, optional = true,
    doc = "for 1,000,000 tokens; from the beginning" },
}

--- All calls.
schema.calls = {
  deadline = { type = "number", default = 30, above = 0, max = 1e6,
    doc = "seconds that a caller waits" },
  kind = { type = "string", default = "chat", one_of = { "chat", "complete", "embed" } },
  stream = { type = "number", default = 0, min = 0, max = 1, doc = "share asked as a stream" },
  hard = { type = "number", default = 0, min = 0, max = 1,
    doc = "share of the questions that begin with `explain why`" },
  model = { type = "string", default = "simulated", doc = "that is asked for" },
  questions = { type = "whole", default = 0, min = 0, max = 1e6,
    doc = "how many different ones there are, the n-th asked in 1/n of the cases; 0: all differ" },
  prompt_tokens = { type = "whole", default = 200, min = 0, max = 1e7, doc = "of a question" },
  completion_tokens = { type = "whole", default = 300, min = 0, max = 1e7, doc = "of its answer" },
}

--- The trace.
schema.trace = {
  version = { type = "whole", default = 1, min = 1, max = 1 },
  seed = { type = "whole", default = 1, min = 0, max = 2 ^ 31, doc = "of the model's chance" },
  start = { type = "number", default = 1767576600, min = 0, max = 1e11,
    doc = "the Unix time of its beginning, for those who look at the clock" },
}

-- {== Checking ============================================================

-- What one field alone cannot show of a distribution.
local function check_duration(value, where)
  if type(value) == "number" then return value end
  local o, message = options.field({ type = "table", fields = schema.distribution }, value, where)
  if not o then return nil, message end
  for _, name in ipairs(chance.needs[o.kind]) do
    if not o[name] then
      return nil, ("%s.%s is missing, for kind %s"):format(where, name, o.kind)
    end
  end
  if o.min and o.max and o.min > o.max then
    return nil, ("%s: min is above max"):format(where)
  end
  return o
end

-- The fields of `fields` that are distributions, replaced by checked ones; a message, or nil.
local function check_durations(fields, value, where)
  for name, field in pairs(fields) do
    if field.distribution and value[name] ~= nil then
      local message
      value[name], message = check_duration(value[name], where .. name)
      if message then return message end
    end
  end
end

local function check_status(value, where)
  if value.status ~= 0 and value.status < 300 then
    return ("%s.status: 0 or 300 to 599 expected"):format(where)
  end
end

local function check_failures(value)
  local fields = schema.target.when_full.fields
  local message = check_durations(fields, value.when_full, "when_full.")
    or check_status(value.when_full, "when_full")
  local sum = 0
  for i, fault in ipairs(value.faults) do
    local where = ("faults[%d]"):format(i)
    sum = sum + fault.share
    message = message or check_durations(fields, fault, where .. ".") or check_status(fault, where)
  end
  return message or sum > 1 + 1e-9 and "faults: shares of more than 1 in all" or nil
end

--- Whether a name can stand for a target: 1 to 64 bytes of UTF-8, no control characters.
function schema.is_name(name)
  return #name >= 1 and #name <= 64 and not name:find "[%z\1-\31\127]" and json.is_utf8(name)
end

--- A target's phase, checked and with its defaults.
---@param given table
---@return table? phase, string? message
function schema.phase(given)
  local value, message = options.field({ type = "table", fields = schema.target }, given, "target")
  if not value then return nil, message end
  if not schema.is_name(value.target) then
    return nil, "target: 1 to 64 characters expected, none of them a control character"
  end
  message = check_durations(schema.target, value, "") or check_failures(value)
  if message then return nil, message end
  return value
end

--- What one header line of calls or the trace says, checked.
---@param what "calls"|"trace"
---@param given any
---@return table? value, string? message
function schema.part(what, given)
  return options.field({ type = "table", fields = schema[what] }, given, what)
end

-- }========================================================================

return schema
