-- Processes of one region that ask the same: real processes, a real region, virtual servers.
local core = require "unbusy.core"
local counters = require "unbusy.counters"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

local function body(text, finish)
  return json.encode { id = "x", object = "chat.completion", model = "m",
    choices = { { index = 0, finish_reason = finish or "stop",
      message = { role = "assistant", content = text } } } }
end

-- A loop over ours whose requests get what `serve(request, loop)` gives: status, body, headers.
local function loop_with(serve)
  local tasks = require "unbusy.loops.tasks"
  local loop, known = {}, {}
  local function over(inner)
    if known[inner] then return known[inner] end
    local out = setmetatable({}, { __index = inner })
    known[inner] = out
    function out.open(request)
      local news, x = {}, { event = inner.event() }
      inner.spawn(function()
        local status, text, headers = serve(request, inner)
        news = { { "head", status, headers or { ["content-type"] = "application/json" } },
          { "data", text }, { "end", nil, nil, { phase = "body" } } }
        x.event:set()
      end)
      function x.take()
        if x.closed then return "end", "closed", "it is over", { phase = "body" } end
        local item = table.remove(news, 1)
        if item then return item[1], item[2], item[3], item[4] end
      end
      function x.close() x.closed = true end
      function x.abort()
        x.closed = true
        x.event:set()
      end
      return x
    end
    return out
  end
  for _, verb in ipairs { "sleep", "wait", "event", "spawn", "cancel", "open" } do
    loop[verb] = function() error "never called" end
  end
  loop.now = core.now
  function loop.enter(f, value)
    return tasks.enter(function(inner, v) return f(over(inner), v) end, value)
  end
  return loop
end

local question = { model = "m", messages = { { role = "user", content = "x" } } }

