-- docs/redis.md stays true: its example runs, and prints what it says; its tables are what the code
-- has.
local busyd = require "spec.support.busyd"
local levels = require "spec.support.redis_levels"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local redis_options = require "unbusy.caching.redis_options"
local redis_server = require "spec.support.redis_server"

local PATH = "docs/redis.md"

describe("docs/redis.md", function()
  local up, server
  setup(function()
    up = busyd.start { workers = 1 }
    server = redis_server.start { port = true }
  end)
  teardown(function()
    up:stop()
    server:stop()
  end)

  local count = pages.examples(PATH, it, function(text)
    up:programme { reset = true }
    return pages.output_of(pages.at(text, { ["https://api.deepseek.com"] = up.url,
      ["127.0.0.1:6379"] = "127.0.0.1:" .. server.port }))
  end)

  it("has one example", function() assert.equal(1, count) end)

  it("names every option, with its default", function()
    local text = readme.text(PATH)
    for name, field in pairs(redis_options.schema) do
      local row = text:match("\n(|[^\n|]*`" .. name .. "`[^\n]*)")
      assert.is_string(row, name)
      local default = row:match "^|[^|]*| ([^|]*) |" or ""
      local shown = field.default and tostring(field.default) or ""
      assert.equal(shown, (default:gsub("`", "")), name)
    end
  end)

  it("names every count", function()
    local text, client = readme.text(PATH), levels.client "/nowhere"
    local known = { place = true, waiting = true }
    for name in pairs(levels.stats(client)) do
      assert.truthy(known[name] or text:find("`" .. name .. "`", 1, true), name)
    end
    client:close()
  end)
end)
