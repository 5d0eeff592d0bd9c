--- What every host must do with calls that are made as one: the tests that the hosts' specs have in
--- common, within those of `spec.support.host_calls`.
local assert = require "luassert"
local busyd = require "spec.support.busyd"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local batch_calls = {}

local function text_of(i) return ("text %d"):format(i) end

local function embed(client, text, given)
  return client:embed({ model = "m", input = text }, given)
end

local function describe_answers(h, up, it, new)
  it("asks many calls as a few, each with its own answer", function()
    local client, answers = new { max = 8, window = 5 }, {}
    up():programme { reset = true }
    for i = 1, 40 do
      h.go(function() answers[i] = assert(embed(client, text_of(i))) end)
    end
    h.run()
    for i = 1, 40 do
      assert.same(busyd.embedding(text_of(i)), answers[i].body.data[1].embedding)
      assert.same({ "batch", 8 }, { answers[i].source, answers[i].batch.size })
    end
    local counts = up():counts()
    assert.same({ 5, 5 }, { counts.received, counts.completed })
  end)

  it("ends a window by its time", function()
    local client, answers = new { max = 100, window = 0.05 }, {}
    up():programme { reset = true }
    for i = 1, 3 do
      h.go(function() answers[i] = assert(embed(client, text_of(i))) end)
    end
    h.go(function()
      while not answers[1] do h.sleep(0.02) end
      answers[4] = assert(embed(client, text_of(4)))
    end)
    h.run()
    for i = 1, 4 do
      assert.same(busyd.embedding(text_of(i)), answers[i].body.data[1].embedding)
    end
    assert.same({ 3, "upstream" }, { answers[1].batch.size, answers[4].source })
    assert.equal(2, up():counts().received)
  end)

  it("does not let a poisoned one take the others down", function()
    local client, codes = new { max = 8, window = 5 }, {}
    up():programme { reset = true,
      items = { { match = "text 5", whole = { preset = "invalid_400" } } } }
    for i = 1, 8 do
      h.go(function() codes[i] = select(3, embed(client, text_of(i))) or "ok" end)
    end
    h.run()
    assert.same({ "ok", "ok", "ok", "ok", "invalid", "ok", "ok", "ok" }, codes)
    assert.equal(1 + 2 + 4, up():counts().received)
  end)

  it("asks a list of requests", function()
    local client, results = new { max = 8, window = 0.05 }, nil
    up():programme { reset = true }
    local requests = {}
    for i = 1, 20 do requests[i] = { model = "m", input = text_of(i) } end
    h.go(function() results = client:batch(requests) end)
    h.run()
    for i = 1, 20 do
      assert.same(busyd.embedding(text_of(i)), results[i].body.data[1].embedding)
    end
    assert.equal(3, up():counts().received)
  end)
end

local function describe_ends(h, up, it, new)
  it("lets each member of a batch leave when it must", function()
    local client, codes, c = new { max = 4, window = 5 }, {}, unbusy.canceller()
    up():programme { reset = true, capacity = 0, queue = 10 }
    local given = { { deadline = 0.3 }, { cancel = c }, {}, {} }
    for i = 1, 4 do
      h.go(function() codes[i] = select(3, embed(client, text_of(i), given[i])) or "ok" end)
    end
    h.go(function()
      while up():counts().queued < 1 do h.sleep(0.02) end
      c:cancel()
      while not codes[1] do h.sleep(0.02) end
      up():programme {}
    end)
    h.run()
    assert.same({ "timeout", "cancelled", "ok", "ok" }, codes)
    assert.equal(1, up():counts().received)
    assert.is_false(wire.busy())
  end)

  it("ends what nobody waits for any more", function()
    local client, codes, c = new { max = 2, window = 5 }, {}, unbusy.canceller()
    up():programme { reset = true, capacity = 0, queue = 10 }
    for i = 1, 2 do
      h.go(function() codes[i] = select(3, embed(client, text_of(i), { cancel = c })) end)
    end
    h.go(function()
      while up():counts().queued < 1 do h.sleep(0.02) end
      c:cancel()
      while up():counts().aborted_by_client < 1 do h.sleep(0.02) end
    end)
    h.run()
    assert.same({ "cancelled", "cancelled" }, codes)
    assert.equal(0, client:status().active)
  end)

  it("ends with its client, in its window and behind it", function()
    for _, window in ipairs { 60, 0 } do
      local client, codes = new { max = 3, window = window }, {}
      up():programme { reset = true, capacity = 0, queue = 10 }
      for i = 1, 2 do
        h.go(function() codes[i] = select(3, embed(client, text_of(i))) end)
      end
      h.go(function()
        h.sleep(0.05)
        client:close()
      end)
      h.run()
      assert.same({ "closed", "closed" }, codes)
      assert.equal(0, client:status().active)
    end
  end)
end

--- The tests; `up` gives the server.
---@param h table see `spec.support.host_calls`
---@param up function
---@param it function
function batch_calls.describe(h, up, it)
  local function new(rule)
    rule.rule = "embeddings"
    return h.new { batch = rule }
  end
  describe_answers(h, up, it, new)
  describe_ends(h, up, it, new)
end

return batch_calls
