-- The answer to a stream that had asked for no usage (stream_options) went into the cache under the
-- key of all, and was given, without usage, to callers who wanted it; and a plain call that joined
-- such a stream's flight got none either.
local json = require "unbusy.json"
local region = require "unbusy.region"
local world = require "spec.support.world"

local USAGE = "data: " .. json.encode { id = "x", object = "chat.completion.chunk", model = "m",
  choices = json.array {}, usage = { prompt_tokens = 3, completion_tokens = 1, total_tokens = 4 },
} .. "\n\n"

local NONE, SOME = { include_usage = false }, { include_usage = true }

-- A server that tells its usage as OpenAI's do.
local function served(request)
  local body = json.decode(request.body)
  if not body.stream then return world.good "hi" end
  local steps = { { 0.1, world.chunk { content = "hi" } }, { 0, world.chunk({}, "stop") } }
  local o = body.stream_options
  if type(o) == "table" and o.include_usage == true then
    steps[#steps + 1] = { 0, USAGE }
  end
  steps[#steps + 1] = { 0, world.DONE }
  return world.streamed(steps)
end

describe("a stream without usage", function()
  local w

  local function stream(o)
    local s = assert(w.client:stream { messages = world.question.messages, stream_options = o,
      temperature = 0 })
    local reply = assert(s:reply())
    return { s.source, reply.usage and reply.usage.total_tokens or "none" }
  end

  local function chat(given)
    local reply = assert(w.client:chat({ messages = world.question.messages, temperature = 0 },
      given))
    return { reply.source, reply.usage and reply.usage.total_tokens or "none" }
  end

  local function inside(options, f)
    w = world.new { script = { a = served }, options = options }
    w.loop.run(f)
    w:assert_clean()
  end

  it("is kept for those who want none, and for no others", function()
    for _, o in ipairs { NONE, {}, json.null } do
      inside({ cache = true }, function()
        assert.same({ "upstream", "none" }, stream(o))
        assert.same({ "cache", "none" }, stream(o))
        assert.same({ "cache", "none" }, chat { only_cached = true }) -- rather than nothing
        assert.same({ "upstream", 4 }, stream(SOME))
        assert.same({ "cache", 4 }, stream(SOME))
        assert.same({ "cache", 4 }, stream(nil))
        assert.same({ "cache", 4 }, chat())
        assert.equal("cache", stream(o)[1])
        assert.equal(2, #w.log)
      end)
    end
    inside({ cache = true }, function()
      stream(NONE)
      assert.same({ "upstream", 15 }, chat())
    end)
  end)

  it("is what a server gives that never tells it, too", function()
    w = world.new { script = { a = { world.words { "hi" } } }, options = { cache = true } }
    w.loop.run(function()
      assert.same({ "upstream", "none" }, stream(SOME))
      assert.same({ "cache", "none" }, stream(SOME))
    end)
  end)

  it("stands in for an answer that nobody gives", function()
    local busy = false
    w = world.new { script = { a = function(request)
      return busy and world.status(503) or served(request)
    end }, options = { cache = true, retry = false } }
    w.loop.run(function()
      stream(NONE)
      busy = true
      assert.same({ "stale", "none" }, stream(SOME))
    end)
  end)

  it("takes no plain call along, in this process or among several", function()
    for _, shared in ipairs { false, true } do
      local r = shared and assert(region.new { bytes = 4 * 1024 * 1024 }) or nil
      inside({ cache = { bytes = 2 ^ 20 }, region = r }, function()
        local seen = {}
        for i, ask in ipairs { stream, chat, stream, chat } do
          w.loop.spawn(function() seen[i] = ask(ask == stream and NONE or nil) end)
        end
        w.loop.sleep(2)
        assert.same({ "none", 15, "none", 15 }, { seen[1][2], seen[2][2], seen[3][2], seen[4][2] })
        assert.equal(2, #w.log)
      end)
    end
  end)
end)
