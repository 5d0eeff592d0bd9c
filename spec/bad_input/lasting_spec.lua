-- Failures that the same server would repeat: a redirect, and answers that are refused for their
-- size. They are never asked for again, only elsewhere.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

describe("what would only come again", function()
  guard.watch(before_each, after_each)
  local bad, good
  setup(function()
    bad = busyd.start { workers = 1 }
    good = busyd.start { workers = 1 }
  end)
  teardown(function()
    bad:stop()
    good:stop()
  end)

  local function new(both, limit)
    local targets = { { name = "one", url = bad.url, key = "key-1", proxy = false,
      limits = { body = limit } } }
    if both then
      targets[2] = { name = "two", url = good.url, key = "key-2", proxy = false }
    end
    return unbusy.new { targets = targets, retry = { base = 0.001 } }
  end

  local function whole(client) return client:chat(QUESTION) end
  local function streamed(client)
    local stream, message, code, detail = client:stream(QUESTION)
    if not stream then return nil, message, code, detail end
    return stream:reply()
  end

  local cases = {
    { "a redirect", { preset = "redirect" }, "one: 302 redirected, not followed" },
    { "a permanent redirect", { preset = "redirect", status = 308 },
      "one: 308 redirected, not followed" },
    { "a header without an end", { preset = "endless_header", bytes = 400000 },
      "one: headers: the answer's header is too long" },
    { "an answer that is too large", { preset = "huge_event", bytes = 3e6 },
      "one: body: the answer is larger than allowed", limit = 1e6 },
    { "one that is packed small", { preset = "gzip_bomb", bytes = 2 ^ 23 },
      "one: body: the answer is larger than allowed", limit = 1e6, whole = true },
  }
  for _, case in ipairs(cases) do
    local name, answer, message = case[1], case[2], case[3]
    for how, call in pairs { whole = whole, streamed = not case.whole and streamed or nil } do
      it(("%s (%s) is not asked for again"):format(name, how), function()
        bad:programme { reset = true, faults = { { share = 1, answer = answer } } }
        local reply, said, code, detail = call(new(false, case.limit))
        assert.is_nil(reply)
        assert.same({ message, "upstream", true, 1 }, { said, code, detail.lasting, detail.tries })
        assert.equal(1, bad:counts().received)
      end)

      it(("%s (%s) is asked for elsewhere"):format(name, how), function()
        bad:programme { reset = true, faults = { { share = 1, answer = answer } } }
        local reply = assert(call(new(true, case.limit)))
        assert.same({ "two", 2 }, { reply.target, reply.tries })
        assert.equal(1, bad:counts().received)
      end)
    end
  end

  it("the server's own word for another try goes before that", function()
    bad:programme { reset = true, script = {
      { preset = "redirect", headers = { ["x-should-retry"] = "true" } } } }
    assert.equal(2, assert(new(false):chat(QUESTION)).tries)
  end)

  it("what is not refused for its size is asked for again, as before", function()
    for _, preset in ipairs { "garbage", "malformed_json", "cut_headers" } do
      bad:programme { reset = true, script = { { preset = preset } } }
      assert.equal(2, assert(new(false):chat(QUESTION)).tries)
    end
  end)
end)
