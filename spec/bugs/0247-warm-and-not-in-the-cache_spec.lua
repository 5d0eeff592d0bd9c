-- `unbusy warm` ended with status 0, "all of them are in the cache", where questions had been asked
-- (and paid for) whose answers are not kept: too much temperature, cut for their length, a tenant's
-- cache. Nobody was told, by `client:warm` either.
local busyd = require "spec.support.busyd"
local json = require "unbusy.json"
local served = require "spec.support.served"
local world = require "spec.support.world"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } } },
  cache = { bytes = 1000000, entries = 100 }, gateway = {},
}]]

local HOT = { messages = { { role = "user", content = "a poem" } }, temperature = 1.5 }

describe("a question that is asked ahead of time, and whose answer is not kept", function()
  it("is told of by client:warm", function()
    local cut = { status = 200, body = json.encode { model = "m", choices = { { index = 0,
      finish_reason = "length", message = { role = "assistant", content = "half" } } } } }
    local w = world.new { script = { a = function(r)
      return r.body:find "long" and cut or world.good "x"
    end }, options = { cache = true } }
    local result = w.client:warm { "one", HOT, "a long one", "two" }
    table.sort(result.unkept)
    assert.same({ asked = 4, fresh = 0, failures = {}, unkept = { 2, 3 } }, result)
    result = w.client:warm({ "a long one", HOT, "one", "two" }, { at_once = 1 })
    assert.same({ asked = 2, fresh = 2, failures = {}, unkept = { 1, 2 } }, result)
  end)

  it("is told of by unbusy warm, whose status is not 0", function()
    local up, place = busyd.start { workers = 1 }, served.place()
    local path = place:write("gw.lua", CONFIG:format(up.url))
    local server = served.start(place, { path })
    local input = place:write("input", "one\n" .. json.encode(HOT) .. "\n")
    local function run(...)
      return place:run({ "warm", "--config", path, ... }, { input = input })
    end
    local r = run "-"
    assert.equal(3, r.rc)
    assert.equal("unbusy: question 2: its answer is not kept\n", r.err)
    assert.matches("^asked 2, fresh 0, failed 0, not kept 1 of 2 in %d+%.%d s\n$", r.out)
    r = run("--json", "-")
    local told = json.decode(r.out)
    assert.same({ 3, "" }, { r.rc, r.err })
    assert.same({ 1, 1, 0, { 2 } }, { told.asked, told.fresh, #told.failures, told.unkept })
    input = place:write("input", "one\n")
    assert.equal(0, run("-").rc)
    server:stop()
    place:remove()
    up:stop()
  end)
end)
