-- Members that leave: nobody else is hurt, and nothing is left.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local ask, said, sizes = batching.ask, batching.said, batching.sizes

local function new(more)
  local given = { batch = { rule = "embeddings", max = 4, window = 0.02 } }
  for name, value in pairs(more or {}) do given[name] = value end
  return batching.world(given)
end

local function embed(w, text, given)
  return w.client:embed(batching.request("embed", text), given)
end

describe("a member of a batch", function()
  guard.watch(before_each, after_each)

  it("ends at its own deadline; the others go on until theirs", function()
    local w = new { after = 5 }
    local out = ask(w, "embed", { { "a", { deadline = 1 } }, { "b", { deadline = 2 } },
      { "c", { deadline = 10 } } })
    assert.same({ "timeout", "timeout" }, { out[1].code, out[2].code })
    assert.near(1, out[1].at, 1e-9)
    assert.near(2, out[2].at, 1e-9)
    assert.equal("a: batch: nothing for 1 s", out[1].message)
    assert.same({ "total", "a", 1 }, { out[1].detail.phase, out[1].detail.target,
      out[1].detail.tries })
    assert.equal("echo: c", said(out[3].reply))
    assert.same({ size = 3, index = 3 }, out[3].reply.batch)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("gives the batch its deadline where it is the furthest", function()
    local w = new { after = 50 }
    local out = ask(w, "embed", { { "a", { deadline = 1 } }, { "b", { deadline = 7 } } })
    assert.near(7, out[2].at, 1e-9)
    assert.equal("timeout", out[2].code)
    assert.equal("a: total: nothing for 6.98 s", out[2].message)
    assert.is_true(w.log[1].exchange.closed)
    w:assert_clean()
  end)

  it("is not sent where it leaves before", function()
    local w = new()
    local out = ask(w, "embed", { { "a", { deadline = 0.01 } }, "b", "c" })
    assert.equal("timeout", out[1].code)
    assert.near(0.01, out[1].at, 1e-9)
    assert.same({ "b", "c" }, (batching.texts(w.log[1].request)))
    w:assert_clean()
    w = new()
    out = ask(w, "embed", { { "a", { deadline = 0.01 } }, { "b", { deadline = 0.005 } },
      { "c", nil, nil, 1 } })
    assert.same({ "timeout", "timeout" }, { out[1].code, out[2].code })
    assert.same({ 1 }, sizes(w))
    w:assert_clean()
  end)

  it("does not make the window longer or shorter for who stays", function()
    local w = new()
    local out = ask(w, "embed", { { "a", { deadline = 0.01 } }, { "b", nil, nil, 0.005 },
      { "c", nil, nil, 0.015 } })
    assert.same({ 2 }, sizes(w))
    assert.near(0.02, w.log[1].at, 1e-9)
    assert.equal("echo: c", said(out[3].reply))
  end)

  it("is cancelled at once; with the last of them the batch is", function()
    local w, c = new { after = 5 }, unbusy.canceller()
    local codes = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function()
          codes[i] = select(3, embed(w, "t" .. i, i < 3 and { cancel = c } or nil)) or "ok"
          codes[i] = ("%s %g"):format(codes[i], w:now())
        end)
      end
      w.loop.sleep(1)
      c:cancel()
    end)
    assert.same({ "cancelled 1", "cancelled 1", "ok 5.02" }, codes)
    w:assert_clean()
    w, c, codes = new { after = 5 }, unbusy.canceller(), {}
    w.loop.run(function()
      for i = 1, 2 do
        w.loop.spawn(function() codes[i] = select(3, embed(w, "t" .. i, { cancel = c })) end)
      end
      w.loop.sleep(1)
      assert.is_nil(w.log[1].exchange.closed)
      c:cancel()
      w.loop.sleep(0)
      w.loop.sleep(0)
      assert.is_true(w.log[1].exchange.closed)
    end)
    assert.same({ "cancelled", "cancelled" }, codes)
    assert.equal(0, w.client:status().active)
    w:assert_clean()
  end)

  it("is cancelled in its window", function()
    local w, c = new(), unbusy.canceller()
    local codes = {}
    w.loop.run(function()
      for i = 1, 2 do
        w.loop.spawn(function() codes[i] = select(3, embed(w, "t", { cancel = c })) end)
      end
      w.loop.sleep(0.01)
      c:cancel()
    end)
    assert.same({ "cancelled", "cancelled" }, codes)
    assert.equal(0, #w.log)
    w:assert_clean()
  end)

  it("is not sent where it is cancelled in the moment in which the batch is", function()
    local w, c, codes = new { batch = { rule = "embeddings", max = 3 } }, unbusy.canceller(), {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function()
          codes[i] = select(3, embed(w, "t" .. i, i == 1 and { cancel = c } or nil)) or "ok"
        end)
      end
      w.loop.spawn(function() c:cancel() end)
    end)
    assert.same({ "cancelled", "ok", "ok" }, codes)
    assert.same({ "t2", "t3" }, (batching.texts(w.log[1].request)))
    w:assert_clean()
  end)

  it("ends with its task", function()
    for _, moment in ipairs { 0.01, 1 } do
      local w = new { after = 5 }
      local texts, raised = {}, {}
      w.loop.run(function()
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = w.loop.spawn(function()
            local ok, reply = pcall(embed, w, "t" .. i)
            texts[i] = ok and said(reply)
            raised[i] = not ok
            if not ok then error(reply, 0) end
          end)
        end
        w.loop.sleep(moment)
        w.loop.cancel(tasks[1])
      end)
      assert.same({ true, false, false }, raised)
      assert.same({ false, "echo: t2", "echo: t3" }, texts)
      assert.equal(moment < 0.02 and 2 or 3, sizes(w)[1])
      w:assert_clean()
    end
  end)

  it("is none where its task is to end: what it begins to clean up goes alone", function()
    local w, source = new { batch = { rule = "embeddings", max = 2, window = 5 } }, nil
    w.loop.run(function()
      local task = w.loop.spawn(function()
        pcall(w.loop.sleep, 100)
        source = assert(embed(w, "last words")).source
      end)
      w.loop.spawn(function() assert(embed(w, "a", { deadline = 20 })) end)
      w.loop.sleep(1)
      w.loop.cancel(task)
    end)
    assert.equal("upstream", source)
    assert.near(1, w.log[1].at, 1e-9)
    w:assert_clean()
  end)

  it("ends with the client", function()
    for _, moment in ipairs { 0.01, 1 } do
      local w = new { after = 5 }
      local codes = {}
      w.loop.run(function()
        for i = 1, 3 do
          w.loop.spawn(function() codes[i] = select(3, embed(w, "t" .. i)) end)
        end
        w.loop.sleep(moment)
        w.client:close()
        w.loop.sleep(0.1)
        assert.equal(0, w.client:status().active)
      end)
      assert.same({ "closed", "closed", "closed" }, codes)
      w:assert_clean()
    end
  end)

  it("waits for a permit no longer than its call lasts", function()
    local c = unbusy.canceller()
    local w = new { options = { budget = { floor = 1, ratio = 0 } },
      whole = function(texts)
        if #texts > 1 then return { status = 400, body = "" } end
        return { status = 200, after = 100, body = "" }
      end }
    local codes = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function()
          codes[i] = select(3, embed(w, "t" .. i, { cancel = i == 2 and c or nil,
            deadline = i == 3 and 5 or 10 }))
        end)
      end
      w.loop.sleep(1)
      c:cancel()
    end)
    table.sort(codes)
    assert.same({ "cancelled", "invalid", "timeout" }, codes)
    w:assert_clean()
  end)

  it("finds its own way when the one that asks for all is ended", function()
    local w = new { after = 5 }
    local out, tasks = {}, {}
    local spawn = w.loop.spawn
    w.loop.run(function()
      for i = 1, 3 do
        spawn(function() out[i] = { embed(w, "t" .. i) } end)
      end
      function w.loop.spawn(...)
        tasks[#tasks + 1] = spawn(...)
        return tasks[#tasks]
      end
      w.loop.sleep(1)
      w.loop.spawn = spawn
      w.loop.cancel(tasks[1])
    end)
    for i = 1, 3 do assert.equal("echo: t" .. i, said(out[i][1])) end
    assert.same({ 3, 1, 1, 1 }, sizes(w))
    w:assert_clean()
  end)

  -- As nginx does with what belongs to a request that has ended.
  it("finds its own way when the call for all is ended without a word", function()
    local w = new { after = 5 }
    local out = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function() out[i] = { embed(w, "t" .. i) } end)
      end
      w.loop.sleep(1)
      local merged
      for c in pairs(w.client.calls) do merged = c.merged and c or merged end
      merged:leave()
    end)
    for i = 1, 3 do assert.equal("echo: t" .. i, said(out[i][1])) end
    assert.same({ 3, 1, 1, 1 }, sizes(w))
    w:assert_clean()
  end)

  it("has its whole time counted where nothing has come: the target hears of it", function()
    local w = batching.world { batch = { rule = "embeddings", window = 1 }, after = 7,
      options = { clocks = { total = 5 }, retry = false } }
    local out = ask(w, "embed", { "a", "b" })
    assert.same({ "timeout", "timeout" }, { out[1].code, out[2].code })
    assert.equal(1, w.client:status().targets[1].breaker.failures)
  end)

  it("finds its own way where the loop has no room for a task", function()
    local w = new()
    local out, spawn = {}, w.loop.spawn
    w.loop.run(function()
      for i = 1, 3 do
        spawn(function() out[i] = { embed(w, "t" .. i) } end)
      end
      local first = true
      function w.loop.spawn(...)
        if first then
          first = false
          error("no room", 0)
        end
        return spawn(...)
      end
    end)
    w.loop.spawn = spawn
    for i = 1, 3 do assert.equal("echo: t" .. i, said(out[i][1])) end
    assert.same({ 1, 1, 1 }, sizes(w))
    w:assert_clean()
  end)

  it("hears of an error that is raised for all", function()
    local w = new()
    local provider = setmetatable({}, { __index = w.client.targets[1].provider })
    w.client.targets[1].provider = provider
    function provider.read(kind, ...)
      if kind == "batch" then error("not enough memory", 0) end
      return getmetatable(provider).__index.read(kind, ...)
    end
    local raised = {}
    w.loop.run(function()
      for i = 1, 3 do
        w.loop.spawn(function() raised[i] = select(2, pcall(embed, w, "t" .. i)) end)
      end
    end)
    assert.same({ "not enough memory", "not enough memory", "not enough memory" }, raised)
    w:assert_clean()
  end)
