--- A client in virtual time, with scripted servers: for specs of the stages.
--
--     local w = world.new { script = { a = { { status = 503 }, world.good "hello" } } }
--     local reply = w:chat()  -- target "a" at http://a.test; each request takes its next answer
--
-- An answer: { status =, headers =, body =, after = seconds, stream = { {after, data}, … },
-- fail = code, message = }. The last answer of a script repeats. A script may be a
-- function(request, n) -> answer.
local json = require "unbusy.json"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"
local virtual = require "unbusy.loops.virtual"

local world = {}
world.__index = world

local made = setmetatable({}, { __mode = "v" }) -- those of which `end_all` is asked

--- A complete chat answer.
function world.good(text, after)
  return { status = 200, after = after, body = json.encode {
    id = "x", object = "chat.completion", model = "m",
    choices = { { index = 0, finish_reason = "stop",
      message = { role = "assistant", content = text or "hello" } } },
    usage = { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 },
  } }
end

--- A refusal.
function world.status(status, headers, body, after)
  return { status = status, headers = headers, body = body or "", after = after }
end

local function chunk(delta, finish)
  return "data: " .. json.encode { id = "x", object = "chat.completion.chunk", model = "m",
    choices = { { index = 0, delta = delta, finish_reason = finish or json.null } } } .. "\n\n"
end

world.chunk = chunk
world.DONE = "data: [DONE]\n\n"
world.KEEP_ALIVE = ": keep-alive\n\n"

--- A streamed answer: a list of { after = seconds, bytes }.
function world.streamed(steps, more)
  local answer = { status = 200, headers = { ["content-type"] = "text/event-stream" },
    steps = steps }
  for k, v in pairs(more or {}) do answer[k] = v end
  return answer
end

--- The words as a whole stream, `gap` seconds apart.
function world.words(list, gap)
  local steps = { { 0, chunk { role = "assistant", content = "" } } }
  for _, word in ipairs(list) do steps[#steps + 1] = { gap or 0.1, chunk { content = word } } end
  steps[#steps + 1] = { 0, chunk({}, "stop") }
  steps[#steps + 1] = { 0, world.DONE }
  return world.streamed(steps)
end

local function play(answer, x, loop)
  loop.sleep(answer.after or 0.1)
  if answer.status then
    x:head(answer.status, answer.headers or { ["content-type"] = "application/json" })
  end
  for _, step in ipairs(answer.steps or {}) do
    if step[1] > 0 then loop.sleep(step[1]) end
    if x.closed then return end
    x:data(step[2])
  end
  if answer.body then x:data(answer.body) end
  if answer.hang then loop.sleep(answer.hang) end
  x:finish(answer.fail, answer.message, answer.phase)
end

local function next_answer(self, host, request)
  local n = (self.sent[host] or 0) + 1
  self.sent[host] = n
  local script = self.script[host]
  if type(script) == "function" then return script(request, n) end
  return script[math.min(n, #script)]
end

local function serve(self)
  return function(request, x, loop)
    local host = request.url:match "^https?://([^./]+)"
    local entry = { host = host, at = loop.now(), request = request, exchange = x }
    self.log[#self.log + 1] = entry
    self.open = self.open + 1
    self.most_open = math.max(self.most_open, self.open)
    play(next_answer(self, host, request), x, loop)
    self.open = self.open - 1
  end
end

local function hosts(script)
  local names = {}
  for name in pairs(script) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Makes a world; `options` go to `unbusy.new`; `targets[name]` adds fields to that target; `wall`
--- and `random` are the time and the chance of policies.
function world.new(given)
  local self = setmetatable({
    script = given.script, sent = {}, log = {}, events = {}, open = 0, most_open = 0,
  }, world)
  self.loop = virtual.new { serve = serve(self), wall = given.wall, random = given.random }
  local o = { loop = self.loop, targets = {},
    on_event = function(e) self.events[#self.events + 1] = e end }
  for k, v in pairs(given.options or {}) do o[k] = v end
  for i, name in ipairs(given.order or hosts(given.script)) do
    local t = { name = name, url = ("http://%s.test/v1"):format(name), key = "key-of-" .. name }
    for k, v in pairs((given.targets or {})[name] or {}) do t[k] = v end
    if t.keys then t.key = nil end
    o.targets[i] = t
  end
  self.given, self.client = o, assert(unbusy.new(o))
  made[#made + 1] = self
  return self
end

local question = { messages = { { role = "user", content = "hi" } } }
world.question = question

function world:chat(options)
  return self.client:chat(question, options)
end

function world:stream(options)
  return self.client:stream(question, options)
end

--- Events of one type.
function world:seen(kind)
  local out = {}
  for _, e in ipairs(self.events) do
    if e.type == kind then out[#out + 1] = e end
  end
  return out
end

--- Lets the servers of all worlds come to the end of their answers, so that no task of theirs is
--- left.
function world.end_all()
  for _, w in ipairs(made) do
    if scheduler.live() > 0 then w.loop.run(function() end) end
  end
  made = {}
end

function world:now()
  return self.loop.now()
end

--- Nothing may be left: no call, waiter, place, permit or exchange.
function world:assert_clean()
  local s = self.client:status()
  assert(s.active == 0, "calls are left: " .. s.active)
  assert(s.waiting == 0, "waiters are left: " .. s.waiting)
  if s.budget then
    assert(s.budget.active == 0, "the budget counts calls: " .. s.budget.active)
    assert(s.budget.permits == 0, "permits are left: " .. s.budget.permits)
  end
  for _, t in ipairs(s.targets) do
    for model, l in pairs(t.limits) do
      assert(l.in_flight == 0, ("%s %s: in flight: %d"):format(t.name, model, l.in_flight))
    end
    if t.breaker then assert(t.breaker.outstanding == 0, t.name .. ": outstanding tickets") end
  end
  for i, entry in ipairs(self.log) do
    local x = entry.exchange
    assert(x.done or x.closed, ("exchange %d is open"):format(i))
  end
end

return world
