-- Scripts are given copies, in which they may change what they like. There was one copy for all of
-- a call's scripts, and the batch was made from it: what a policy had changed was sent, and its
-- answer kept for the question as it was.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("a request that a script changes in its copy", function()
  guard.watch(before_each, after_each)

  local asked

  local function server(most)
    asked = {}
    return function(request)
      local list, data = json.decode(request.body).input, {}
      asked[#asked + 1] = json.encode(list)
      if #list > most then return world.status(413) end
      for i in ipairs(list) do
        data[i] = { object = "embedding", index = i - 1, embedding = { i } }
      end
      return { status = 200, body = json.encode { object = "list", model = "m", data = data,
        usage = { prompt_tokens = 1, total_tokens = 1 } } }
    end
  end

  local function embeds(w, count)
    w.loop.run(function()
      for i = 1, count do
        w.loop.spawn(function()
          assert(w.client:embed { model = "m", input = "Text " .. i })
        end)
      end
    end)
    w:assert_clean()
  end

  it("goes into a batch as it is", function()
    local w = world.new { script = { a = server(10) }, options = { batch = "embeddings",
      cache = true, policy = { cache = function(request)
        request.input = request.input:lower()
        return true
      end } } }
    embeds(w, 2)
    assert.same({ '["Text 1","Text 2"]' }, asked)
  end)

  it("is merged as it is, however often", function()
    local w = world.new { script = { a = server(3) }, options = { batch = {
      batch = function() return { key = 1 } end,
      merge = function(requests)
        local list = {}
        for i, r in ipairs(requests) do
          r.input = "> " .. r.input
          list[i] = r.input
        end
        return { model = "m", input = list }
      end,
      split = function(body)
        local out = {}
        for i, d in ipairs(body.data) do out[i] = { data = { d } } end
        return out
      end } } }
    embeds(w, 6)
    assert.same({ '["> Text 1","> Text 2","> Text 3","> Text 4","> Text 5","> Text 6"]',
      '["> Text 1","> Text 2","> Text 3"]', '["> Text 4","> Text 5","> Text 6"]' }, asked)
  end)
end)
