-- A client that has `loop = "luv"` was called in a task of `unbusy.run`, which outside of Neovim is
-- one of our own loop. A task may yield, so the call was made and yielded: to our scheduler, which
-- said that "a task has yielded by itself, and nothing could wake it". The call was under way all
-- the same, and kept its place until somebody ran luv's loop, where the task went on that
-- `unbusy.run` had given up. And a task of luv's was joined in one of ours in that way.
local luv = require "unbusy.loops.luv"
local unbusy = require "unbusy"
local uv = require "luv"

describe("in luv's loop, from a task of our own,", function()
  local TOLD = "0290.*:%d+: unbusy: in luv.s loop a call waits in a coroutine, and this is a task"

  local function client()
    return unbusy.new { targets = { { name = "a", url = "http://127.0.0.1:9/v1", key = "k" } },
      retry = false, loop = "luv" }
  end

  local question = { messages = { { role = "user", content = "x" } } }

  it("a call is told at its line what it needs, and nothing is begun", function()
    local c = client()
    unbusy.run(function()
      for _, kind in ipairs { "chat", "stream" } do
        local ok, message = pcall(function() c[kind](c, question) end)
        assert.is_false(ok)
        assert.matches(TOLD, message)
      end
    end)
    assert.equal(0, c:status().active)
    c:close()
  end)

  it("a coroutine in it waits for luv's loop, as everywhere", function()
    local c, code = client(), nil
    unbusy.run(function()
      coroutine.wrap(function() code = select(3, c:chat(question)) end)()
    end)
    uv.run()
    assert.equal("network", code)
    c:close()
  end)

  it("a task of luv's is joined only when it has ended", function()
    local task = luv.spawn(function() return "done" end)
    local ok, message = unbusy.run(function() return pcall(task.join, task) end)
    assert.is_false(ok)
    assert.matches("join: the task has not ended", message)
    uv.run()
    assert.equal("done", unbusy.run(function() return task:join() end))
  end)
end)
