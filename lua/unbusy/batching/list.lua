--- Many requests as a list: all are asked, and each answer or failure stands in its place.
local config = require "unbusy.config"
local crew = require "unbusy.crew"
local headers = require "unbusy.headers"
local json = require "unbusy.json"
local loops = require "unbusy.loops"
local options = require "unbusy.options"

local list = {}

-- Options of one call that make no sense for many.
local of_one = { raw = true, trace = true, upstream_stream = true }

--- Every option of `client:batch`: those of a call, which hold for all of them, and more.
list.schema = {}
for name, field in pairs(config.call) do
  if not of_one[name] then list.schema[name] = field end
end
list.schema.deadline = { type = "number", above = 0, max = 1e7, unit = "s",
  doc = "for all of them together, from now" }
list.schema.at_once = { type = "whole", default = 64, min = 1, max = 1000,
  doc = "calls under way at a time, those in batches included" }
list.schema.model = { type = "string", doc = "for those that name none" }
list.schema.batch = { type = "boolean", default = true, doc = "false: each is asked alone" }

-- {== Requests ============================================================

local function some(value)
  if value ~= json.null then return value end
end

local function copy(t)
  local out = {}
  for k, v in next, t do out[k] = v end
  return out
end

-- A prompt, parameters, and nothing else.
local function is_prompt(item)
  for name in next, item do
    if name ~= "prompt" and name ~= "parameters" then return false end
  end
  return item.prompt ~= nil
end

-- A prompt with its parameters: a chat of one message.
local function of_prompt(item)
  local parameters = some(item.parameters)
  if type(item.prompt) ~= "string" then return nil, "prompt: a text expected", "prompt" end
  if parameters ~= nil and (type(parameters) ~= "table" or parameters[1] ~= nil) then
    return nil, "parameters: an object expected", "parameters"
  end
  local request = copy(parameters or {})
  if request.messages ~= nil or request.prompt ~= nil or request.input ~= nil then
    return nil, "parameters: they hold another request", "parameters"
  end
  request.messages = { { role = "user", content = item.prompt } }
  return request
end

local function kind_of(request)
  if some(request.messages) ~= nil then return "chat" end
  if some(request.input) ~= nil then return "embed" end
  if some(request.prompt) ~= nil then return "complete" end
end

local function fault_of(request, kind)
  if not kind then return "messages, prompt or input expected" end
  local messages, model, stream = request.messages, some(request.model), some(request.stream)
  if kind == "chat" and (type(messages) ~= "table" or messages[1] == nil) then
    return "messages: a list of at least one expected", "messages"
  elseif model ~= nil and (type(model) ~= "string" or model == "") then
    return "model: a name expected", "model"
  elseif stream then
    return "stream: there are none in a batch", "stream"
  end
end

--- What one item of a list asks for: a request as of `chat`, `complete` or `embed`, or `{ prompt =,
--- parameters = }`.
---@param item any
---@param model string? where it names none
---@return string? kind, table|string request or what is wrong, string? param the field that is it
function list.read(item, model)
  if type(item) ~= "table" or item[1] ~= nil or json.is_array(item) then
    return nil, "a request expected"
  end
  local request = item
  if is_prompt(item) then
    local message, param
    request, message, param = of_prompt(item)
    if not request then return nil, message, param end
  end
  local kind = kind_of(request)
  local message, param = fault_of(request, kind)
  if message then return nil, message, param end
  if some(request.model) == nil and (model or request.model ~= nil) then
    request = copy(request)
    request.model = model
  end
  return kind, request
end

-- }========================================================================

-- {== Asking ==============================================================

local function late()
  return { message = "batch: its time was up before it was asked", code = "timeout",
    detail = { tries = 0, phase = "total" } }
end

local function ask(job, i)
  local item, given = job.items[i], job.call
  if job.limit then
    local seconds = job.limit - job.now()
    if seconds <= 0 then return late() end
    given = copy(given)
    given.deadline = seconds
  end
  local client = job.client
  local reply, message, code, detail = client[item.kind](client, item.request, given)
  return reply or { message = message, code = code, detail = detail }
end

-- Asks for one after the other, as long as there are some.
local function work(job)
  while job.next <= #job.items do
    local i = job.next
    job.next = i + 1
    job.out[i] = ask(job, i)
  end
end

local function run(loop, job)
  job.now, job.limit = loop.now, job.seconds and loop.now() + job.seconds
  crew.run(loop, math.min(job.at_once, #job.items), function() work(job) end,
    function() job.next = math.huge end)
end

-- }========================================================================

-- The requests of a table, and the options that stand beside them.
local function apart(given, more)
  local requests, own = {}, more
  for key, value in next, given do
    if type(key) == "number" then
      requests[key] = value
    else
      if more ~= nil then error("batch: options: beside the requests or behind them", 3) end
      own = type(own) == "table" and own or {}
      own[key] = value
    end
  end
  return requests, own
end

local function read_all(requests, model)
  local items, wrong = options.field({ type = "list" }, requests, "batch: requests")
  if not items then error(wrong, 3) end
  local out = {}
  for i, item in ipairs(items) do
    local kind, request = list.read(item, model)
    if not kind then error(("batch: request %d: %s"):format(i, request), 3) end
    out[i] = { kind = kind, request = request }
  end
  return out
end

-- What names one request cannot go with many: the server would take them for one.
local function check_headers(given)
  if not given or not headers.is_readable(given) then return end -- each call says what is wrong
  local list_of, message = headers.of_request(given)
  if list_of and headers.names_one_request(list_of) then
    message = "a header that names one request"
  end
  if message then error("batch: headers: " .. message:gsub("^headers: ", ""), 3) end
end

--- Asks all of them: a list of the same length and order, in which each item is a reply, or a
--- failure `{ message =, code =, detail = }`.
---@param client table
---@param given table requests; also options, where none stand behind
---@param more table? see `list.schema`
---@return table[] results
function list.all(client, given, more)
  if type(given) ~= "table" then
    error(("batch: a list of requests expected, got a %s"):format(type(given)), 2)
  end
  local requests, own = apart(given, more)
  local o = options.check(list.schema, own, "batch", 3)
  check_headers(o.headers)
  local job = { client = client, items = read_all(requests, o.model), at_once = o.at_once,
    seconds = o.deadline, next = 1, out = {}, call = o }
  o.at_once, o.model, o.deadline = nil, nil, nil
  loops.enter(client.loop, run, job)
  return job.out
end

return list
