-- A prompt, or an input, may be a list of token numbers. Of the limit per minute it was thought to
-- take nothing but its answer: a hundred embeddings of a thousand tokens each went out at once.
local world = require "spec.support.world"

local function left_of(kind, request)
  local w = world.new { script = { a = { world.status(503) } },
    targets = { a = { limits = { tokens_per_minute = 60000 } } },
    options = { retry = { attempts = 1 } } }
  local foreseen
  w.loop.run(function()
    local task = w.loop.spawn(function() return w.client[kind](w.client, request) end)
    w.loop.sleep(0.01)
    foreseen = w.client:status().targets[1].limits[""].per_minute.tokens.left
    task:join()
  end)
  w:assert_clean()
  return foreseen
end

describe("the limit per minute, of token numbers,", function()
  local tokens = {}
  for i = 1, 1000 do tokens[i] = i end

  it("foresees each of them as a token", function()
    for kind, request in pairs { embed = { input = tokens },
      complete = { prompt = tokens, max_tokens = 1 } } do
      local less = left_of(kind, request)
      for name, value in pairs(request) do
        if value == tokens then request[name] = { 1 } end
      end
      assert.near(999, left_of(kind, request) - less, 20, kind)
    end
  end)
end)
