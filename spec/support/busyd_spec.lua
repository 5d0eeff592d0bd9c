-- The busy upstream: does it answer, and fail, as its programme says?
package.path = "./?.lua;./?/init.lua;" .. package.path

local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local probe = require "spec.support.busyd_probe"

local sh, chat, ask, raw, wire_bytes, body_of, status_of, text_of, events_of, preset, eventually,
  command = probe.sh, probe.chat, probe.ask, probe.raw, probe.wire_bytes, probe.body_of,
  probe.status_of, probe.text_of, probe.events_of, probe.preset, probe.eventually, probe.command

local STREAM = { stream = true }

probe.watch { setup = setup, teardown = teardown, before_each = before_each,
  after_each = after_each }

describe("busyd: good answers", function()
  it("echoes the last user message, with and without /v1", function()
    for _, prefix in ipairs { "", "/v1", "/beta" } do
      local reply = ask(chat "你好 \"x\"", nil, prefix .. "/chat/completions")
      assert.same(200, status_of(reply))
      assert.same("echo: 你好 \"x\"", text_of(reply))
      assert.truthy(reply:find("Content-Length: ", 1, true))
    end
    assert.same(3, probe.up:counts().completed)
  end)

  it("has an OpenAI shape", function()
    probe.up:programme { answer = { tokens = 3, cached_tokens = 1, reasoning = true } }
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
    probe.up:programme { answer = { chunks = 3, reasoning = "hm" } }
    local body = body_of(ask(chat("你好吗", { stream = true,
      stream_options = { include_usage = true } })))
    local events, text = events_of(body)
    assert.same("echo: 你好吗", text)
    assert.truthy(events[1]:find('"role":"assistant"', 1, true))
    assert.truthy(events[2]:find('"reasoning_content":"h"', 1, true))
    assert.truthy(events[#events - 2]:find('"finish_reason":"stop"', 1, true))
    assert.truthy(cjson.decode(events[#events - 1]).usage.total_tokens)
    assert.same("[DONE]", events[#events])
    assert.same({ started = 1, finished = 1, cut = 0, aborted = 0 }, probe.up:counts().streams)
  end)

  it("goes on with a text that was begun", function()
    local text = '哈哈 "ha ha"\n天气'
    local function rest(begun, more, answer)
      local programme = { text = text, continues = true }
      for name, value in pairs(answer or {}) do programme[name] = value end
      probe.up:programme { answer = programme }
      local messages = { { role = "user", content = "q" }, { role = "assistant", content = begun } }
      local body = { model = "m", messages = messages }
      for name, value in pairs(more or {}) do body[name] = value end
      if body.words then
        messages[3], body.words = { role = "user", content = body.words }, nil
      else
        messages[2].prefix = not more or nil
      end
      return text_of(ask(cjson.encode(body)))
    end
    for at = 0, #text do
      local begun = text:sub(1, at)
      if not begun:find "[\194-\244][\128-\191]*$" or begun:find "气$" or begun:find "哈$" then
        assert.same(text:sub(at + 1), rest(begun))
        assert.same(text:sub(at + 1), rest(begun, { continue_final_message = true,
          add_generation_prompt = false }))
        assert.same(text:sub(at + 1), rest(begun, { words = "go on" }))
      end
    end
    assert.same("ha\"\n天气", rest('哈哈 "ha ', { words = "go on" }))
    assert.same('"ha ha"\n天气', rest('哈哈 "ha ', { words = 'from\n<<<\n"ha \n>>>' }))
    assert.same('… a ha"\n天气', rest('哈哈 "ha ', { words = "go on" },
      { lead = "… ", repeats = 2 }))
    assert.same("\nha\"\n天气", rest('哈哈 "ha ', nil, { lead = "\n" }))
    assert.same(text, rest("something else", { words = "go on" }))
    probe.up:programme { answer = { text = text } }
    assert.same(text, text_of(ask(cjson.encode { messages = { { role = "user", content = "q" },
      { role = "assistant", content = "哈" }, { role = "user", content = "go on" } } })))
  end)

  it("goes on with a prompt", function()
    probe.up:programme { answer = { text = "one two", continues = true } }
    for prompt, rest in pairs { ["Say: "] = "one two", ["Say: one"] = " two",
      ["Say: one two"] = "" } do
      for _, streams in ipairs { false, true } do
        local reply = ask(cjson.encode { prompt = prompt, stream = streams }, nil,
          "/v1/completions")
        local said = ""
        for piece in reply:gmatch '"text":"([^"]*)"' do said = said .. piece end
        assert.same(rest, said)
      end
    end
  end)

  it("calls tools, whole and in fragments", function()
    probe.up:programme { answer = { tool_calls = { { name = "f", arguments = { a = 1 } },
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
    local models = sh("curl -q -s --noproxy '*' " .. probe.up.url .. "/models")
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
    assert.same(5, probe.up:counts().rejected)
  end)

  it("speaks TLS with HTTP/1.1 and HTTP/2", function()
    local ca = "--cacert " .. probe.up.ca
    local two = ask(chat "x", ca, nil, probe.up.tls_url)
    assert.truthy(two:find "^HTTP/2 200")
    assert.truthy(body_of(two):find("echo: x", 1, true))
    assert.truthy(ask(chat "x", ca .. " --http1.1", nil, probe.up.tls_url):find "^HTTP/1.1 200")
    local streamed = ask(chat("x", STREAM), ca, nil, probe.up.tls_url)
    assert.truthy(body_of(streamed):find("[DONE]", 1, true))
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
      probe.up:programme { script = { { preset = name }, { preset = name } } }
      for _, more in ipairs { {}, STREAM } do
        local reply = ask(chat("q", more), "-H 'authorization: Bearer sk-test'")
        assert.same(wanted[1], status_of(reply))
        assert.truthy(body_of(reply):find(wanted[2], 1, true), reply)
        if wanted[1] ~= 200 then assert.falsy(reply:find("text/event-stream", 1, true)) end
      end
      local counts = probe.up:counts()
      assert.same(2, counts.faulted)
      assert.same(2, counts.statuses[tostring(wanted[1])])
      assert.same({ ["sk-test"] = 2 }, counts.keys)
    end)
  end

  it("ok, and the fields that change any of them", function()
    probe.up:programme { script = {
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
    probe.up:programme { script = { { preset = "redirect", location = "http://127.0.0.1:1/x" },
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
    probe.up:programme { script = { spec, spec }, reset = true }
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
    assert.same(1, probe.up:counts().streams.cut)
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
    assert.same(2, probe.up:counts().completed)
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
      assert.same({ started = 1, finished = 0, cut = 1, aborted = 0 }, probe.up:counts().streams)
    end
  end)

  it("cut_stream may end behind any byte", function()
    for _, n in ipairs { 1, 100, 333 } do
      preset("cut_stream", { bytes = n })
      local stream, code = raw(chat("你\"好", STREAM))
      assert.same(PARTIAL, code)
      local size, data = stream:match "\r\n\r\n(%x+)\r\n(.*)\r\n$" -- one chunk
      assert.same({ n, n }, { tonumber(size, 16), #data })
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
    assert.same(1, probe.up:counts().statuses.none)
  end)

  it("cut_headers, cut_body and garbage", function()
    preset "cut_headers"
    assert.same("HTTP/1.1 200 OK\r\nContent-Type: appli", wire_bytes(chat "q"))
    local _, code, _, stream_code = both "cut_body"
    assert.same({ PARTIAL, PARTIAL }, { code, stream_code })
    preset "garbage"
    assert.truthy(wire_bytes(chat("q", STREAM)):find "^\22\3\1%z\255\254 this is not HTTP")
    assert.same(1, probe.up:counts().statuses.raw)
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
    probe.up:programme { script = { { preset = "gzip" }, { preset = "gzip" } } }
    assert.same("echo: q", text_of(ask(chat "q", "--compressed")))
    assert.truthy(ask(chat("q", STREAM), "--compressed"):find("[DONE]", 1, true))
    local bomb = { preset = "gzip_bomb", bytes = 40 * 2 ^ 20 }
    probe.up:programme { script = { bomb, bomb } }
    local out = sh(command(chat "q", "-o - ") .. " | gzip -dc | tr -d ' ' | wc -c")
    assert.same("0", out:match "%d+")
    out = sh(command(chat "q", "-o " .. probe.dir .. ".gz -w '%{size_download}'") ..
      "; echo; gzip -dc " .. probe.dir .. ".gz | wc -c; rm " .. probe.dir .. ".gz")
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
    local _, code = raw(chat "q", "--cacert " .. probe.up.ca .. " --connect-to localhost")
    assert.truthy(code)
    probe.up:programme { script = { { preset = "garbage" }, { preset = "cut_stream" } } }
    for _ = 1, 2 do
      local ca = "--cacert " .. probe.up.ca
      local out = sh(command(chat("q", STREAM), ca, nil, probe.up.tls_url) ..
        " -o /dev/null; echo $?")
      assert.truthy(tonumber(out) ~= 0)
    end
  end)
end)
