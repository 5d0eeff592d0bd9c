--- Calls that are made at the same time, of a client with a cache, in virtual time: for specs of
--- single flight.
local scheduler = require "unbusy.loops.scheduler"
local world = require "spec.support.world"

local coalesced = {}

--- A world of one target, "a", with a cache; the script is that target's.
function coalesced.world(script, options, targets)
  local o = { cache = true, retry = false }
  for name, value in pairs(options or {}) do o[name] = value end
  return world.new { script = { a = script }, options = o, targets = targets }
end

--- A request.
function coalesced.request(text, more)
  local request = { model = "m", messages = { { role = "user", content = text or "x" } } }
  for name, value in pairs(more or {}) do request[name] = value end
  return request
end

--- Makes all calls at once, in tasks of their own. Each is { text =, given = options, more = fields
--- of the request, after = seconds to wait before, kind =, read = function(stream) }; a number
--- makes so many that are the same. Gives for each { reply, message, code, detail, at }.
function coalesced.ask(w, list)
  if type(list) == "number" then
    local n = list
    list = {}
    for i = 1, n do list[i] = {} end
  end
  local out = {}
  w.loop.run(function()
    for i, item in ipairs(list) do
      out[i] = {}
      w.loop.spawn(function()
        if item.after then w.loop.sleep(item.after) end
        local call = w.client[item.kind or "chat"]
        local reply, message, code, detail =
          call(w.client, item.request or coalesced.request(item.text, item.more), item.given)
        if reply and item.kind == "stream" then
          out[i].stream = reply
          if item.read then reply, message, code, detail = item.read(reply, w)
          else reply, message, code, detail = reply:reply() end
        end
        local o = out[i]
        o.reply, o.message, o.code, o.detail, o.at = reply, message, code, detail, w:now()
      end)
    end
  end)
  return out
end

--- The sources of all replies, or codes of failures, with how often each came: "coalesced: 2, …".
function coalesced.told(out)
  local counts, names = {}, {}
  for _, o in ipairs(out) do
    local name = o.reply and o.reply.source or o.code or "nothing"
    if not counts[name] then names[#names + 1] = name end
    counts[name] = (counts[name] or 0) + 1
  end
  table.sort(names)
  for i, name in ipairs(names) do names[i] = ("%s: %d"):format(name, counts[name]) end
  return table.concat(names, ", ")
end

--- Is no task left?
function coalesced.assert_idle(w)
  w:assert_clean()
  assert(scheduler.live() == 0, "tasks are left: " .. scheduler.live())
  local stats = w.client:status().coalesce
  assert(stats.open == 0 and stats.members == 0, "flights are left")
  for _, place in pairs(w.client.flights.open) do
    assert(next(place) == nil, "a place in the table is left")
  end
end

return coalesced
