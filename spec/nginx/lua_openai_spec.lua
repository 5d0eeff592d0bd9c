-- Inside nginx: unbusy.lua_openai makes its client in a handler, and its requests wait without
-- blocking the worker.
local busyd = require "spec.support.busyd"
local calls = require "spec.support.host_calls"
local direct = require "spec.support.direct"
local sites = require "spec.support.site"

describe("inside nginx, under lua-openai", function()
  it("answers, several at once in one worker", function()
    local up = busyd.start {}
    local site = sites.start { targets = { { name = "a", url = up.url } }, workers = 1,
      locations = ([[
        location /openai { content_by_lua_block {
          local lua_openai, out = require "unbusy.lua_openai", {}
          local function ask(i)
            local text = json.encode(question("q" .. i))
            assert(lua_openai.request { url = "%s/v1/chat/completions", method = "POST",
              source = function()
                local all = text
                text = nil
                return all
              end,
              sink = function(bytes)
                out[i] = (out[i] or "") .. (bytes or "")
                return 1
              end })
            out[i] = json.decode(out[i]).choices[1].message.content
          end
          local threads = {}
          for i = 1, 4 do threads[i] = ngx.thread.spawn(ask, i) end
          for i = 1, 4 do assert(ngx.thread.wait(threads[i])) end
          ngx.print(table.concat(out, " "))
        } }
      ]]):format(up.url) }
    local release = calls.gate(up, 4, direct.pause) -- none is answered before all are there
    local curl = io.popen("curl -q -s --noproxy '*' --max-time 120 " .. site.url .. "/openai")
    release()
    local said = curl:read "*a"
    curl:close()
    local most = up:counts().queued_max
    local faults = site:faults()
    site:stop()
    up:stop()
    assert.equal("echo: q1 echo: q2 echo: q3 echo: q4", said)
    assert.equal(4, most)
    assert.equal("", faults)
  end)
end)
