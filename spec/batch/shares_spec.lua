local random = require "spec.support.random"
local shares = require "unbusy.batching.shares"

local function sums(list)
  local out = { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0, cached = 0,
    reasoning = 0, hit = 0, miss = 0 }
  for _, usage in ipairs(list) do
    for name in pairs(out) do out[name] = out[name] + (usage[name] or 0) end
    out.cached = out.cached + (usage.prompt_tokens_details or { cached_tokens = 0 }).cached_tokens
    out.reasoning = out.reasoning
      + (usage.completion_tokens_details or { reasoning_tokens = 0 }).reasoning_tokens
    out.hit = out.hit + (usage.prompt_cache_hit_tokens or 0)
    out.miss = out.miss + (usage.prompt_cache_miss_tokens or 0)
  end
  return out
end

describe("the shares of a batch's usage", function()
  it("go by the length of what was asked and said", function()
    assert.same({ { prompt_tokens = 10, total_tokens = 10 },
      { prompt_tokens = 30, total_tokens = 30 } },
      shares.of({ prompt_tokens = 40, total_tokens = 40 }, { 100, 300 }, { 0, 0 }))
    assert.same({ { prompt_tokens = 1, completion_tokens = 3, total_tokens = 4 },
      { prompt_tokens = 1, completion_tokens = 9, total_tokens = 10 } },
      shares.of({ prompt_tokens = 2, completion_tokens = 12, total_tokens = 14 }, { 5, 5 },
        { 1, 3 }))
  end)

  it("are under the names that the whole has", function()
    local list = shares.of({ prompt_tokens = 10, completion_tokens = 10, total_tokens = 20,
      prompt_cache_hit_tokens = 4, prompt_cache_miss_tokens = 6,
      prompt_tokens_details = { cached_tokens = 4 },
      completion_tokens_details = { reasoning_tokens = 6 } }, { 1, 1 }, { 1, 1 })
    assert.same({ prompt_tokens = 5, completion_tokens = 5, total_tokens = 10,
      prompt_cache_hit_tokens = 2, prompt_cache_miss_tokens = 3,
      prompt_tokens_details = { cached_tokens = 2 },
      completion_tokens_details = { reasoning_tokens = 3 } }, list[1])
  end)

  it("have their cached tokens beside the others where the whole has them so", function()
    assert.same({ prompt_tokens = 5, total_tokens = 5, cached_tokens = 3 }, shares.of(
      { prompt_tokens = 10, total_tokens = 10, cached_tokens = 6 }, { 1, 1 }, { 1, 1 })[1])
  end)

  it("are of no more cached tokens than there are", function()
    local list = shares.of({ prompt_tokens = 6, completion_tokens = 2, total_tokens = 8,
      prompt_tokens_details = { cached_tokens = 100 },
      completion_tokens_details = { reasoning_tokens = 100 } }, { 1, 1 }, { 1, 1 })
    for i = 1, 2 do
      assert.same({ 3, 1, 4, 3, 1 }, { list[i].prompt_tokens, list[i].completion_tokens,
        list[i].total_tokens, list[i].prompt_tokens_details.cached_tokens,
        list[i].completion_tokens_details.reasoning_tokens })
    end
  end)

  it("are none of what is none", function()
    for _, usage in ipairs { false, "x", { 1, 2 } } do
      assert.is_nil(shares.of(usage, { 1 }, { 1 }))
    end
    assert.is_nil(shares.of(nil, { 1 }, { 1 }))
  end)

  it("add up to the whole, whatever it is", function()
    local r = random.new(random.seed(5))
    for _ = 1, 3000 do
      local n = r:int(20)
      local asked, said = {}, {}
      for i = 1, n do
        asked[i] = r:chance(0.25) and 0 or r:int(5000)
        said[i] = r:chance(0.25) and 0 or r:int(5000)
      end
      local prompt, completion = r:int(10000) - 1, r:int(3000) - 1
      local cached, reasoning = r:int(prompt + 1) - 1, r:int(completion + 1) - 1
      local total = prompt + completion + (r:chance(0.25) and r:int(9) or 0)
      local list = shares.of({ prompt_tokens = prompt, completion_tokens = completion,
        total_tokens = total, prompt_cache_hit_tokens = cached,
        prompt_tokens_details = { cached_tokens = cached },
        completion_tokens_details = { reasoning_tokens = reasoning } }, asked, said)
      assert.equal(n, #list)
      local sum = sums(list)
      if reasoning > 0 and total == prompt + completion + reasoning then -- told beside it
        completion = completion + reasoning
      end
      assert.same({ prompt, completion, total, cached, reasoning, cached, prompt - cached },
        { sum.prompt_tokens, sum.completion_tokens, sum.total_tokens, sum.cached, sum.reasoning,
          sum.hit, sum.miss })
      for _, usage in ipairs(list) do
        assert.is_true(usage.prompt_tokens >= usage.prompt_cache_hit_tokens)
        assert.is_true(usage.completion_tokens >= usage.completion_tokens_details.reasoning_tokens)
      end
    end
  end)
end)