describe("processes that ask the same", function()
  local r, children, fork, finish, clients, count

  after_each(function()
    children:end_all()
    for _, c in ipairs(clients) do c:close() end
    clients, count = nil, nil
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    children, fork, finish = regions.family()
    clients = {}
    r = assert(region.new { bytes = 8 * 1024 * 1024 })
    count = assert(counters.new { region = r, name = "count" })
  end)

  local function new_client(serve, more)
    local o = { region = r, retry = false, breaker = false, loop = loop_with(serve),
      cache = { bytes = 100000 }, targets = { { name = "a", url = "http://a.test" } } }
    for name, value in pairs(more or {}) do o[name] = value end
    local c = assert(unbusy.new(o))
    clients[#clients + 1] = c
    return c
  end

  -- A server that answers when it is told to, and counts who asks, and how many at once.
  local function held(answer)
    return function(request, loop)
      count:add "asked"
      count:peak("most", count:add "at once", 1000)
      while count:get "go" == 0 do loop.sleep(0.002) end
      count:add("at once", -1)
      return answer(request, loop)
    end
  end

  local function wait_for(f, what)
    regions.wait_for(function()
      unbusy.sleep(0.001)
      return f()
    end, what)
  end

  local function followers(c, n)
    wait_for(function() return c:status().coalesce.across.followed >= n end, "followers")
  end

  -- What comes of a call, in one line.
  local function told(reply, _, code)
    return reply and ("%s %s %s"):format(reply.source, reply.text, reply.cost or "-") or code
  end

  local function begun()
    wait_for(function() return count:get "asked" > 0 end, "the leader")
  end

  it("share one upstream call, and each has the whole answer", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local leader = fork(function() return told(c:chat(question)) end)
    begun()
    local others = {}
    for i = 1, 3 do others[i] = fork(function() return told(c:chat(question)) end) end
    followers(c, 3)
    count:add "go"
    assert.equal("upstream hello -", finish(leader))
    for i = 1, 3 do assert.equal("coalesced hello 0", finish(others[i])) end
    assert.equal(1, count:get "asked")
    assert.equal(0, r:stats().waiting)
  end)

  it("share it with all calls in them", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local workers = {}
    for i = 1, 4 do
      workers[i] = fork(function()
        local n = 0
        unbusy.run(function()
          for _ = 1, 25 do
            unbusy.spawn(function()
              local reply = assert(c:chat(question))
              if reply.text == "hello" then n = n + 1 end
            end)
          end
        end)
        return ("%d"):format(n)
      end)
    end
    followers(c, 3)
    count:add "go"
    for i = 1, 4 do assert.equal("25", finish(workers[i])) end
    assert.equal(1, count:get "asked")
  end)

  it("give streams to those who want them, out of the whole answer", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local leader = fork(function() return told(c:chat(question)) end)
    begun()
    local other = fork(function() return told(assert(c:stream(question)):reply()) end)
    followers(c, 1)
    count:add "go"
    assert.equal("upstream hello -", finish(leader))
    assert.equal("coalesced hello 0", finish(other))
    assert.equal(1, count:get "asked")
  end)

  it("do not wait for the readers of a stream, but for its end", function()
    local text = 'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
      .. 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    local c = new_client(held(function()
      return 200, text, { ["content-type"] = "text/event-stream" }
    end))
    local leader = fork(function(say)
      local out
      unbusy.run(function()
        unbusy.spawn(function() unbusy.sleep(0.01) end) -- or it would be alone, and lead nobody
        unbusy.spawn(function()
          local s = assert(c:stream(question))
          say "streams"
          while count:get "on" == 0 do unbusy.sleep(0.002) end
          out = told(s:reply())
        end)
      end)
      return out
    end)
    begun()
    local other = fork(function() return told(c:chat(question)) end)
    followers(c, 1)
    count:add "go"
    leader:said "streams"
    assert.equal(1, c:status().coalesce.across.led)
    assert.equal("coalesced hello 0", finish(other)) -- though nobody there has read a piece
    count:add "on"
    assert.equal("upstream hello -", finish(leader))
    assert.equal(1, count:get "asked")
  end)

  it("go on with one of them when the leading one is killed", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local leader = fork(function() c:chat(question) end)
    begun()
    local others = {}
    for i = 1, 3 do others[i] = fork(function() return told(c:chat(question)) end) end
    followers(c, 3)
    children:kill(leader)
    count:add("at once", -1)
    wait_for(function() return count:get "asked" == 2 end, "who takes over")
    followers(c, 5) -- the other two follow the new one
    count:add "go"
    local all = {}
    for i = 1, 3 do all[i] = finish(others[i]) end
    table.sort(all)
    assert.same({ "coalesced hello 0", "coalesced hello 0", "upstream hello -" }, all)
    assert.equal(2, count:get "asked")
    assert.is_true(c:status().coalesce.across.orphaned >= 1)
  end)

  it("take the lead one at a time when a leader fails", function()
    local c = new_client(held(function()
      if count:get "asked" < 3 then return 500, "{}" end
      return 200, body "hello"
    end))
    -- Who has failed may find what the next one was answered, and have that in its failure's place.
    local all, none_stale = {}, { stale = false }
    all[1] = fork(function() return told(c:chat(question, none_stale)) end)
    begun()
    for i = 2, 5 do all[i] = fork(function() return told(c:chat(question, none_stale)) end) end
    followers(c, 4)
    count:add "go"
    local said = {}
    for i = 1, 5 do said[i] = finish(all[i]) end
    table.sort(said)
    assert.same({ "coalesced hello 0", "coalesced hello 0", "upstream", "upstream",
      "upstream hello -" }, said)
    assert.equal(3, count:get "asked")
    assert.equal(1, count:get "most")
  end)

  it("go on by themselves with what cannot be shared", function()
    for _, one in ipairs { { 200, body("half", "length"), "upstream half -" },
      { 400, '{"error":{"message":"no"}}', "invalid" } } do
      count:delete "asked" count:delete "go"
      local c = new_client(held(function() return one[1], one[2] end), { cache = {
        bytes = 100000, entries = 100 + #clients } })
      local leader = fork(function() return told(c:chat(question)) end)
      begun()
      local others = {}
      for i = 1, 3 do others[i] = fork(function() return told(c:chat(question)) end) end
      followers(c, 3)
      count:add "go"
      assert.equal(one[3], finish(leader))
      for i = 1, 3 do assert.equal(one[3], finish(others[i])) end
      assert.equal(4, count:get "asked")
    end
  end)

  it("wait no longer than their own deadlines, and can be cancelled", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local leader = fork(function() return told(c:chat(question)) end)
    begun()
    local late = fork(function()
      return ("%s; %s"):format(select(2, c:chat(question, { deadline = 0.05 })))
    end)
    assert.matches("^coalesced: nothing for [%d.]+ s; timeout$", finish(late))
    local gone = fork(function()
      local canceller = unbusy.canceller()
      local code
      unbusy.run(function()
        unbusy.spawn(function() code = select(3, c:chat(question, { cancel = canceller })) end)
        unbusy.sleep(0.01)
        canceller:cancel()
      end)
      return code
    end)
    assert.equal("cancelled", finish(gone))
    count:add "go"
    assert.equal("upstream hello -", finish(leader))
    assert.equal(1, count:get "asked")
  end)

  it("hand over when the one who asks gives up", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local leader = fork(function(say)
      local canceller = unbusy.canceller()
      unbusy.run(function() -- until its server is told to answer
        unbusy.spawn(function() say(select(3, c:chat(question, { cancel = canceller }))) end)
        followers(c, 1)
        canceller:cancel()
      end)
      return "ended"
    end)
    begun()
    local other = fork(function() return told(c:chat(question)) end)
    leader:said "cancelled"
    wait_for(function() return count:get "asked" == 2 end, "who takes over")
    count:add "go"
    assert.equal("upstream hello -", finish(other))
    assert.equal("ended", finish(leader))
  end)

  it("do not wait behind the less urgent, nor where they want a new answer", function()
    local c = new_client(held(function() return 200, body "hello" end))
    local leader = fork(function() return told(c:chat(question, { priority = "batch" })) end)
    begun()
    local urgent = fork(function() return told(c:chat(question, { priority = "interactive" })) end)
    wait_for(function() return count:get "asked" == 2 end, "the urgent one")
    local fresh = fork(function() return told(c:chat(question, { cache = "refresh" })) end)
    wait_for(function() return count:get "asked" == 3 end, "the new one")
    count:add "go"
    for _, one in ipairs { leader, urgent, fresh } do
      assert.equal("upstream hello -", finish(one))
    end
  end)

  it("refresh once over all of them", function()
    local flow = require "unbusy.flow"
    local c = new_client(held(function() return 200, body "hello" end))
    local function refresh()
      local begun_by = 0
      local stages = {}
      for i, name in ipairs(flow.order) do stages[i] = require("unbusy.stages." .. name) end
      for i, name in ipairs(flow.order) do
        if name == "coalesce" then
          stages[i] = function(next)
            return function(call)
              begun_by = c.flights:refresh(call, call.key, next) and 1 or 0
              return nil, "begun", "invalid", {}
            end
          end
        end
      end
      c.flow = flow.chain(stages, c)
      unbusy.run(function() c:chat(question) end)
      return ("%d"):format(begun_by)
    end
    local first = fork(refresh)
    begun()
    assert.equal("0", finish(fork(refresh)))
    count:add "go"
    assert.equal("1", finish(first))
    assert.equal("0", finish(fork(refresh))) -- it has been done just now
    assert.equal(1, count:get "asked")
    assert.equal(0, c:status().coalesce.across.followed - 1)
  end)

  it("stop waiting where they do not share their cache after all", function()
    local c = new_client(held(function() return 200, body "hello" end))
    count:add "go"
    local set = c.cache.set
    function c.cache.set() return true end -- kept, it says
    local claims = c.flights.claims
    for i = 1, 3 do
      local part, ticket = claims.part:claim(require("unbusy.cache").key(i, 0), 2, 10)
      assert.equal("lead", part)
      claims.part:finish(ticket, "kept")
    end
    for i = 1, 3 do
      claims.missed = i - 1
      assert(c:chat { model = "m", messages = { { role = "user", content = "q" .. i } } })
    end
    assert.equal(0, claims.off_until)
    local key
    local flow = c.flow
    c.flow = function(call) key = call return flow(call) end
    c:chat(question)
    claims.missed = 2
    local _, ticket = claims.part:claim(key.key, 2, 10)
    claims.part:finish(ticket, "kept")
    assert.equal("upstream", c:chat(question).source)
    assert.is_true(claims.off_until > core.now())
    c.cache.set = set
  end)
end)
