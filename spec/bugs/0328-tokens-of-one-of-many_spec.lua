-- Before a call is sent, the tokens that it will take are foreseen, so that the limit per minute is
-- not exceeded. Of a list of prompts, and of several calls that go as one, one answer's were: so
-- sixteen completions in a batch were let in as one, and the server refused what was too much.
local batching = require "spec.support.batching"
local json = require "unbusy.json"

-- The tokens that are taken while a request is under way.
local function taken(w, kind, list, more)
  local tokens
  w.loop.run(function()
    for _, text in ipairs(list) do
      local request = kind == "chat" and { messages = { { role = "user", content = text } } }
        or { prompt = text }
      for name, value in pairs(more) do request[name] = value end
      w.loop.spawn(function() assert(w.client[kind](w.client, request)) end)
    end
    w.loop.sleep(0.05)
    local told = w.client:status().targets[1].limits[""].per_minute.tokens
    tokens = told.most - told.left
  end)
  assert.equal(1, #w.log)
  w:assert_clean()
  return tokens
end

-- The answer to a prompt that is a list of tokens.
local function of_numbers(texts)
  if type(texts[1]) ~= "number" then return nil end
  return { status = 200, body = json.encode { choices = { { index = 0, text = "x",
    finish_reason = "stop" } } } }
end

local function new(rule)
  return batching.world { batch = rule, targets = { a = { batch = "/b",
    limits = { tokens_per_minute = 60000 } } }, whole = of_numbers }
end

describe("the tokens that are foreseen", function()
  it("are those of all prompts of a list", function()
    local tokens = taken(new(), "complete", { { "a", "b", "c", "d" } }, { max_tokens = 500 })
    assert.near(4 * 500, tokens, 100)
    tokens = taken(new(), "complete", { { 1, 2, 3, 4 } }, { max_tokens = 500 }) -- one prompt
    assert.near(500, tokens, 100)
  end)

  for kind, rule in pairs { complete = "completions", chat = "endpoint" } do
    it("are those of all calls that go as one, " .. rule, function()
      local tokens = taken(new(rule), kind, { "a", "b", "c", "d" }, { max_tokens = 500 })
      assert.near(4 * 500, tokens, 100)
      tokens = taken(new(rule), kind, { "a", "b", "c", "d" }, {}) -- 256 each, where none is known
      assert.near(4 * 256, tokens, 100)
    end)
  end

  it("are learnt of one answer, and not of all of a list", function()
    local w = new()
    taken(w, "complete", { { "a", "b", "c", "d" } }, {})
    local usual = w.client.targets[1]:scope(nil).rates.usual
    assert.is_true(usual == nil or usual <= 256, usual)
  end)
end)
