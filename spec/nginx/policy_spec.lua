-- Policies inside nginx: each worker loads a changed file by itself, outside of its requests.
local busyd = require "spec.support.busyd"
local sites = require "spec.support.site"

describe("a policy inside nginx", function()
  local up, site, path

  setup(function()
    up = busyd.start {}
    path = os.tmpname() .. ".lua"
  end)
  teardown(function()
    up:stop()
    os.remove(path)
  end)
  before_each(function() up:programme { reset = true } end)
  after_each(function()
    if site then site:stop() end
    site = nil
  end)

  local function write(text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    os.execute("chmod 644 " .. path)
  end

  -- A policy that answers each good answer with this failure.
  local function refuses(code)
    return ("return { classify = function(try) if not try.code then return '%s' end end }")
      :format(code)
  end

  local LOCATIONS = [[
    location /ask { content_by_lua_block {
      local policy = client:status().policy[1]
      local _, _, code = client:chat(question "hi")
      ngx.print(ngx.worker.id(), " ", code, " ", policy.version, " ", reads)
    } }
    location /reload { content_by_lua_block {
      local ok, message, code = client:reload()
      ngx.print(tostring(ok), " ", code, " ", message)
    } }
    location /yields { content_by_lua_block {
      local reply, message = client:chat(question "hi", { policy = {
        classify = function() ngx.sleep(0.01) return "busy" end } })
      local list = client:status().policy
      ngx.print(reply and reply.text, " ", list[#list].last_fault)
    } }
  ]]

  -- Counts what is read of the policy's file while a request runs.
  local INIT = [[
    reads = 0
    local open = io.open
    io.open = function(...)
      local phase = ngx.get_phase()
      if phase ~= "timer" and phase ~= "init" then reads = reads + 1 end
      return open(...)
    end
  ]]

  local function start(workers)
    site = sites.start { targets = { { name = "a", url = up.url .. "/v1" } }, retry = false,
      policy = path, workers = workers, breaker = false, locations = LOCATIONS, init = INIT }
  end

  -- What each worker says, once all have said what is wanted.
  local function await_all(workers, wanted)
    local seen, count = {}, 0
    sites.await(wanted, function()
      local id, rest = site:get "/ask":match "^(%d+) (.*)$"
      if id and rest:find(wanted) and not seen[id] then
        seen[id], count = true, count + 1
      end
      return count == workers
    end)
  end

  it("is loaded anew by each worker, and not within a request; a broken one by none", function()
    write(refuses "busy")
    start(2)
    await_all(2, "^busy 1 0$")
    write(refuses "empty")
    await_all(2, "^empty 2 0$")
    write "return { classify = function(try) retu"
    local noticed, count = {}, 0
    sites.await("each worker to notice", function()
      assert.matches("^%d empty 2 0$", (site:get "/ask"))
      local status = site:status()
      local fault = status.policy[1].last_fault
      if fault and not noticed[status.pid] then noticed[status.pid], count = fault, count + 1 end
      return count == 2
    end)
    for _, fault in pairs(noticed) do assert.matches("%.lua:1: .*expected near", fault) end
    write(refuses "upstream")
    await_all(2, "^upstream 3 0$")
    assert.equal("", site:faults())
  end)

  it("may be loaded at once, and keeps running when it cannot be", function()
    write(refuses "busy")
    start(1)
    write "return {"
    assert.matches("^nil policy reload: .*%.lua:1: unexpected", (site:get "/reload"))
    assert.matches("^0 busy 1 ", (site:get "/ask"))
    write(refuses "limited")
    assert.equal("true nil nil", (site:get "/reload"))
    assert.matches("^0 limited 2 ", (site:get "/ask"))
    assert.equal("", site:faults())
  end)

  it("cannot wait, whatever it is made of, and the call goes on without it", function()
    write "return {}"
    start(1)
    assert.matches("^echo: hi classify: .*attempt to yield across C%-call boundary$",
      (site:get "/yields"))
    local status = site:status()
    assert.same({ 0, 0 }, { status.active, status.core.transfers })
    assert.equal("", site:faults())
  end)
end)
