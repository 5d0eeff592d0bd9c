local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local sites = require "spec.support.site"

-- A client that goes away ends its request where it stands, and none of our Lua runs there.
describe("inside nginx, a client that leaves", function()
  local up, site, e

  setup(function()
    up = busyd.start {}
    site = sites.start { targets = { { name = "a", url = up.url .. "/v1" } },
      limiter = { initial = 5, max = 5, min = 5 }, locations = [[
        location /thread { content_by_lua_block {
          ngx.thread.spawn(function() client:chat(question()) end)
          ngx.sleep(1000)
        } }
        location /tasks { content_by_lua_block {
          local loop = require("unbusy.loops.nginx").loop
          for _ = 1, 4 do loop.spawn(function() client:chat(question()) end) end
          client:chat(question())
        } }
        location /unread { content_by_lua_block {
          local stream = client:stream(question())
          ngx.print(stream:read().text)
          ngx.flush(true)
          kept = stream
          ngx.sleep(1000)
        } }
        location /unwatched {
          lua_check_client_abort off;
          content_by_lua_block {
            for piece in client:stream(question()):pieces() do
              ngx.print(piece.text or "")
              if not ngx.flush(true) then return end
            end
          }
        }
        location /forgotten { content_by_lua_block {
          client:stream(question())
          ngx.print "done"
        } }
        location /told { content_by_lua_block {
          local c = require("unbusy").canceller()
          ngx.on_abort(function() c:cancel() end)
          said = select(3, client:chat(question(), { cancel = c }))
        } }
        location /said { content_by_lua_block { ngx.print(said) } }
        location /outlives { content_by_lua_block {
          ngx.timer.at(0, function() said = client:chat(question()).text end)
          ngx.sleep(1000)
        } }
        location /clients { content_by_lua_block {
          ngx.print(require("unbusy.loops.hosted").live())
        } }
      ]], init = "rawset(_G, 'kept', 1) rawset(_G, 'said', 1)" }
    e = core.engine()
  end)
  teardown(function()
    e:close()
    site:stop()
    up:stop()
  end)
  before_each(function() up:programme { latency = 300, reset = true } end)

  local function open(path)
    return assert(e:submit { url = site.url .. path, method = "GET", headers = {} })
  end

  -- Works until `is_so()`.
  local function drive_until(is_so)
    engines.drive(e, function()
      local so = is_so()
      if not so then direct.pause(0.02) end
      return so
    end)
  end

  local function leave(ids)
    for _, id in ipairs(ids) do e:cancel(id) end
    engines.work(e, 2)
  end

  -- The upstream has seen all its callers leave, and nothing is held here.
  local function assert_ended(n)
    sites.await("the upstream is left", function()
      local counts = up:counts()
      return counts.aborted_by_client + counts.completed + counts.streams.aborted >= n
        and counts.in_service == 0 and counts.queued == 0
    end)
    local status = sites.await("nothing is held", function()
      local s = site:status()
      return s.active == 0 and s.core.transfers == 0 and s
    end)
    assert.same({ 0, 0, 0 }, { status.waiting, status.budget.active, status.budget.permits })
    for _, limit in pairs(status.targets[1].limits) do assert.equal(0, limit.in_flight) end
    assert.equal(0, status.targets[1].breaker.outstanding)
    assert.equal("0", (site:get "/clients"))
  end

  it("before the answer", function()
    local ids = { open "/chat", open "/stream" }
    drive_until(function() return up:counts().in_service == 2 end)
    leave(ids)
    assert_ended(2)
  end)

  it("in the waiting line", function()
    local ids = {}
    for i = 1, 9 do ids[i] = open "/chat" end
    drive_until(function() -- (nginx may miss a client that leaves before its request has begun)
      return site:status().waiting == 4 and up:counts().in_service == 5
    end)
    leave(ids)
    assert_ended(5)
    assert.equal(5, up:counts().received)
  end)

  it("between two tries", function()
    up:programme { reset = true,
      script = { { preset = "busy_503", retry_after = 3 } } }
    local id = open "/chat"
    drive_until(function() return up:counts().received == 1 end)
    leave { id }
    assert_ended(0)
  end)

  it("in a stream that is being read", function()
    up:programme { token_interval = 0.05, answer = { tokens = 10000 }, reset = true }
    local id = open "/stream"
    engines.await_head(e, id)
    leave { id }
    assert_ended(1)
  end)

  it("in a stream that is not read at the moment", function()
    up:programme { token_interval = 0.05, answer = { tokens = 10000 }, reset = true }
    local id = open "/unread"
    engines.await_head(e, id)
    leave { id }
    assert_ended(1)
  end)

  it("that reads nothing: the handler stands in ngx.flush", function()
    up:programme { script = { { preset = "huge_event", bytes = 2 ^ 23 } }, reset = true }
    local id = open "/stream"
    engines.await_head(e, id)
    leave { id }
    assert_ended(1)
  end)

  it("that nobody watches (lua_check_client_abort off), at the first write that fails", function()
    up:programme { token_interval = 0.05, answer = { tokens = 10000 }, reset = true }
    local id = open "/unwatched"
    engines.await_head(e, id)
    leave { id }
    assert_ended(1)
  end)

  it("calls in its light threads and tasks", function()
    local ids = { open "/thread" }
    drive_until(function() return up:counts().in_service == 1 end)
    leave(ids)
    assert_ended(1)
    ids = { open "/tasks" }
    drive_until(function() return up:counts().in_service == 5 end)
    leave(ids)
    assert_ended(6)
  end)

  it("calls of others are let alone", function()
    local ids = { open "/chat", open "/chat" }
    drive_until(function() return up:counts().in_service == 2 end)
    leave { ids[1] }
    sites.await("one has left", function() return up:counts().in_service == 1 end)
    assert.equal(1, site:status().active)
    leave { ids[2] }
    assert_ended(2)
    up:programme { latency = 1, reset = true }
    ids = { open "/outlives" }
    drive_until(function() return up:counts().in_service == 1 end)
    leave(ids)
    assert_ended(1)
    assert.equal("echo: hi", (site:get "/said"))
  end)

  it("and a handler that asked to be told cancels by itself", function()
    local ids = { open "/told" }
    drive_until(function() return up:counts().in_service == 1 end)
    leave(ids)
    assert_ended(1)
    assert.equal("cancelled", (site:get "/said"))
  end)

  it("a request that ends well leaves no stream open that it has forgotten", function()
    up:programme { token_interval = 0.05, answer = { tokens = 10000 }, reset = true }
    assert.equal("done", (site:get "/forgotten"))
    assert_ended(1)
  end)

  it("a watcher that calls out of what ends for its client does not hold up all others", function()
    up:programme { latency = 300, reset = true }
    local other = sites.start { targets = { { name = "a", url = up.url .. "/v1" } }, init = [[
      local unbusy = require "unbusy"
      rawset(_G, "said", "")
      local second = unbusy.new { targets = { { name = "a", url = "]] .. up.url .. [[/v1" } } }
      function client.on_event(event)
        if event.type ~= "state" then return end
        local ok, message = pcall(second.chat, second, question())
        said = ok and "ok" or message
      end
    ]], locations = [[
      location /end { content_by_lua_block {
        local stream = client:stream(question())
        stream.answer:on_end(function() client:state_changed(client.targets[1], "a", "b") end)
        ngx.print "begun"
        ngx.flush(true)
        ngx.sleep(1000)
      } }
      location /said { content_by_lua_block { ngx.print(said) } }
    ]] }
    up:programme { token_interval = 0.05, answer = { tokens = 10000 }, reset = true }
    local id = assert(e:submit { url = other.url .. "/end", method = "GET", headers = {} })
    engines.await_head(e, id)
    leave { id }
    local said = sites.await("it was told", function()
      local text = other:get "/said"
      return text ~= "" and text
    end)
    assert.matches("and here all others would: make it in a timer", said, 1, true)
    up:programme { reset = true }
    assert.equal("echo: hi", (other:get "/chat"))
    other:stop()
  end)

  it("hundreds at once, at any moment", function()
    up:programme { latency = { kind = "uniform", min = 0, max = 0.3 }, token_interval = 0.01,
      reset = true }
    for round = 1, 6 do
      local ids = {}
      for i = 1, 100 do ids[i] = open(i % 2 == 0 and "/chat" or "/stream") end
      engines.work(e, round * 5)
      leave(ids)
    end
    assert_ended(0)
    assert.equal("echo: hi", (site:get "/chat"))
    assert.equal("", site:faults())
  end)
end)
