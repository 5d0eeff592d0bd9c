--- Streams that are gone on with, in virtual time: what their specs have in common.
local exact = require "spec.support.exact"
local world = require "spec.support.world"

local resumed = {
  TEXT = "The cat sat on the mat, and the dog looked on; nobody said a word about it.",
  QUICK = { base = 0.5, jitter = 0 },
}

resumed.DONE = 900 -- bytes into the stream: some words have come

--- A request, with `more` in it.
function resumed.question(more)
  local request = { model = "m", messages = { { role = "user", content = "Tell me." } } }
  for name, value in pairs(more or {}) do request[name] = value end
  return request
end

--- A world of exact servers; `targets` as of `world.new`.
function resumed.build(o)
  local script, servers = {}, {}
  for name, given in pairs(o.servers) do
    given.text = given.text or resumed.TEXT
    servers[name] = exact.new(given)
    script[name] = servers[name].script
  end
  local options = { retry = resumed.QUICK, resume = "prefix" }
  for name, value in pairs(o.options or {}) do options[name] = value end
  local targets = { a = { prefix = "flag" }, b = { prefix = "flag" } }
  for name, value in pairs(o.targets or {}) do targets[name] = value end
  local w = world.new { script = script, options = options, targets = targets, order = o.order }
  w.servers = servers
  return w
end

--- Reads to the end: the text, and the failure if there is one.
function resumed.drain(stream)
  local out = {}
  while true do
    local piece, message, code, detail = stream:read()
    if code then return table.concat(out), message, code, detail end
    if not piece then return table.concat(out) end
    out[#out + 1] = piece.text
  end
end

--- Nothing may be left.
function resumed.finish(w)
  w:assert_clean()
  w.client:close()
end

return resumed
