-- A weak answer to a response that goes on from what a server keeps (`previous_response_id`) was
-- asked for anew of another account, which does not know what goes on: a call in vain each time,
-- out of the share of those that may be asked twice.
local json = require "unbusy.json"
local world = require "spec.support.world"

local function response(text)
  return { status = 200, body = json.encode { id = "r1", object = "response", model = "m",
    status = "completed", output = json.array { { type = "message", role = "assistant",
      content = json.array { { type = "output_text", text = text } } } } } }
end

local function ask(account, more)
  local w = world.new { order = { "small", "large" },
    script = { small = { response "?" }, large = { response "because of the moon" } },
    targets = { small = { pool = "edge", account = "one" },
      large = { pool = "centre", account = account } },
    options = { escalate = { from = "edge", to = "centre", short = 5, most = 1 } } }
  local request, hosts = { model = "m", input = "why?" }, {}
  for name, value in pairs(more) do request[name] = value end
  local reply = assert(w.client:responses(request))
  for i, entry in ipairs(w.log) do hosts[i] = entry.host end
  w:assert_clean()
  return reply.text, table.concat(hosts, " ")
end

describe("a weak answer that goes on from what a server keeps", function()
  it("is asked for anew at that account alone", function()
    local kept = { previous_response_id = "r0" }
    assert.same({ "?", "small" }, { ask("two", kept) })
    assert.same({ "because of the moon", "small large" }, { ask("one", kept) })
    assert.same({ "because of the moon", "small large" }, { ask("two", {}) })
  end)
end)
