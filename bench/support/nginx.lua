--- A plain nginx for benches: it answers at once, and costs as little as a server can.
--
--     local server = nginx.start()
--     server.url .. "/ok/…"      a whole answer of 700 bytes, on a kept connection
--     server.url .. "/size/N/…"  the same, N bytes longer
--     server.url .. "/hold/…"    a stream: one event, and then nothing until the caller leaves
--     server.url .. "/stream/…"  a stream of three events that ends well
--     server.url .. "/paced/…"   the same, 10 ms between its events
--     server.url .. "/slow/…"    a whole answer, after two seconds (at first two to four)
--     server.url .. "/begun"     how many of /hold and /slow have begun
--     server.url .. "/cut/…"     a stream that is cut after its first event
--     server.url .. "/busy/…"    503
--     server.url .. "/lost/…"    the connection is closed without an answer
local launcher = require "spec.support.launcher"

local nginx = {}

local CONFIG = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log crit;
worker_rlimit_nofile 20000;
events { worker_connections 8192; }
http {
  access_log off;
  default_type application/json;
  ${temp_paths}
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 17m;
  lua_check_client_abort on;
  init_by_lua_block {
    local event = 'data: {"id":"x","object":"chat.completion.chunk","model":"m","choices":'
      .. '[{"index":0,"delta":{"content":"hello "},"finish_reason":%s}]}\n\n'
    local function say(text)
      ngx.print(text)
      ngx.flush(true)
    end
    local function begin()
      ngx.req.read_body()
      ngx.header.content_type = "text/event-stream"
      say(event:format "null")
    end
    begun = 0
    function hold()
      begin()
      begun = begun + 1
      ngx.sleep(3600)
    end
    function stream()
      begin()
      say(event:format "null")
      say(event:format '"stop"' .. "data: [DONE]\n\n")
    end
    function paced()
      begin()
      ngx.sleep(0.01)
      say(event:format "null")
      ngx.sleep(0.01)
      say(event:format '"stop"' .. "data: [DONE]\n\n")
    end
    function slow()
      ngx.req.read_body()
      begun = begun + 1
      local is_first = ngx.var.connection_requests == "1" -- who comes at once ends up spread
      ngx.sleep(is_first and 2 + 2 * math.random() or 2)
      ngx.print '${answer}'
    end
    local answers = {}
    function sized()
      ngx.req.read_body()
      local bytes = tonumber(ngx.var.uri:match "^/size/(%d+)/")
      answers[bytes] = answers[bytes] or ('${answer}'):gsub("word word ",
        ("word "):rep(math.ceil(bytes / 5)) .. "word ", 1)
      ngx.header.content_length = #answers[bytes]
      ngx.print(answers[bytes])
    end
    function cut()
      begin()
      ngx.exit(444)
    end
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location /ok/ { return 200 '${answer}'; }
    location /busy/ { return 503 '{"error":{"message":"busy"}}'; }
    location /lost/ { return 444; }
    location /hold/ { content_by_lua_block { hold() } }
    location /stream/ { content_by_lua_block { stream() } }
    location /paced/ { content_by_lua_block { paced() } }
    location /slow/ { content_by_lua_block { slow() } }
    location = /begun { content_by_lua_block { ngx.print(begun) } }
    location /size/ { content_by_lua_block { sized() } }
    location /cut/ { content_by_lua_block { cut() } }
  }
}
]]

--- What "/ok/" answers: 700 bytes.
nginx.answer = ('{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m",'
  .. '"choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],'
  .. '"usage":{"prompt_tokens":100,"completion_tokens":100,"total_tokens":200,'
  .. '"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}}'):format(("word "):rep(78))
assert(#nginx.answer >= 690 and #nginx.answer <= 710, #nginx.answer)

--- Starts a server on a free port; it ends with this process.
---@return table server `url`, and `stop()`
function nginx.start()
  local self = launcher.start { config = CONFIG, values = { answer = nginx.answer } }
  self.url = ("http://127.0.0.1:%d"):format(self.port)
  return self
end

return nginx
