-- A call that waits for a place at home for a while, and is sent on then, was counted among those
-- that the line has turned away (`client:status().queue.shed`, `unbusy_queue_refused_total`),
-- though it was answered: where pools spill with a `queue`, the line seemed to refuse most calls.
local world = require "spec.support.world"

-- So many calls, a new one each 1.5 s, with one place of 5 s at home; whether all were answered.
local function play(far)
  local w = world.new { order = { "home", "far" }, script = {
    home = function() return world.good("home", 5) end,
    far = function() return world.good("far", far) end },
    targets = { home = { pool = "home" }, far = { pool = "far" } },
    options = { metrics = true, limiter = { kind = "fixed", initial = 1 },
      queue = { max_wait = 5 }, retry = false,
      pools = { home = { priority = 1, spill = { queue = 2, hold = 0.1 } },
        far = { priority = 2 } } } }
  local answered, refused = 0, 0
  w.loop.run(function()
    for _ = 1, 30 do
      w.loop.spawn(function()
        if w:chat() then answered = answered + 1 else refused = refused + 1 end
      end)
      w.loop.sleep(1.5)
    end
  end)
  local counted = 0
  for n in w.client:metrics():gmatch "unbusy_queue_refused_total%b{} (%d+)" do
    counted = counted + tonumber(n)
  end
  w:assert_clean()
  return { answered = answered, refused = refused, counted = counted }, w
end

describe("a call that is sent on from the line at home", function()
  it("was not turned away", function()
    local told, w = play(1)
    assert.same({ answered = 30, refused = 0, counted = 0 }, told)
    assert.equal(0, w.client:status().queue.shed)
    assert.is_true(#w:seen "queued" > 5) -- there was a line
  end)

  it("is counted once where it is turned away by all", function()
    local told, w = play(30)
    assert.is_true(told.refused > 5, told.refused)
    assert.equal(told.refused, told.counted)
    assert.is_true(w.client:status().queue.shed <= told.refused)
  end)
end)
