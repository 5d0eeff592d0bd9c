-- Calls of different requests as one: it belongs to the worker, and outlives each of them.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local json = require "unbusy.json"
local sites = require "spec.support.site"

describe("inside nginx, a batch", function()
  local up, site, e

  -- `max` is a site's own: the rule has room for so many.
  local function start(max, window)
    return sites.start { targets = { { name = "a", url = up.url .. "/v1" } },
      batch = { rule = "embeddings", max = max, window = window }, locations = [[
        location /embed { content_by_lua_block {
          local reply, message, code = client:embed({ model = "m", input = ngx.var.arg_q },
            { deadline = tonumber(ngx.var.arg_deadline) })
          ngx.print(reply and json.encode { reply.source, reply.batch or false, reply.body,
            reply.tries } or code .. ": " .. message)
        } }
        location /list { content_by_lua_block {
          local requests = {}
          for i = 1, 20 do requests[i] = { model = "m", input = "t" .. i } end
          local out = client:batch(requests)
          for i = 1, 20 do out[i] = out[i].body.data[1].embedding end
          ngx.print(json.encode(out))
        } }
        location /live { content_by_lua_block {
          ngx.print(require("unbusy.loops.hosted").live())
        } }
      ]] }
  end

  setup(function()
    up = busyd.start {}
    e = core.engine()
  end)
  teardown(function()
    e:close()
    up:stop()
  end)
  before_each(function() up:programme { reset = true } end)
  after_each(function()
    local faults = site:faults()
    site:stop()
    assert.equal("", faults)
  end)

  local function open(path)
    return assert(e:submit { url = site.url .. path, method = "GET", headers = {} })
  end

  local function drive_until(is_so)
    engines.drive(e, function()
      local so = is_so()
      if not so then direct.pause(0.02) end
      return so
    end)
  end

  local function leave(id)
    e:cancel(id)
    engines.work(e, 2)
  end

  local function assert_nothing_left()
    local status = sites.await("nothing is held", function()
      local s = site:status()
      return s.active == 0 and s.core.transfers == 0 and s
    end)
    assert.same({ 0, 0 }, { status.budget.active, status.budget.permits })
    for _, limit in pairs(status.targets[1].limits) do assert.equal(0, limit.in_flight) end
    assert.equal(0, status.targets[1].breaker.outstanding)
    sites.await("no task is left", function() return site:get "/live" == "0" end)
  end

  local function assert_own(body, text, size)
    local said = json.decode(body)
    assert.is_table(said, body)
    assert.same({ "batch", size }, { said[1], said[2].size })
    assert.same(busyd.embedding(text), said[3].data[1].embedding)
  end

  it("has its members from many requests, each with its own answer", function()
    site = start(10, 10)
    local bodies = site:get_many(50, "/embed?q=text%d.")
    for i = 1, 50 do assert_own(bodies[i], ("text%d."):format(i), 10) end
    assert.equal(5, up:counts().received)
    assert_nothing_left()
  end)

  it("ends its window by time, and is a plain call where nobody else has come", function()
    site = start(10, 0.05)
    assert.matches('^%["upstream",false', (site:get "/embed?q=x"))
    local bodies = site:get_many(3, "/embed?q=text%d.")
    local received = up:counts().received
    assert.is_true(received <= 4) -- one, and at most three where the machine is slow
    for i = 1, 3 do
      assert.same(busyd.embedding(("text%d."):format(i)),
        json.decode(bodies[i])[3].data[1].embedding)
    end
    assert_nothing_left()
  end)

  it("goes on when the request that was first, or the one that filled it, is gone", function()
    site = start(3, 10)
    up:programme { reset = true, capacity = 0, queue = 10 }
    local ids = { open "/embed?q=a" }
    drive_until(function() return site:status().active == 1 end)
    ids[2] = open "/embed?q=b"
    drive_until(function() return site:status().active == 2 end)
    ids[3] = open "/embed?q=c"
    drive_until(function() return up:counts().queued == 1 end)
    leave(ids[1])
    leave(ids[3])
    sites.await("two have left", function() return site:status().active == 1 end)
    assert.equal(0, up:counts().aborted_by_client)
    up:programme {}
    assert_own(engines.finish_all(e, { ids[2] })[1].body, "b", 3)
    assert_nothing_left()
  end)

  it("is not sent for those who left in its window", function()
    site = start(3, 10)
    local ids = { open "/embed?q=a" }
    drive_until(function() return site:status().active == 1 end)
    leave(ids[1])
    sites.await("it has left", function() return site:status().active == 0 end)
    local bodies = site:get_many(3, "/embed?q=t%d.")
    for i = 1, 3 do assert_own(bodies[i], ("t%d."):format(i), 3) end
    assert.equal(1, up:counts().received)
    assert_nothing_left()
  end)

  it("is cancelled when all who waited for it are gone", function()
    site = start(2, 10)
    up:programme { reset = true, capacity = 0, queue = 10 }
    local ids = { open "/embed?q=a", open "/embed?q=b" }
    drive_until(function() return up:counts().queued == 1 end)
    leave(ids[1])
    leave(ids[2])
    sites.await("the upstream is left", function() return up:counts().aborted_by_client == 1 end)
    assert_nothing_left()
  end)

  it("lets a member go at its deadline", function()
    site = start(2, 10)
    up:programme { reset = true, capacity = 0, queue = 10 }
    local ids = { open "/embed?q=a&deadline=0.3", open "/embed?q=b" }
    drive_until(function() return up:counts().queued == 1 end)
    assert.matches("^timeout: a: batch: nothing for 0.3", engines.finish_all(e, { ids[1] })[1].body)
    up:programme {}
    assert_own(engines.finish_all(e, { ids[2] })[1].body, "b", 2)
    assert_nothing_left()
  end)

  it("is halved and asked singly, each member in its own request", function()
    site = start(8, 10)
    up:programme { reset = true,
      items = { { match = "t3.", whole = { preset = "invalid_400" } } } }
    local bodies = site:get_many(8, "/embed?q=t%d.")
    for i = 1, 8 do
      if i == 3 then
        assert.matches("^invalid: a: 400", bodies[i])
      else
        assert.same(busyd.embedding(("t%d."):format(i)),
          json.decode(bodies[i])[3].data[1].embedding)
      end
    end
    assert.is_true(up:counts().received <= 7)
    assert_nothing_left()
  end)

  it("is made of a list, again and again", function()
    site = start(8, 0.02)
    for _ = 1, 20 do
      local out = json.decode((site:get "/list"))
      for i = 1, 20 do assert.same(busyd.embedding("t" .. i), out[i]) end
    end
    assert.equal(60, up:counts().received)
    assert_nothing_left()
  end)

  it("is answered by a worker that is to end", function()
    site = start(2, 10)
    up:programme { reset = true, capacity = 0, queue = 10 }
    local old = site:workers()[1]
    local ids = { open "/embed?q=a", open "/embed?q=b" }
    drive_until(function() return up:counts().queued == 1 end)
    site:signal "HUP"
    sites.await("there is a new worker", function()
      local workers = site:workers()
      return workers[1] and (workers[1] ~= old or workers[2])
    end)
    up:programme {}
    for i, got in ipairs(engines.finish_all(e, ids)) do
      assert_own(got.body, i == 1 and "a" or "b", 2)
    end
    sites.await("the old worker has ended", function()
      local workers = site:workers()
      return #workers == 1 and workers[1] ~= old
    end)
    assert_nothing_left()
  end)
end)