end)

describe("answers of a batch", function()
  guard.watch(before_each, after_each)

  it("are kept in the cache, each under its own question", function()
    local w = new { options = { cache = true } }
    ask(w, "embed", { "a", "b", "c" })
    assert.equal(1, #w.log)
    local out = ask(w, "embed", { "a", "b", "c", "d" })
    for i, text in ipairs { "a", "b", "c" } do
      assert.equal("cache", out[i].reply.source)
      assert.equal("echo: " .. text, said(out[i].reply))
      assert.equal(0, out[i].reply.cost)
    end
    assert.same({ 3, 1 }, sizes(w))
  end)

  it("are kept in the cache as completions, whole ones only", function()
    local w = batching.world { batch = "completions", options = { cache = true },
      whole = function(texts)
        if texts[1] ~= "a" then return nil end
        return { status = 200, body = '{"choices":[{"index":0,"text":"x","finish_reason":"length"},'
          .. '{"index":1,"text":"y","finish_reason":"stop"}]}' }
      end }
    ask(w, "complete", { "a", "b" })
    local out = ask(w, "complete", { "a", "b" })
    assert.same({ "upstream", "cache" }, { out[1].reply.source, out[2].reply.source })
  end)

  it("are followed by the fallback where there are none", function()
    local w = batching.world { batch = "completions", options = { fallback = "later",
      retry = false }, whole = function() return { status = 503, body = "" } end }
    local out = ask(w, "complete", { "a", "b" })
    for i = 1, 2 do
      assert.same({ "fallback", "later", "busy" },
        { out[i].reply.source, out[i].reply.text, out[i].reply.failure.code })
      assert.equal(1, out[i].reply.tries)
    end
  end)
end)
