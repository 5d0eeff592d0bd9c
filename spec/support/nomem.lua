--- Out of memory, at each allocation of the core in turn.
--
--     local failed = nomem.each(function() return e:submit(request) end, function(n, id, _, code)
--       assert.is_nil(id)
--       assert.equal("nomem", code)
--     end)
local core = require "unbusy.core"

local nomem = {}

local MOST = 2000 -- allocations of one run, or it never ends

local function pack(...)
  return { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore 113 143

--- Calls `run()` with the first, the second, … allocation failing, until none failed, and after
--- each failure `check(n, …)` with what it gave. That last run must not raise either.
---@return integer failed how many allocations were made to fail
---@return any ... what the run without a failure gave
function nomem.each(run, check)
  for n = 1, MOST do
    core.fail_alloc(n)
    local got = pack(pcall(run))
    local left = core.fail_alloc(0)
    assert(got[1], ("allocation %d: %s"):format(n, tostring(got[2])))
    if left > 0 then return n - 1, unpack(got, 2, got.n) end
    check(n, unpack(got, 2, got.n))
  end
  error("no run without a failure", 2)
end

return nomem
