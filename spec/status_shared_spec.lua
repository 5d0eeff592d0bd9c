-- What the status of one process says of calls that only another one has made.
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

describe("the status of one of several clients in a region", function()
  local r, clients

  -- Two of one process are as two processes here: each has accounts of its own.
  local function client(name)
    name = name or "up"
    local made = assert(unbusy.new { region = r, limiter = { initial = 7 },
      targets = { { name = name, account = name, url = "http://127.0.0.1:1/v1" } } })
    clients[#clients + 1] = made
    return made
  end

  after_each(function()
    for _, c in ipairs(clients) do c:close() end
    r:close()
    r, clients = nil, nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function() r, clients = assert(region.new { bytes = 4 * 1024 * 1024 }), {} end)

  local function limits(c) return c:status().targets[1].limits end

  it("has the limits of models that the other was asked for, as they are", function()
    local one, other = client(), client()
    assert.same({}, limits(other))
    local limiter = one.targets[1]:limiter "m"
    local ticket = assert(limiter:allow())
    assert.same({ limit = 7, in_flight = 1 }, limits(other).m)
    limiter:report(ticket, "ok", 0.1)
    assert.equal(0, limits(other).m.in_flight)
    assert.equal(0, limits(client()).m.in_flight) -- one that comes later knows it, too
  end)

  it("has nothing of accounts that it does not know, nor of names too long to be noted", function()
    local one, other = client(), client "another"
    one.targets[1].account:scope "m"
    one.targets[1].account:scope(("m"):rep(200))
    one.targets[1].account:scope ""
    assert.same({}, limits(other))
    local mine = limits(client())
    assert.is_table(mine.m)
    assert.is_table(mine[""])
    assert.is_nil(mine[("m"):rep(200)])
  end)

  it("has no more models than an account may", function()
    local one, other = client(), client()
    for i = 1, 100 do one.targets[1].account:scope("m" .. i) end
    local count = 0
    for _ in pairs(limits(other)) do count = count + 1 end
    assert.is_true(count >= 64 and count <= 65, tostring(count))
  end)

  it("is told without the region where that was closed", function()
    local one = client()
    one:close()
    assert.equal("up", one:status().targets[1].name)
  end)
end)
