-- A call kept its permit of the retry budget while it waited for another one, its own or that of
-- the call that was made in its place. Three of them (the budget's floor) waited for each other to
-- the end of their deadlines, and so did every other call that had to be tried again.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("calls that are asked again together", function()
  guard.watch(before_each, after_each)

  local function embedded(list)
    local data = {}
    for i in ipairs(list) do
      data[i] = { object = "embedding", index = i - 1, embedding = { i } }
    end
    return { status = 200, body = json.encode { object = "list", model = "m", data = data,
      usage = { prompt_tokens = 1, total_tokens = 1 } } }
  end

  -- A server that takes no batches, and is busy until `well`.
  local function server(w, well)
    return function(request)
      local body = json.decode(request.body)
      if type(body.input) == "table" then return world.status(413) end
      if w.loop.now() < well then return world.status(503) end
      return body.input and embedded { body.input } or world.good "fine"
    end
  end

  local function world_of(options, script)
    local w, serve
    w = world.new { options = options, script = { a = function(...)
      serve = serve or script(w)
      return serve(...)
    end } }
    return w
  end

  -- So many tasks; gives when each ended.
  local function all_of(w, count, ask)
    local ended = {}
    w.loop.run(function()
      for i = 1, count do
        w.loop.spawn(function()
          ask(i)
          ended[i] = w:now()
        end)
      end
    end)
    assert.equal(0, w.client:status().budget.permits)
    w:assert_clean()
    return ended
  end

  it("do not wait for each other's permits behind a batch", function()
    local w = world_of({ batch = "embeddings" }, function(w) return server(w, 2) end)
    local ended = all_of(w, 16, function(i)
      assert(w.client:embed { model = "m", input = "text " .. i })
    end)
    for i = 1, 16 do assert.is_true(ended[i] < 120, i .. ": " .. ended[i] .. " s") end
  end)

  it("and keep nobody else waiting", function()
    local w = world_of({ batch = "embeddings" }, function(w) return server(w, 2) end)
    local ended = all_of(w, 5, function(i)
      if i < 5 then return assert(w.client:embed { model = "m", input = "text " .. i }) end
      w.loop.sleep(0.5)
      assert(w.client:chat(world.question))
    end)
    assert.is_true(ended[5] < 60, ended[5] .. " s")
  end)

  for _, below in ipairs { "single flight", "a batch", "both" } do
    it("nor when a fallback asks another model, by way of " .. below, function()
      local busy = below == "single flight" and 3 or 1 -- times, before it answers
      local w = world_of({ retry = { attempts = 3, base = 1 }, breaker = false,
        cache = below ~= "a batch" and {} or nil,
        batch = below ~= "single flight" and { batch = function(r) return { key = r.model } end,
          merge = function(list) return { model = list[1].model, merged = true } end,
          split = function(_, list)
            local out = {}
            for i = 1, #list do out[i] = json.decode(world.good("small").body) end
            return out
          end } or nil,
        fallback = { { model = "small" }, "sorry" } },
        function()
          local asked = 0
          return function(request)
            if json.decode(request.body).model ~= "small" then return world.status(503) end
            asked = asked + 1
            return asked > busy and world.good "small" or world.status(503)
          end
        end)
      local sources = {}
      local ended = all_of(w, 4, function(i)
        sources[i] = assert(w.client:chat { model = "big", temperature = 0,
          messages = { { role = "user", content = "q" .. i } } }).text
      end)
      for i = 1, 4 do assert.is_true(ended[i] < 100, i .. ": " .. ended[i] .. " s") end
      assert.same({ "small", "small", "small", "small" }, sources)
    end)
  end

  it("pay for what is asked in their place once", function()
    local w = world_of({ cache = {}, retry = { attempts = 1 }, fallback = { { model = "small" } } },
      function()
        return function(request)
          local small = json.decode(request.body).model == "small"
          return small and world.good("small", 1) or world.status(503)
        end
      end)
    local before = w.client:status().budget.tokens
    all_of(w, 3, function()
      assert(w.client:chat { model = "big", temperature = 0,
        messages = { { role = "user", content = "q" } } })
    end)
    assert.equal(before, w.client:status().budget.tokens) -- what was paid is paid back
    assert.equal(2, #w.log) -- they asked as one both times
  end)
end)
