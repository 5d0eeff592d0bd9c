-- docs/redis.md stays true: its example runs, and prints what it says; its tables are what the code
-- has.
local busyd = require "spec.support.busyd"
local levels = require "spec.support.redis_levels"
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

  it("has an example that prints what it says", function()
    local blocks, ran = readme.blocks(PATH), 0
    for i, block in ipairs(blocks) do
      if block.language == "lua" then
        ran = ran + 1
        up:programme { reset = true }
        local path = os.tmpname()
        local file = assert(io.open(path, "wb"))
        file:write((block.text:gsub("https://api%.deepseek%.com", up.url)
          :gsub("127%.0%.0%.1:6379", "127.0.0.1:" .. server.port)))
        file:close()
        local out = redis_server.output_of(("%s %s 2>&1"):format(os.getenv "UNBUSY_LUA" or "lua5.4",
          path))
        os.remove(path)
        assert.equal(blocks[i + 1].text, out .. "\n")
      end
    end
    assert.equal(1, ran)
  end)

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
