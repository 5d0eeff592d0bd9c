--- What host_nomem.c runs while Lua's allocations fail: a list of { name, prepare }. `prepare()`
--- has all the memory it wants and gives the function that has not, and whether that keeps to
--- "nomem" and must work again afterwards. The function gives true, or what a failure gives.
local PORT = PORT -- luacheck: ignore 113

local function check(truth, what)
  if not truth then error(what or "not so", 2) end
end

local list = {}

local function scenario(name, prepare)
  list[#list + 1] = { name = name, prepare = prepare }
end

scenario("the core's parts", function()
  local core = require "unbusy.core"
  local parts = {}
  for _, name in ipairs { "backoff", "breaker", "budget", "limiter" } do
    parts[name] = require("unbusy." .. name)
  end
  local function clock() return 0 end
  return function()
    check(parts.backoff.new { seed = 1 }:delay(1) >= 0)
    check(parts.limiter.new { clock = clock }:limit() >= 1)
    local b = parts.breaker.new { clock = clock, seed = 1 }
    local ticket = b:allow()
    b:report(ticket, "fail", 1)
    b:force("open", 5)
    check(select(3, b:allow()) == "open")
    check(b:stats().refused == 1)
    local l = parts.limiter.new { clock = clock }
    l:report(l:allow(), "ok", 1)
    check(l:in_flight() == 0)
    local budget = parts.budget.new {}
    budget:begin()
    local permit, _, code = budget:take "retry"
    check(permit and budget:give(permit, "ok") or code == "budget")
    check(#core.errors() > 0 and core.stats().engines == 0)
    return true
  end, true
end)

scenario("events and waits", function()
  local retry_after = require "unbusy.retry_after"
  local sse = require "unbusy.sse"
  local text = "event: e\nid: 1\ndata: " .. ("x"):rep(100) .. "\ndata: y\n\n: c\n\ndata: z\n\n"
  return function()
    local p = sse.new {}
    local events = {}
    for at = 1, #text, 40 do
      for _, event in ipairs((assert(p:feed(text:sub(at, at + 39))))) do
        events[#events + 1] = event
      end
    end
    check(#events == 2 and events[1].event == "e" and p:comments() == 1 and p:finish() == 0)
    check(retry_after.parse({ ["retry-after"] = "20" }, {}) == 20)
    check(retry_after.parse({}, { body = "try again in 5 s" }) == 5)
    return true
  end, true
end)

scenario("JSON", function()
  local json = require "unbusy.json"
  local text = '{"a":[1,2,{"b":[]},"[]"],"c":"x","n":123456789012345678,"t":true,"z":null}'
  return function()
    local value, message = json.decode(text)
    check(value, message)
    local again
    again, message = json.encode(value)
    check(again, message)
    return true
  end, true
end)

scenario("an engine", function()
  local core = require "unbusy.core"
  local request = { url = ("http://127.0.0.1:%d/"):format(PORT), method = "POST", body = "{}",
    headers = { "Content-Type: application/json", "X-One: 1" }, proxy = "", connect = 5 }

  local function await(e, id)
    while true do
      e:wait(1)
      e:step()
      for _ in e.next, e do end
      repeat
        local kind, code, message = e:take(id)
        if kind == "end" then return code, message end
      until not kind
    end
  end

  return function()
    local e, message, code = core.engine()
    if not e then return nil, message, code end
    local id
    id, message, code = e:submit(request)
    if not id then return nil, message, code end
    code, message = await(e, id)
    check(e:active() == 0 and e:owned() and e:fd() >= 0)
    e:close()
    if code then return nil, message, code end
    return true
  end, true
end)

local question = { messages = { { role = "user", content = "hi" } } }

-- A client in virtual time; each run makes its call of a world of its own.
local function in_a_world(script, ask, options)
  return function()
    local world = require "spec.support.world"
    local function run()
      local w = world.new { script = script(world), options = options }
      local reply, message, code = ask(w)
      if not reply then return nil, message, code end
      w:assert_clean()
      return true
    end
    check(run()) -- what is loaded at the first call is there
    return run
  end
end

scenario("a call", in_a_world(function(world)
  return { a = { world.status(503, { ["retry-after"] = "1" }, "busy"), world.good "hello" } }
end, function(w)
  local reply, message, code = w:chat()
  if reply then check(reply.text == "hello" and reply.source == "upstream", "another answer") end
  return reply, message, code
end))

scenario("a call under a policy", in_a_world(function(world)
  return { a = { world.status(503) }, b = { world.good "hello" } }
end, function(w)
  local reply, message, code = w:chat()
  if reply then check(reply.text == "hello" and reply.target == "b", "another answer") end
  return reply, message, code
end, { policy = "spec/policy/all.lua", cache = { entries = 10, bytes = 65536 } }))

scenario("calls in a batch", function()
  local batching = require "spec.support.batching"
  local requests = { { input = "a" }, { input = "b" }, { input = "c" } }
  local function run()
    local w = batching.world { batch = { rule = "embeddings", max = 2 } }
    local results = w.client:batch(requests)
    for i, r in ipairs(results) do
      if r.code then return nil, r.message, r.code end
      check(batching.said(r) == "echo: " .. requests[i].input, "another answer")
    end
    w:assert_clean()
    return #results == 3
  end
  check(run())
  return run
end)

scenario("a stream", in_a_world(function(world)
  return { a = { world.words { "one", "two" } }, b = { world.words { "one", "two" } } }
end, function(w)
  local stream, message, code = w:stream()
  if not stream then return nil, message, code end
  local reply
  reply, message, code = stream:reply()
  if reply then check(reply.text == "onetwo", "another answer") end
  return reply, message, code
end))

scenario("two tries beside each other", in_a_world(function(world)
  return { a = { world.good("slow", 5) }, b = { world.good("hello", 1) } }
end, function(w)
  local reply, message, code = w:chat()
  if reply then check(reply.text == "hello" or reply.text == "slow", "another answer") end
  return reply, message, code
end, { hedge = { after = 1, most = 1 }, retry = false }))

scenario("a server's queue that is left", in_a_world(function(world)
  local steps = {}
  for i = 1, 5 do steps[i] = { 1, world.KEEP_ALIVE } end
  for _, step in ipairs(world.words({ "slow" }).steps) do steps[#steps + 1] = step end
  return { a = { world.streamed(steps) }, b = { world.words { "hello" } } }
end, function(w)
  local stream, message, code = w:stream()
  if not stream then return nil, message, code end
  local reply
  reply, message, code = stream:reply()
  if reply then check(reply.text == "hello" or reply.text == "slow", "another answer") end
  return reply, message, code
end, { policy = { queued = function() return "switch" end }, retry = false }))

scenario("one client, call after call", function()
  local world = require "spec.support.world"
  local w = world.new { script = { a = { world.good "hello" } } }
  local function run()
    local reply, message, code = w:chat()
    if not reply then return nil, message, code end
    check(reply.text == "hello")
    return true
  end
  check(run())
  return run
end)

scenario("a call over the network", function()
  local unbusy = require "unbusy"
  local client = unbusy.new { retry = false, targets = { { name = "a", key = "k", proxy = "",
    url = ("http://127.0.0.1:%d/v1"):format(PORT) } } }
  local function run()
    local reply, message, code = client:chat(question)
    if not reply then return nil, message, code end
    check(reply.text == "hello")
    return true
  end
  check(run())
  return run
end)

return list
