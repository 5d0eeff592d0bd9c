-- In a region all processes tell of one limit for each model. A process that had not answered under
-- a model's name itself told of it as "other", the next one that Prometheus came to by its name: so
-- two series came and went by turns, and what adds up averages, as `unbusy scale --rule load` does
-- (`sum(avg_over_time(unbusy_in_flight[1m]))`), counted the calls under way twice.
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"
local scraped = require "spec.support.scraped"
local world = require "spec.support.world"

describe("the limits of a region", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  local function process(r)
    return world.new { script = { a = function(request)
      return request.body and request.body:find '"made%-up"' and world.status(404) or world.good()
    end }, options = { metrics = true, region = r, retry = false } }
  end

  it("have the same names in whichever process is asked", function()
    local r = region.new {}
    local first, second = process(r), process(r)
    local question = world.question.messages
    assert.is_truthy(first.client:chat { model = "answered", messages = question })
    first.client:chat { model = "made-up", messages = question }
    for _, w in ipairs { first, second, first } do
      local s = scraped.read(assert(w.client:metrics()))
      for _, name in ipairs { "unbusy_limit", "unbusy_in_flight", "unbusy_limit_refused_total" } do
        assert.is_truthy(s:value(name .. '{account="a",model="answered"}'), name)
        assert.is_truthy(s:value(name .. '{account="a",model="other"}'), name)
        assert.is_nil(s:value(name .. '{account="a",model="made-up"}'), name)
      end
      assert.equal(40, s:sum "unbusy_limit")
    end
    first.client:close()
    second.client:close()
    r:close()
  end)
end)
