-- A policy whose `batch` put calls together, and which had neither `merge` nor `split`, was told to
-- be well by `unbusy check`; no event said that each call waited for its window and went alone.
local inspect = require "unbusy.policy.inspect"

local function notes_of(functions)
  local report = inspect.text("return {\n" .. functions .. "\n}", "p.lua")
  assert.same({}, report.problems)
  return report.notes
end

describe("a batch that nobody merges", function()
  it("is noted", function()
    local notes = notes_of "batch = function() return { key = 'a' } end"
    assert.equal(1, #notes)
    assert.matches("^batch: calls that go together, and neither merge nor split", notes[1].message)
    assert.same({ 2, "batch" }, { notes[1].line, notes[1].decision })
  end)

  it("is not, where a shipped rule does, or somebody", function()
    assert.same({}, notes_of "batch = function() return { rule = 'embeddings' } end")
    assert.same({}, notes_of "batch = function() return false end")
    assert.same({}, notes_of [[batch = function() return { key = 'a' } end,
      merge = function(requests) return requests[1] end,
      split = function(body, requests)
        local out = {}
        for i = 1, #requests do out[i] = body end
        return out
      end]])
  end)
end)
