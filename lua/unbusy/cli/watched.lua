--- Where `unbusy top` looks: a function that gives what goes on, as `unbusy.gateway.facts` has it.
--
--     watched.of_region(values)    of the processes that run with a configuration, in their region
--     watched.of_gateway(values)   from a gateway's /status
local facts = require "unbusy.gateway.facts"
local json = require "unbusy.json"
local opened = require "unbusy.cli.opened"
local recent = require "unbusy.recent"

local watched = {}

local USAGE, FAULT = 2, 1 -- exit statuses

local TOP = 20 -- questions

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

--- Of the processes that run with a configuration. Raises `{ status =, message = }`.
---@param values table config, count, show, questions
---@return fun(): table look, fun() close
function watched.of_region(values)
  local client = opened.client(values, true)
  if not client.hot and (values.questions or values.show) then
    fail(USAGE, "nothing is counted: cache.top is off there")
  end
  if values.show and not client.hot.shows then
    fail(USAGE, "--show: the questions may not be shown: cache.top.show is off")
  end
  recent.attach(client)
  return function() return facts.of(client, values.count or TOP, values.show) end,
    function() client:close() end
end

-- {== A gateway ===========================================================

-- The gateway's base, without the paths that people copy along.
local function base_of(url)
  local base = url:gsub("/+$", ""):gsub("/status$", ""):gsub("/status%.json$", "")
    :gsub("/v1$", "")
  if not base:find "^https?://[^/%s]+" then fail(USAGE, "--url: http:// or https:// expected") end
  return base
end

local function read(body)
  local said = json.decode(body or "")
  local e = type(said) == "table" and said.error
  return said, type(e) == "table" and type(e.message) == "string" and e.message or nil
end

local function is_number(n)
  return type(n) == "number" and n - n == 0
end

-- Is it what a gateway says of a question? Whoever answers there is not trusted with the terminal.
local function is_question(e)
  return type(e) == "table" and type(e.hash) == "string" and e.hash:find "^%x+$" ~= nil
    and is_number(e.count) and is_number(e.error) and (e.model == nil or type(e.model) == "string")
    and (e.question == nil or type(e.question) == "string")
end

-- Is it a status? Of the questions: all of them, none, or that they are not counted.
local function check(said, needs_questions)
  local strange = "this is no status of a gateway"
  if type(said) ~= "table" then fail(FAULT, strange) end
  local list = said.questions
  if list == json.null or list == nil and type(said.targets) == "table" then
    if needs_questions then fail(USAGE, "nothing is counted: cache.top is off there") end
    return
  end
  if type(list) ~= "table" then fail(FAULT, strange) end
  for _, e in ipairs(list) do
    if not is_question(e) then fail(FAULT, strange) end
  end
end

local function ask(client, path, needs_questions)
  local answer, message = client:pass({ path = path }, { deadline = 10 })
  if not answer then fail(FAULT, message) end
  local body
  body, message = answer:body()
  if not body then fail(FAULT, message) end
  local said, wrong = read(body)
  if answer.status ~= 200 then
    fail(answer.status < 500 and USAGE or FAULT, ("the gateway says %d: %s"):format(answer.status,
      wrong or "no more than that"))
  end
  check(said, needs_questions)
  return said
end

--- From a gateway's /status. Raises `{ status =, message = }`, and so do the looks.
---@param values table url, count, show, questions
---@return fun(): table look, fun() close
function watched.of_gateway(values)
  local token = os.getenv "UNBUSY_TOKEN"
  local ok, client = pcall(require("unbusy").new, { retry = false, breaker = false,
    targets = { { name = "gateway", url = base_of(values.url), keys = { token ~= "" and token
      or nil } } } })
  if not ok then fail(USAGE, (tostring(client):gsub("^unbusy: targets%[1%]%.url", "--url"))) end
  local path = ("/status?top=%d%s"):format(values.count or TOP, values.show and "&show=1" or "")
  return function() return ask(client, path, values.questions or values.show) end,
    function() client:close() end
end

-- }========================================================================

return watched
