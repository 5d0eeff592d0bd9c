-- In a gateway nobody has an `on_event`, and a policy's faults, a new version that could not be
-- loaded and one that was stood nowhere but on the status, where each fault covers the one before:
-- docs/operations.md sent its reader to nginx's log.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local guard = require "spec.support.leak_guard"

describe("a gateway's policy", function()
  guard.watch(before_each, after_each)

  local up, g, path

  local function write(text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    os.execute("chmod 644 " .. path)
  end

  setup(function()
    path = os.tmpname() .. ".lua"
    write "return { retry = function() return -1 end }"
    up = busyd.start { workers = 1, programme = { capacity = 0 } }
    g = gateways.start { values = { url = up.url, policy = path }, config = [[return {
      breaker = false, limiter = false, retry = { attempts = 2, base = 0.01 }, budget = false,
      policy = "${policy}", targets = { { name = "up", url = "${url}/v1", key = "sk-0170" } },
    }]] }
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
    os.remove(path)
    os.remove((path:gsub("%.lua$", ""))) -- which os.tmpname makes
  end)

  local function ask()
    return g:ask("/v1/chat/completions",
      { body = '{"model":"m","messages":[{"role":"user","content":"hi"}]}' }).status
  end

  -- Asks until nginx's log says so; how often it does.
  local function told(words)
    local count = 0
    for _ = 1, 60 do
      ask()
      count = select(2, g:errors():gsub(words:gsub("%p", "%%%0"), ""))
      if count > 0 then break end
      os.execute "sleep 0.2"
    end
    return count
  end

  it("stands in nginx's log, whatever becomes of it", function()
    local name = "unbusy: policy " .. path .. ", version "
    for _ = 1, 3 do assert.equal(503, ask()) end
    assert.equal(1, told(name .. "1: retry: " .. path .. ":1: seconds from 0"))
    write "return {\n"
    assert.equal(1, told(name .. "1: the version before it goes on: " .. path .. ":2: "))
    write "return { retry = function() return nil end } -- a new one"
    assert.equal(1, told(name .. "2: it runs from now on"))
    os.remove(path)
    assert.equal(1, told(name .. "2: the version before it goes on: " .. path .. ": No such file"))
    assert.is_nil(g:errors():find("[error]", 1, true))
  end)
end)
