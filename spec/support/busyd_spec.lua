-- The busy upstream itself: does it do what its programme says, count it, and leave nothing behind?
package.path = "./?.lua;./?/init.lua;" .. package.path

local busyd = require "spec.support.busyd"
local cjson = require "cjson"

local up
local dir = os.tmpname()
os.remove(dir)

local function sh(command)
  local pipe = assert(io.popen(command .. " 2>&1", "r"))
  local out = pipe:read "*a"
  pipe:close()
  return out
end

local function quoted(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local function chat(question, more)
  local body = { model = "m", messages = { { role = "user", content = question } } }
  for name, value in pairs(more or {}) do body[name] = value end
  return cjson.encode(body)
end

local function command(body, options, path, url)
  return ("curl -q -s --noproxy '*' --max-time 15 %s %s -d %s"):format(options or "",
    quoted((url or up.url) .. (path or "/v1/chat/completions")), quoted(body))
end

-- Asks once: status line, headers and body as text, and curl's exit code.
local function ask(body, options, path, url)
  local out = sh(command(body, "-i " .. (options or ""), path, url) .. "; echo; echo exit:$?")
  return out:match "^(.*)\nexit:%d+\n$", tonumber(out:match "exit:(%d+)\n$")
end

-- As 'ask', with the exit code of curl itself.
local function raw(body, options)
  local out = sh(command(body, "-i --raw " .. (options or "")) .. "; echo exit:$?")
  local bytes, code = out:match "^(.*)exit:(%d+)\n$"
  return bytes, tonumber(code)
end

-- Every byte that comes back to a plain HTTP/1.1 request.
local function wire_bytes(body)
  local request = ("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s")
    :format(#body, body)
  local port = up.url:match "%d+$"
  return sh("bash -c " .. quoted("exec 3<>/dev/tcp/127.0.0.1/" .. port .. "; printf %s " ..
    quoted(request) .. " >&3; cat <&3"))
end

local function body_of(reply) return reply:match "\r\n\r\n(.*)$" end

local function status_of(reply) return tonumber(reply:match "HTTP/%S+ (%d+)") end

local function text_of(reply)
  return cjson.decode(body_of(reply)).choices[1].message.content
end

local STREAM = { stream = true }

-- The events' data of a stream, and the text they make.
local function events_of(body)
  local list, text = {}, ""
  for data in (body .. "\n"):gmatch "data: ([^\r\n]*)" do
    list[#list + 1] = data
    local content = data:match '^{.*"content":"([^"]*)"'
    text = text .. (content or "")
  end
  return list, text
end

local function preset(name, fields)
  local spec = { preset = name }
  for k, v in pairs(fields or {}) do spec[k] = v end
  up:programme { script = { spec }, reset = true }
end

-- Starts commands at the same time; the function given back waits for them and gives their outputs
-- in order.
local function start(commands)
  os.execute("mkdir -p " .. dir)
  local lines = {}
  for i, each in ipairs(commands) do
    lines[i] = ("( %s ) > %s/%d 2>&1 &"):format(each, dir, i)
  end
  local pipe = assert(io.popen(table.concat(lines, "\n") .. "\nwait", "r"))
  return function()
    pipe:close()
    local outputs = {}
    for i = 1, #commands do
      local file = assert(io.open(dir .. "/" .. i, "rb"))
      outputs[i] = file:read "*a"
      file:close()
    end
    return outputs
  end
end

local function together(commands) return start(commands)() end

-- Waits until the counts are as wanted: what happens after a client has left takes a moment.
local function eventually(wanted)
  local counts
  for _ = 1, 200 do
    counts = up:counts()
    if wanted(counts) then return counts end
    os.execute "sleep 0.02"
  end
  error("never came: " .. cjson.encode(counts))
end

setup(function() up = busyd.start { tls = true } end)

teardown(function()
  up:stop()
  os.execute("rm -rf " .. dir)
end)

before_each(function() up:programme { reset = true } end)

after_each(function()
  local c = up:counts()
  assert.same(0, c.internal_errors)
  assert.same(c.received, c.completed + c.faulted + c.refused + c.rejected + c.aborted_by_client
    + c.in_service + c.queued)
end)

describe("busyd: good answers", function()
  it("echoes the last user message, with and without /v1", function()
    for _, prefix in ipairs { "", "/v1", "/beta" } do
      local reply = ask(chat "你好 \"x\"", nil, prefix .. "/chat/completions")
      assert.same(200, status_of(reply))
      assert.same("echo: 你好 \"x\"", text_of(reply))
      assert.truthy(reply:find("Content-Length: ", 1, true))
    end
    assert.same(3, up:counts().completed)
  end)

  it("has an OpenAI shape", function()
    up:programme { answer = { tokens = 3, cached_tokens = 1, reasoning = true } }
    local answer = cjson.decode(body_of(ask(chat "12345678")))
    assert.same("chatcmpl-1", answer.id)
    assert.same("m", answer.model)
    assert.same("echo: 12345678 w1 w2 w3", answer.choices[1].message.content)
    assert.same("thinking about: 12345678", answer.choices[1].message.reasoning_content)
    assert.same("stop", answer.choices[1].finish_reason)
    local usage = answer.usage
    assert.same({ 2, 3, 5, 1, 1 }, { usage.prompt_tokens, usage.completion_tokens,
      usage.total_tokens, usage.prompt_cache_hit_tokens, usage.prompt_cache_miss_tokens })
    assert.same("echo: q w1 w2", busyd.expected("q", { tokens = 2 }))
  end)

  it("streams role, pieces, finish reason, usage, [DONE]", function()
    up:programme { answer = { chunks = 3, reasoning = "hm" } }
    local body = body_of(ask(chat("你好吗", { stream = true,
      stream_options = { include_usage = true } })))
    local events, text = events_of(body)
    assert.same("echo: 你好吗", text)
    assert.truthy(events[1]:find('"role":"assistant"', 1, true))
    assert.truthy(events[2]:find('"reasoning_content":"h"', 1, true))
    assert.truthy(events[#events - 2]:find('"finish_reason":"stop"', 1, true))
    assert.truthy(cjson.decode(events[#events - 1]).usage.total_tokens)
    assert.same("[DONE]", events[#events])
    assert.same({ started = 1, finished = 1, cut = 0, aborted = 0 }, up:counts().streams)
  end)

  it("calls tools, whole and in fragments", function()
    up:programme { answer = { tool_calls = { { name = "f", arguments = { a = 1 } },
      { name = "g" } }, chunks = 3 } }
    local choice = cjson.decode(body_of(ask(chat "q"))).choices[1]
    assert.same("tool_calls", choice.finish_reason)
    assert.same('{"a":1}', choice.message.tool_calls[1]["function"].arguments)
    assert.same('{"question":"q"}', choice.message.tool_calls[2]["function"].arguments)
    local joined = { "", "" }
    for _, data in ipairs((events_of(body_of(ask(chat("q", STREAM)))))) do
      local delta = data ~= "[DONE]" and cjson.decode(data).choices[1].delta
      for _, tool in ipairs(delta and delta.tool_calls or {}) do
        joined[tool.index + 1] = joined[tool.index + 1] .. tool["function"].arguments
      end
    end
    assert.same({ '{"a":1}', '{"question":"q"}' }, joined)
  end)

  it("continues a prefix", function()
    local body = cjson.encode { messages = { { role = "user", content = "abc" },
      { role = "assistant", content = "echo: a", prefix = true } } }
    assert.same("bc", text_of(ask(body, nil, "/beta/chat/completions")))
  end)

  it("completes prompts and embeds inputs, one or many", function()
    local two = cjson.decode(body_of(ask('{"prompt":["a","b"]}', nil, "/completions")))
    assert.same("echo: b", two.choices[2].text)
    local streamed = body_of(ask('{"prompt":"a","stream":true}', nil, "/completions"))
    assert.truthy(streamed:find('"text":"', 1, true) and streamed:find "%[DONE%]\n\n$")
    local vectors = cjson.decode(body_of(ask('{"input":["a","bc"]}', nil, "/v1/embeddings"))).data
    assert.same(busyd.embedding "bc", vectors[2].embedding)
    local packed = cjson.decode(body_of(ask('{"input":"a","encoding_format":"base64"}', nil,
      "/embeddings"))).data[1].embedding
    assert.same(44, #packed)  -- 8 floats
    local models = sh("curl -q -s --noproxy '*' " .. up.url .. "/models")
    assert.same("list", cjson.decode(models).object)
  end)

  it("refuses what it cannot read, in OpenAI's shape", function()
    assert.same(404, status_of(ask("{}", nil, "/v1/nowhere")))
    assert.same(405, status_of(ask("{}", nil, "/v1/models")))
    for body, path in pairs { ["{"] = "/chat/completions", ["{}"] = "/v1/chat/completions",
      ['{"input":[1]}'] = "/embeddings" } do
      local reply = ask(body, nil, path)
      assert.same(400, status_of(reply))
      assert.same("invalid_request_error", cjson.decode(body_of(reply)).error.type)
    end
    assert.same(5, up:counts().rejected)
  end)

  it("speaks TLS with HTTP/1.1 and HTTP/2", function()
    local ca = "--cacert " .. up.ca
    local two = ask(chat "x", ca, nil, up.tls_url)
    assert.truthy(two:find "^HTTP/2 200")
    assert.truthy(body_of(two):find("echo: x", 1, true))
    assert.truthy(ask(chat "x", ca .. " --http1.1", nil, up.tls_url):find "^HTTP/1.1 200")
    assert.truthy(body_of(ask(chat("x", STREAM), ca, nil, up.tls_url)):find("[DONE]", 1, true))
  end)
end)

describe("busyd: presets that are an answer", function()
  local signs = {
    busy_503 = { 503, "overloaded" }, busy_text_cn = { 503, "服务器繁忙" },
    overloaded_body = { 200, "server_is_overloaded" },
    rate_limited = { 429, "rate_limit_exceeded" }, slow_down = { 429, "slow_down" },
    insufficient_quota = { 429, "insufficient_quota" }, payment_402 = { 402, "Balance" },
    unauthorized = { 401, "invalid_api_key" }, forbidden = { 403, "permission_error" },
    invalid_400 = { 400, "invalid_request_error" },
    unprocessable_422 = { 422, "invalid_request_error" },
    not_found = { 404, "model_not_found" }, server_500 = { 500, "server_error" },
    bad_gateway_502 = { 502, "<html>" }, timeout_504 = { 504, "<html>" },
    cloudflare_520 = { 520, "cloudflare" }, overloaded_529 = { 529, "overloaded_error" },
    empty_200 = { 200, "" }, no_choices = { 200, '"choices":[]' },
    malformed_json = { 200, '"mess' }, echo_key = { 401, "Bearer sk-test" },
    insufficient_system_resource = { 200, '"finish_reason":"insufficient_system_resource"' },
    deep_json = { 200, ("["):rep(10000) }, error_in_stream = { 200, "server_is_overloaded" },
    event_error = { 200, "server_is_overloaded" }, no_finish = { 200, '"finish_reason":null' },
  }
  for name, wanted in pairs(signs) do
    it(name, function()
      up:programme { script = { { preset = name }, { preset = name } } }
      for _, more in ipairs { {}, STREAM } do
        local reply = ask(chat("q", more), "-H 'authorization: Bearer sk-test'")
        assert.same(wanted[1], status_of(reply))
        assert.truthy(body_of(reply):find(wanted[2], 1, true), reply)
        if wanted[1] ~= 200 then assert.falsy(reply:find("text/event-stream", 1, true)) end
      end
      local counts = up:counts()
      assert.same(2, counts.faulted)
      assert.same(2, counts.statuses[tostring(wanted[1])])
      assert.same({ ["sk-test"] = 2 }, counts.keys)
    end)
  end

  it("ok, and the fields that change any of them", function()
    up:programme { script = {
      { preset = "ok", answer = { text = "own" } },
      { preset = "busy_text_cn", status = 200 },
      { status = 429, retry_after = "Fri, 31 Dec 1999 23:59:59 GMT", retry_after_ms = 250 },
      { status = 503, body = "plain", headers = { ["content-type"] = "text/plain",
        ["x-ratelimit-reset-requests"] = "6m0s" } },
      { json = { error = { code = "x" } } }, { headers = { ["x-a"] = "b" } },
    } }
    assert.same("own", text_of(ask(chat "q")))
    assert.same(200, status_of(ask(chat "q")))
    local third = ask(chat "q")
    assert.truthy(third:find("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 1, true))
    assert.truthy(third:find("Retry-After-Ms: 250\r\n", 1, true))
    assert.same("status 429", cjson.decode(body_of(third)).error.message)
    local fourth = ask(chat "q")
    assert.truthy(fourth:find "text/plain" and fourth:find "requests: 6m0s\r\n")
    assert.same("plain", body_of(fourth))
    assert.same('{"error":{"code":"x"}}', body_of(ask(chat "q")))
    local sixth = ask(chat "q")
    assert.truthy(sixth:find("x-a: b", 1, true))
    assert.same("echo: q", text_of(sixth))
    assert.same("echo: q", text_of(ask(chat "q")))
  end)

  it("redirect and should_retry", function()
    up:programme { script = { { preset = "redirect", location = "http://127.0.0.1:1/x" },
      { preset = "should_retry" }, { preset = "should_retry", value = false } } }
    local reply = ask(chat "q")
    assert.same(302, status_of(reply))
    assert.truthy(reply:find("Location: http://127.0.0.1:1/x\r\n", 1, true))
    local yes, no = ask(chat "q"), ask(chat "q")
    assert.truthy(yes:find "^HTTP/1.1 400" and yes:find "retry: true")
    assert.truthy(no:find "^HTTP/1.1 503" and no:find "retry: false")
  end)
end)

describe("busyd: presets about the wire", function()
  local RECV_FAILED, EMPTY, PARTIAL, TIMED_OUT = 56, 52, 18, 28

  -- Asks for a stream and for none; gives the bytes and exit codes of both.
  local function both(name, fields, options)
    local spec = { preset = name }
    for k, v in pairs(fields or {}) do spec[k] = v end
    up:programme { script = { spec, spec }, reset = true }
    local plain, code = raw(chat "q", options)
    local stream, stream_code = raw(chat("q", STREAM), options)
    return plain, code, stream, stream_code
  end

  it("no_done keeps the finish reason", function()
    preset "no_done"
    local bytes, code = raw(chat("q", STREAM))
    assert.same(0, code)
    assert.truthy(bytes:find('"finish_reason":"stop"', 1, true))
    assert.falsy(bytes:find("[DONE]", 1, true))
    assert.same(1, up:counts().streams.cut)
  end)

  it("no_finish stops after the text", function()
    preset "no_finish"
    local reply = ask(chat("q", STREAM))
    assert.same("echo: q", select(2, events_of(body_of(reply))))
    assert.falsy(reply:find("[DONE]", 1, true) or reply:find('"stop"', 1, true))
  end)

  it("blank_lines and keepalive_comments, then the answer", function()
    local plain, code, stream = both("blank_lines", { seconds = 0.1, every = 0.02 })
    assert.same(0, code)
    assert.truthy(plain:find("1\r\n\n\r\n1\r\n\n\r\n", 1, true) and plain:find("echo: q", 1, true))
    assert.truthy(stream:find("\n\n", 1, true) and stream:find("[DONE]", 1, true))
    plain, code, stream = both("keepalive_comments", { seconds = 0.1, every = 0.02 })
    assert.same(0, code)
    assert.falsy(plain:find("keep-alive\n\n", 1, true))
    assert.truthy(stream:find(": keep-alive\n\n", 1, true) and stream:find("[DONE]", 1, true))
    assert.same(2, up:counts().completed)
  end)

  it("blank_lines, then the end", function()
    local plain, code, stream, stream_code = both("blank_lines",
      { seconds = 0.05, every = 0.02, ending = "close" })
    assert.same({ PARTIAL, PARTIAL }, { code, stream_code })
    assert.truthy(plain:find "^HTTP/1.1 200" and not plain:find "echo")
    assert.truthy(stream:find "text/event%-stream" and not stream:find "data")
  end)

  it("stall_headers", function()
    local plain, code = both("stall_headers", { seconds = 0.05 })
    assert.same({ "", EMPTY }, { plain, code })
    plain, code = both("stall_headers", { seconds = 0.05, ending = "answer" })
    assert.truthy(code == 0 and plain:find("echo: q", 1, true))
  end)

  it("role_then_stall and stall_stream", function()
    local _, _, stream, code = both("role_then_stall", { seconds = 0.05 })
    assert.same(PARTIAL, code)
    local events, text = events_of(stream)
    assert.same({ 1, "" }, { #events, text })
    _, _, stream, code = both("stall_stream", { seconds = 0.05, after = 2 })
    assert.same(PARTIAL, code)
    assert.same(3, #events_of(stream))
    _, _, stream, code = both("stall_stream", { seconds = 0.05, ending = "answer" })
    assert.truthy(code == 0 and stream:find("[DONE]", 1, true))
    preset("stall_stream", { seconds = 30 })
    stream, code = raw(chat("q", STREAM), "--max-time 0.2 -N")
    assert.same({ TIMED_OUT, 2 }, { code, #events_of(stream) })
    eventually(function(c) return c.aborted_by_client == 1 and c.in_service == 0 end)
  end)

  it("cut_stream ends with FIN, reset_stream with RST", function()
    for name, wanted in pairs { cut_stream = PARTIAL, reset_stream = RECV_FAILED } do
      local plain, code, stream, stream_code = both(name, { after = 2 })
      assert.same({ wanted, wanted }, { code, stream_code })
      assert.truthy(plain:find "Content%-Length" and not plain:find "total_tokens")
      assert.same(3, #events_of(stream))
      assert.same({ started = 1, finished = 0, cut = 1, aborted = 0 }, up:counts().streams)
    end
  end)

  it("reset is ECONNRESET, close a FIN, before any byte", function()
    local wanted = { reset = RECV_FAILED, close = EMPTY }
    for name, code in pairs(wanted) do
      local plain, plain_code, stream, stream_code = both(name)
      assert.same({ "", code, "", code }, { plain, plain_code, stream, stream_code })
    end
    preset "reset"
    assert.truthy(sh(command(chat "q", "-S")):find("Connection reset by peer", 1, true))
    assert.same(1, up:counts().statuses.none)
  end)

  it("cut_headers, cut_body and garbage", function()
    preset "cut_headers"
    assert.same("HTTP/1.1 200 OK\r\nContent-Type: appli", wire_bytes(chat "q"))
    local _, code, _, stream_code = both "cut_body"
    assert.same({ PARTIAL, PARTIAL }, { code, stream_code })
    preset "garbage"
    assert.truthy(wire_bytes(chat("q", STREAM)):find "^\22\3\1%z\255\254 this is not HTTP")
    assert.same(1, up:counts().statuses.raw)
  end)

  it("endless_header and endless_line", function()
    preset("endless_header", { bytes = 1e6 })
    local bytes = wire_bytes(chat "q")
    assert.truthy(bytes:find("X-Filler: aaaa", 1, true) and #bytes > 1e6)
    assert.falsy(bytes:find("a\r", 1, true))
    preset("endless_line", { bytes = 2 ^ 20 })
    bytes = body_of(ask(chat("q", STREAM)))
    assert.truthy(bytes:find "^data: aaaa" and #bytes > 2 ^ 20)
    assert.falsy(bytes:find("a\n", 1, true))
  end)

  it("gzip and gzip_bomb", function()
    up:programme { script = { { preset = "gzip" }, { preset = "gzip" } } }
    assert.same("echo: q", text_of(ask(chat "q", "--compressed")))
    assert.truthy(ask(chat("q", STREAM), "--compressed"):find("[DONE]", 1, true))
    local bomb = { preset = "gzip_bomb", bytes = 40 * 2 ^ 20 }
    up:programme { script = { bomb, bomb } }
    local out = sh(command(chat "q", "-o - ") .. " | gzip -dc | tr -d ' ' | wc -c")
    assert.same("0", out:match "%d+")
    out = sh(command(chat "q", "-o " .. dir .. ".gz -w '%{size_download}'") ..
      "; echo; gzip -dc " .. dir .. ".gz | wc -c; rm " .. dir .. ".gz")
    local wire, expanded = out:match "^(%d+)\n(%d+)"
    assert.truthy(tonumber(wire) < 60000)
    assert.same(40 * 2 ^ 20, tonumber(expanded))
  end)

  it("many_events, huge_event, split_event and crlf_stream still hold the whole answer", function()
    preset("many_events", { n = 500 })
    local events, text = events_of(body_of(ask(chat("q", STREAM))))
    assert.truthy(#events >= 500)
    assert.same(busyd.expected("q", { tokens = 500 }), text)
    preset("huge_event", { bytes = 300000 })
    assert.same(("x"):rep(300000), select(2, events_of(body_of(ask(chat("q", STREAM))))))
    preset "split_event"
    local bytes = raw(chat("你好", STREAM))
    assert.truthy(bytes:find("\r\n1\r\n\n\r\n", 1, true))  -- a chunk with nothing but the LF
    preset "split_event"
    assert.same("echo: 你好", select(2, events_of(body_of(ask(chat("你好", STREAM))))))
    for ends, wanted in pairs { crlf = "}\r\n\r\n", cr = "}\r\r", mixed = "}\r\n\r" } do
      preset("crlf_stream", { ends = ends })
      assert.truthy(ask(chat("q", STREAM)):find(wanted, 1, true))
    end
  end)

  it("resets the stream where HTTP/2 has no raw bytes", function()
    preset "garbage"
    local _, code = raw(chat "q", "--cacert " .. up.ca .. " --connect-to localhost")
    assert.truthy(code)
    up:programme { script = { { preset = "garbage" }, { preset = "cut_stream" } } }
    for _ = 1, 2 do
      local out = sh(command(chat("q", STREAM), "--cacert " .. up.ca, nil, up.tls_url) ..
        " -o /dev/null; echo $?")
      assert.truthy(tonumber(out) ~= 0)
    end
  end)
end)

describe("busyd: capacity", function()
  local function queued(n)
    return eventually(function(c) return c.queued == n end)
  end

  it("refuses beyond capacity and queue, and counts both", function()
    up:programme { capacity = 0, queue = 2 }
    local commands = {}
    for i = 1, 6 do commands[i] = command(chat("n" .. i), "-w '%{http_code}'") end
    local finish = start(commands)
    eventually(function(c) return c.queued == 2 and c.refused == 4 end)
    up:programme { capacity = 1, queue = 2, latency = 0.05 }
    local codes = { ["200"] = 0, ["503"] = 0 }
    for _, out in ipairs(finish()) do
      local code = out:match "%d%d%d$"
      codes[code] = codes[code] + 1
    end
    assert.same({ ["200"] = 2, ["503"] = 4 }, codes)
    local c = up:counts()
    assert.same({ 2, 4, 1, 2, 0, 0 }, { c.completed, c.refused, c.in_service_max, c.queued_max,
      c.in_service, c.queued })
  end)

  it("serves the queue first come first served, across workers", function()
    up:programme { capacity = 0, queue = 20, log = true }
    local commands, script = {}, {}
    for i = 1, 12 do
      commands[i] = ("sleep %.2f; %s"):format(i * 0.02, command(chat("n" .. i .. ".")))
      script[i] = { answer = { text = "turn " .. i .. "." } }
    end
    local finish = start(commands)
    queued(12)
    up:programme { capacity = 1, queue = 20, script = script, latency = 0.005 }
    local outputs = finish()
    for turn, entry in ipairs(up:log()) do
      local who = tonumber(entry.body:match "n(%d+)%.")
      assert.truthy(outputs[who]:find("turn " .. turn .. ".", 1, true))
    end
    assert.same({ 1, 12 }, { up:counts().in_service_max, up:counts().completed })
  end)

  it("keeps nothing for clients that leave, in service or in the queue", function()
    up:programme { capacity = 1, queue = 5, latency = 8 }
    together { command(chat "a", "--max-time 0.5"), command(chat "b", "--max-time 0.6"),
      command(chat "c", "--max-time 0.5") }
    local c = eventually(function(c) return c.in_service + c.queued == 0 end)
    assert.same({ 0, c.received }, { c.completed, c.aborted_by_client })
    up:programme { capacity = 1 }
    assert.same(200, status_of(ask(chat "d")))
  end)

  it("shows its queue by keep-alives when told", function()
    up:programme { capacity = 0, queue = 5, queue_sign = "keepalive", keepalive_every = 0.02 }
    local finish = start { command(chat("a", STREAM)), command(chat("b", STREAM)),
      command(chat "c"), command(chat "d") }
    queued(4)
    os.execute "sleep 0.1"
    up:programme { capacity = 1 }
    for i, out in ipairs(finish()) do
      assert.truthy(out:find(i <= 2 and "^: keep%-alive\n\n" or "^\n\n"), out)
      assert.truthy(out:find(i <= 2 and "[DONE]" or "total_tokens", 1, true), out)
    end
    assert.same({ started = 2, finished = 2, cut = 0, aborted = 0 }, up:counts().streams)
  end)

  it("can count per key", function()
    up:programme { capacity = 0, per_key = true, capacities = { big = 0 }, queue = 3 }
    local commands = {}
    for i, key in ipairs { "a", "a", "b", "b", "big", "big", "big" } do
      commands[i] = command(chat "q", "-H 'authorization: Bearer " .. key .. "'")
    end
    local finish = start(commands)
    queued(7)
    up:programme { capacity = 1, per_key = true, capacities = { big = 2 }, queue = 3,
      latency = 0.5 }
    eventually(function(c) return c.in_service == 4 and c.queued == 3 end)
    finish()
    assert.same({ a = 2, b = 2, big = 3 }, up:counts().keys)
    assert.same({ 7, 4 }, { up:counts().completed, up:counts().in_service_max })
  end)

  it("follows a schedule: a black-out whose end lets the queue in", function()
    up:programme { queue = 5, schedule = { { at = 0, capacity = 0 },
      { at = 0.5, capacity = busyd.null, answer = { text = "later" } } } }
    assert.same("later", text_of(ask(chat "q")))  -- it waited through the black-out
    assert.same(1, up:counts().queued_max)
    up:programme { schedule = { { at = 0, capacity = 0 }, { at = 1000, capacity = 1 } },
      repeat_every = 2000, when_full = { preset = "rate_limited", retry_after = 7 } }
    local reply = ask(chat "q")
    assert.same(429, status_of(reply))
    assert.truthy(reply:find("Retry-After: 7\r\n", 1, true))
  end)
end)

describe("busyd: script, faults, latency, counts", function()
  it("takes the script in order, each entry once, also by many at once", function()
    local script = {}
    for i = 1, 12 do script[i] = { answer = { text = "s" .. i } } end
    up:programme { script = script }
    assert.same({ "s1", "s2" }, { text_of(ask(chat "q")), text_of(ask(chat "q")) })
    assert.same(10, up:counts().script_left)
    local commands = {}
    for i = 1, 11 do commands[i] = command(chat "q") end
    local seen = {}
    for _, out in ipairs(together(commands)) do
      seen[#seen + 1] = out:match '"content":"([^"]*)"'
    end
    table.sort(seen)
    assert.same({ "echo: q", "s10", "s11", "s12", "s3", "s4", "s5", "s6", "s7", "s8", "s9" }, seen)
    up:reset()
    assert.same({ 12, 0 }, { up:counts().script_left, up:counts().received })
  end)

  it("draws faults by share, the same for the same seed", function()
    local function faulted(seed)
      up:programme { seed = seed, reset = true, faults = { { share = 0.4,
        answer = { status = 500 } } } }
      local urls = quoted(up.url .. "/v1/models") .. " "
      local out = sh("curl -q -s --noproxy '*' -w '%{http_code} ' " ..
        ("-o /dev/null " .. urls):rep(60))
      return out:gsub("%s+", " ")
    end
    local first, again, other = faulted(7), faulted(7), faulted(8)
    assert.same(first, again)
    assert.not_same(first, other)
    local _, n = first:gsub("500", "")
    assert.truthy(n > 10 and n < 40)
    assert.same({ 60, 1 }, { up:counts().received, up:counts().connections })
  end)

  it("knows five kinds of latency", function()
    for _, latency in ipairs { 0.01, { mean = 0.01 }, { kind = "uniform", min = 0, max = 0.01 },
      { kind = "exponential", mean = 0.01, max = 0.05 },
      { kind = "lognormal", mean = 0.01, sigma = 0.5, max = 0.05 },
      { kind = "bimodal", mean = 0, slow = 0.01, p = 0.5 } } do
      up:programme { latency = latency, token_interval = 0.001 }
      assert.same("echo: q", text_of(ask(chat "q")))
      assert.same("echo: q", select(2, events_of(body_of(ask(chat("q", STREAM))))))
    end
  end)

  it("logs requests and tracks questions when told", function()
    up:programme { log = true, track = true }
    ask(chat "one", "-H 'x-request-id: r1'")
    ask(chat "one", "-H 'x-request-id: r1'")
    ask(chat(("long "):rep(100)), "-H 'x-request-id: r2'", "/v1/chat/completions?a=b")
    local log = up:log()
    assert.same({ 3, "POST", "/v1/chat/completions?a=b", "r2" },
      { #log, log[3].method, log[3].path, log[3].headers["x-request-id"] })
    assert.same(chat "one", log[1].body)
    local c = up:counts()
    assert.same({ 2, 1 }, { c.questions.one, c.duplicates })
    assert.same(3, c.paths["/v1/chat/completions"])
    up:reset()
    assert.same(0, #up:log())
  end)

  it("counts a connection once, however many requests it brings", function()
    sh(command(chat "a") .. " --next " .. command(chat "b"):gsub("^curl %-q", ""))
    assert.same({ 2, 1 }, { up:counts().received, up:counts().connections })
    sh(command(chat "c"))
    assert.same(2, up:counts().connections)
  end)
end)

describe("busyd: validation", function()
  local wrong = {
    ["capcity: unknown field"] = { capcity = 1 },
    ["capacity: expected a whole number"] = { capacity = "1" },
    ["queue_sign: expected one of silent, keepalive"] = { queue_sign = "loud" },
    ["script[2].preset: expected one of"] = { script = { {}, { preset = "nothing" } } },
    ["script[1].seconds: unknown field"] = { script = { { preset = "busy_503", seconds = 1 } } },
    ["schedule[1].latency.max: needed by kind uniform"] = {
      schedule = { { at = 1, latency = { kind = "uniform", min = 1 } } } },
    ["schedule[2].at: earlier"] = { schedule = { { at = 2 }, { at = 1 } } },
    ["faults[1].share: expected a number from 0 to 1"] = { faults = { { share = 2 } } },
    ["answer.tool_calls[1].arguments: expected"] = {
      answer = { tool_calls = { { arguments = 1 } } } },
  }
  for message, programme in pairs(wrong) do
    it("names the field: " .. message, function()
      local ok, problem = pcall(up.programme, up, programme)
      assert.falsy(ok)
      assert.truthy(problem:find("(400)", 1, true) and problem:find(message, 1, true), problem)
    end)
  end

  it("keeps the old programme when the new one is wrong", function()
    up:programme { answer = { text = "kept" } }
    assert.falsy(pcall(up.programme, up, { nonsense = 1 }))
    assert.same("kept", text_of(ask(chat "q")))
  end)
end)

describe("busyd: the launcher", function()
  local function exists(path) return os.rename(path, path) ~= nil end

  local function alive(pid) return sh("kill -0 " .. pid) == "" end

  local function gone(url, where)
    for _ = 1, 200 do
      if not exists(where) and sh("curl -q -s --noproxy '*' " .. url .. "; echo $?"):find "^7" then
        return true
      end
      os.execute "sleep 0.02"
    end
  end

  it("runs two side by side and stops each alone", function()
    local other = busyd.start { workers = 1, programme = { answer = { text = "other" } } }
    assert.same("other", text_of(ask(chat "q", nil, nil, other.url)))
    assert.same("echo: q", text_of(ask(chat "q")))
    other:stop()
    other:stop()
    assert.truthy(gone(other.url, other.dir))
    assert.same(200, status_of(ask(chat "q")))
  end)

  it("says what is wrong with its options, its port or its programme", function()
    assert.has_error(function() busyd.start { wokers = 1 } end)
    local ok, message = pcall(busyd.start, { port = tonumber(up.url:match "%d+$") })
    assert.falsy(ok)
    assert.truthy(message:find("bind()", 1, true))
    ok, message = pcall(busyd.start, { programme = { queue = -1 } })
    assert.falsy(ok)
    assert.truthy(message:find("queue: expected", 1, true))
  end)

  it("cleans up when its starter is killed, ends without stop, or is interrupted", function()
    local starter = [[package.path = "./?.lua;./?/init.lua;" .. package.path
      local up = require "spec.support.busyd".start { workers = 1 }
      local pid = io.open "/proc/self/stat":read "*n"
      print(pid, up.url, up.dir) io.stdout:flush() ]]
    local interpreter = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"
    local killed = "io.popen('sleep 20; true'):read '*a'"
    for _, ending in ipairs { killed, "os.exit(0)", "error 'x'" } do
      local pipe = io.popen(interpreter .. " -e " .. quoted(starter .. ending) .. " 2>/dev/null")
      local pid, url, where = pipe:read "*l":match "(%d+)%s+(%S+)%s+(%S+)"
      if ending == killed then
        assert.truthy(alive(pid) and exists(where))
        os.execute("kill -9 " .. pid)
      end
      assert.truthy(gone(url, where), ending)
      pipe:close()
    end
  end)

  it("has a command for people", function()
    local pipe = io.popen("exec spec/support/busyd/busyd --port 0x0 2>&1")
    pipe:close()
    local file = os.tmpname()
    local handle = io.open(file, "w")
    handle:write '{"answer":{"text":"by hand"}}'
    handle:close()
    local out = sh("spec/support/busyd/busyd --programme " .. file .. " > " .. file .. [[.out &
      pid=$!
      for i in $(seq 100); do [ -s ]] .. file .. [[.out ] && break; sleep 0.05; done
      url=$(head -n 1 ]] .. file .. [[.out)
      curl -q -s --noproxy '*' $url/chat/completions -d ]] .. quoted(chat "q") .. [[; echo
      kill -TERM $pid; wait $pid 2>/dev/null
      for i in $(seq 100); do curl -q -s --noproxy '*' $url || exit 0; sleep 0.05; done
      echo still]])
    os.remove(file)
    os.remove(file .. ".out")
    assert.truthy(out:find("by hand", 1, true))
    assert.falsy(out:find("still", 1, true))
  end)
end)
