-- The tag of a model with a long name was cut in the middle of a character. JSON cannot say that:
-- one such answer, which any client of a gateway could bring about, ended `unbusy cache export`.
-- And `unbusy cache purge --model` refused the name instead of cutting it likewise.
local cache = require "unbusy.cache"
local entries = require "unbusy.cli.entries"
local json = require "unbusy.json"
local stored = require "unbusy.caching.stored"
local world = require "spec.support.world"

local function next_entry(client)
  local _, key, value, about = client.cache.near:next()
  return key, value, about
end

describe("the tag of a long name", function()
  it("ends with a whole character", function()
    for blanks = 0, 3 do
      local name = ("x"):rep(blanks) .. ("天"):rep(80)
      local w = world.new { script = { a = { world.good "hello" } }, options = { cache = true } }
      w.client:chat { model = name, messages = { { role = "user", content = "hi" } } }
      local key, value, about = next_entry(w.client)
      assert.is_truthy(json.decode(entries.line(key, value, about)))
      local tag = stored.tag("model", name)
      assert.is_true(#tag > 60 and #tag <= 64 and json.is_utf8(tag) ~= nil)
      assert.equal(1, w.client.cache:purge(tag))
    end
    assert.equal("model:m", stored.tag("model", "m"))
    assert.equal(64, #stored.tag("target", ("x"):rep(100)))
  end)

  it("that is no text is exported all the same", function()
    local key, tags = cache.bytes_of_key(cache.key "q"), { "\228\184", "ok" }
    local line = entries.line(key, "v", { age = 0, ttl = 1, tags = tags })
    assert.same({ key = key, value = "v", age = 0, ttl = 1, tags = tags }, entries.read(line))
    for _, wrong in ipairs { '5', '["?"]', '{"a":1}', '[""]', '[5]' } do
      local text = line:gsub('"tags64":%[.-%]', '"tags64":' .. wrong)
      local entry, message = entries.read(text)
      assert.is_true(entry == nil and message ~= nil or entry.tags[1] == nil)
    end
  end)
end)
