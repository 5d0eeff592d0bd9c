-- What a gateway shows is read by Prometheus' own tools, in both formats, without a complaint.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "a", url = "${a}/v1", price = { input = 1, output = 2 } },
    { name = "b \"x\" \\", url = "${b}/v1", account = "系统", priority = 2 } },
  retry = { attempts = 3, base = 0.01 }, cache = { top = true }, hedge = true,
  batch = "embeddings", policy = { retry = function() error "no" end },
}]]

local function run(command, text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local out = files.output(command:format(path) .. " 2>&1; echo status $?")
  os.remove(path)
  local said, status = out:match "^(.-)status (%d+)\n$"
  return said, tonumber(status)
end

describe("promtool", function()
  local a, b, g
  setup(function()
    a, b = busyd.start { workers = 1 }, busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, values = { a = a.url, b = b.url } }
    a:programme { faults = { { share = 0.5, answer = { preset = "busy_503" } } } }
    for i = 1, 12 do
      g:ask("/v1/chat/completions", { body = json.encode { model = "m", stream = i % 2 == 0,
        messages = { { role = "user", content = "q" .. i % 4 } } } })
    end
    g:ask("/v1/embeddings", { body = '{"model":"e","input":"x"}' })
    g:ask "/v1/models"
  end)
  teardown(function()
    g:stop()
    a:stop()
    b:stop()
  end)

  it("finds nothing wrong with the text format", function()
    local text = g:ask("/metrics").body
    assert.is_truthy(text:find('target="b \\"x\\" \\\\"', 1, true))
    local said, status = run("promtool check metrics <%s", text)
    assert.same({ "", 0 }, { said, status })
    said, status = run("promtool check metrics <%s", "a_total{ 1\n")
    assert.is_true(status ~= 0 and said ~= "") -- it does look
  end)

  it("makes blocks of OpenMetrics", function()
    local text = g:ask("/metrics",
      { headers = { "accept: application/openmetrics-text; version=1.0.0" } }).body
    local timed = text:gsub("([^\n]+)\n", function(line)
      return line:sub(1, 1) == "#" and line .. "\n" or line .. " 1700000000\n"
    end)
    local said, status = run("promtool tsdb create-blocks-from openmetrics %s $(mktemp -d)", timed)
    assert.equal(0, status, said)
    assert.matches("NUM SAMPLES", said)
    said, status = run("promtool tsdb create-blocks-from openmetrics %s $(mktemp -d)",
      (timed:gsub("# EOF\n", "")))
    assert.is_true(status ~= 0, said) -- it does look
  end)
end)
