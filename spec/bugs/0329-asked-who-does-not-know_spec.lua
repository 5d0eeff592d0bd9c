-- A response that goes on from what a server has kept (`previous_response_id`) is known to the
-- account that has kept it, and to no other. Where that was busy once, the call went to another
-- account, as every call does, and was told there that it was wrong: it failed as `invalid`, with
-- no more tries, and without the fallback that stands in for a busy server.
local json = require "unbusy.json"
local world = require "spec.support.world"

local function response(text)
  return { status = 200, body = json.encode { id = "r1", object = "response", model = "m",
    status = "completed", output = json.array { { type = "message", role = "assistant",
      content = json.array { { type = "output_text", text = text } } } } } }
end

local UNKNOWN = world.status(400, nil, json.encode { error = {
  message = "Previous response with id 'r0' not found.", code = "previous_response_not_found" } })

local function ask(more, first, options)
  local o = { retry = { attempts = 2, base = 0.1, jitter = 0 }, fallback = "busy" }
  for name, value in pairs(options or {}) do o[name] = value end
  local w = world.new { order = { "a", "b", "c" }, options = o, script = {
      a = first, b = { UNKNOWN }, c = { response "known there, too" } },
    targets = { a = { account = "one" }, c = { account = "one" } } }
  local request, hosts = { model = "m", input = "go on" }, {}
  for name, value in pairs(more) do request[name] = value end
  local reply, _, code = w.client:responses(request)
  for i, entry in ipairs(w.log) do hosts[i] = entry.host end
  w:assert_clean()
  return reply and reply.text or code, table.concat(hosts, " ")
end

describe("a response that goes on from what a server has kept", function()
  local busy = world.status(503)

  for name, value in pairs { previous_response_id = "r0", conversation = "c0",
    prompt = { id = "p0" } } do
    it("is tried again at the same account, with " .. name, function()
      assert.same({ "known there, too", "a c" }, { ask({ [name] = value }, { busy }) })
    end)
  end

  it("has the fallback where that one stays busy", function()
    local options = { retry = { attempts = 1 } }
    assert.same({ "busy", "a" }, { ask({ previous_response_id = "r0" }, { busy }, options) })
  end)

  it("does not leave a server's queue for another account, whatever the policy says", function()
    local waits = world.status(200, nil, nil, 0.1)
    waits.steps, waits.body = { { 1, "\n" }, { 1, "\n" }, { 1, response("mine").body } }, nil
    assert.same({ "mine", "a" }, { ask({ previous_response_id = "r0" }, { waits },
      { policy = { queued = function() return "switch" end } }) })
  end)

  it("goes anywhere where it goes on from nothing", function()
    assert.same({ "invalid", "a b" }, { ask({ previous_response_id = json.null }, { busy }) })
  end)
end)
