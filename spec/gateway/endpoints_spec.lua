local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}${base}", key = "sk-up"${models} } },
  retry = { attempts = 2, base = 0.01 }, breaker = { consecutive = 2, open_for = 600 }, ${more}
}]]

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'

-- An upstream that says what it was asked.
local ECHO = [[server {
  listen 127.0.0.1:${port2};
  location / {
    content_by_lua_block {
      ngx.req.read_body()
      ngx.status, ngx.header["x-up"] = 201, "yes"
      ngx.header.content_type = "application/json"
      local headers = setmetatable(ngx.req.get_headers(), nil)
      ngx.print(require("cjson").encode { method = ngx.req.get_method(), headers = headers,
        uri = ngx.var.request_uri, body = ngx.req.get_body_data() })
    }
  }
}]]

for workers = 1, 2 do
  describe(("the gateway's endpoints, with %d workers,"):format(workers), function()
    local up, g

    local function start(more, models, base)
      if g then g:stop() end
      g = gateways.start { workers = workers, config = CONFIG,
        values = { url = up.url, base = base or "/v1", more = more or "", models = models or "" } }
    end

    setup(function() up = busyd.start { workers = 1 } end)

    teardown(function()
      if g then g:stop() end
      if up then up:stop() end
    end)

    before_each(function()
      up:programme { reset = true, log = true }
      start()
    end)

    after_each(function() assert.is_nil(g:errors():find("[error]", 1, true)) end)

    local function ask(path, body, more)
      more = more or {}
      more.body = body
      local answer = g:ask(path, more)
      return answer, answer.body:find "^{" and json.decode(answer.body)
    end

    it("answer each in its own way, with and without /v1", function()
      for _, prefix in ipairs { "/v1", "" } do
        local _, body = ask(prefix .. "/completions", '{"model":"m","prompt":"hi"}')
        assert.equal("echo: hi", body.choices[1].text)
        _, body = ask(prefix .. "/embeddings", '{"model":"m","input":["a","b"]}')
        assert.equal(2, #body.data)
        assert.same(busyd.embedding("a", 8), body.data[1].embedding)
        _, body = ask(prefix .. "/responses", '{"model":"m","input":"hi"}')
        assert.equal("echo: hi", body.output[1].content[1].text)
      end
      local paths = {}
      for i, sent in ipairs(up:log()) do paths[i] = sent.path end
      assert.same({ "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/completions",
        "/v1/embeddings", "/v1/responses" }, paths)
    end)

    it("serve many at once", function()
      up:programme { latency = 0.3 }
      local commands = {}
      for i = 1, 40 do
        commands[i] = g:command("/v1/chat/completions", { body = QUESTION:gsub("hi", "n" .. i) })
          .. " &"
      end
      local out = files.output(table.concat(commands, "\n") .. "\nwait")
      for i = 1, 40 do assert.is_truthy(out:find(('"echo: n%d"'):format(i), 1, true)) end
      assert.is_true(up:counts().in_service_max > 4)
    end)

    it("list the models of the configuration, or the upstream's", function()
      local _, body = ask "/v1/models"
      assert.same({ "busyd-large", "busyd-small" }, { body.data[1].id, body.data[2].id })
      assert.equal(200, ask("/models/busyd-small").status)
      for _ = 1, 5 do ask "/v1/models" end
      assert.is_true(up:counts().received <= workers)
      local answer
      answer, body = ask "/v1/models/nope"
      assert.same({ 404, "model_not_found", "model" }, { answer.status, body.error.code,
        body.error.param })
      start(nil, [[, models = { default = "d", ["a/b"] = "c", gpt = "x" }]])
      up:programme { reset = true }
      _, body = ask "/v1/models"
      assert.same({ "list", "a/b", "gpt", "model" }, { body.object, body.data[1].id,
        body.data[2].id, body.data[2].object })
      assert.equal("a/b", json.decode(ask("/v1/models/a/b").body).id)
      assert.equal(0, up:counts().received)
    end)

    it("pass the rest of /v1 on", function()
      g:stop()
      g = gateways.start { workers = workers, config = CONFIG, http = ECHO, values = { more = "",
        url = "http://127.0.0.1:${port2}", base = "/v1", models = "" } }
      local answer, sent = ask("/v1/files/a%2fb%C3%A9?limit=2&x=%20", "data", { method = "PUT",
        headers = { "content-type: text/x", "range: bytes=0-1", "cookie: a=b" } })
      assert.same({ 201, "yes", "main" }, { answer.status, answer.headers["x-up"],
        answer.headers["x-unbusy-target"] })
      assert.same({ "PUT", "data", "text/x", "bytes=0-1", "Bearer sk-up",
        "/v1/files/a/b%C3%A9?limit=2&x=%20" }, { sent.method, sent.body,
        sent.headers["content-type"], sent.headers.range, sent.headers.authorization, sent.uri })
      assert.is_nil(sent.headers.cookie)
      assert.equal("pass", g:log(1).kind)
      answer = ask("/v1/files/x", nil, { method = "HEAD" })
      assert.same({ 201, "" }, { answer.status, answer.body })
      for _, path in ipairs { "/v1/../files", "/v1/%2e%2e/files", "/v1/files/%2e%2e/%2e%2e/x" } do
        assert.equal(404, ask(path).status)
      end
      assert.equal(405, ask("/v1/files", nil, { method = "TRACE" }).status) -- nginx
      assert.equal(400, ask("/v1/files", nil, { method = "PURGE" }).status)
      assert.equal(400, ask("/v1/files/a%0ab").status)
      start "gateway = { pass = false }"
      assert.equal(404, ask("/v1/files").status)
      assert.is_nil(g:log(1).target)
    end)

    it("pass a stream on as it comes", function()
      start(nil, nil, "")
      local stream = QUESTION:gsub("^{", '{"stream":true,')
      local answer = ask("/v1/beta/chat/completions", stream)
      assert.equal(200, answer.status)
      assert.equal("text/event-stream", answer.headers["content-type"]:match "^[^;]+")
      assert.is_truthy(answer.body:find "data: %[DONE%]\n\n$")
    end)

    it("may lie below another path", function()
      g:stop()
      g = gateways.start { workers = workers, config = CONFIG,
        values = { url = up.url, base = "/v1", more = "", models = "" },
        server = [[location /ai/ {
          rewrite ^/ai(/.*)$ $1 break;
          content_by_lua_block { gateway:handle() }
        }]] }
      assert.equal(200, ask("/ai/v1/chat/completions", QUESTION).status)
      assert.equal(404, ask("/ai/chat").status)
    end)

    it("say whether a target may be asked", function()
      assert.same({ 200, 200 }, { ask("/healthz").status, ask("/readyz").status })
      if workers > 1 then return end -- each has a breaker of its own
      up:programme { capacity = 0 }
      for _ = 1, 2 do ask("/v1/chat/completions", QUESTION, { headers = {
        "x-unbusy-deadline: 1" } }) end
      local answer, body = ask "/readyz"
      assert.equal(503, answer.status)
      assert.same({ "open", "1" }, { body.error.code, answer.headers["retry-after"] })
      assert.equal(200, ask("/healthz").status)
    end)

    it("leave a line each, without prompt and key", function()
      ask("/v1/chat/completions", QUESTION:gsub("hi", "secret prompt"),
        { headers = { "x-request-id: mine" } })
      local line = g:log(1)
      for name, value in pairs { method = "POST", path = "/v1/chat/completions", kind = "chat",
        model = "m", target = "main", source = "upstream", tries = 1, status = 200,
        completion_tokens = 5 } do
        assert.equal(value, line[name])
      end
      assert.is_truthy(line.id:find "^%x+$" and line.time and line.seconds and line.start
        and line.queued)
      ask "/nope"
      line = g:log(2)
      assert.same({ 404, "unknown_url", "/nope" }, { line.status, line.code, line.path })
      ask("/v1/chat/completions", '{"model":"a\\"\\n\\u0000b\127\194\15531mé","messages":[1]}')
      assert.equal("a\"\n\0b\127\194\15531mé", g:log(3).model)
      local file = io.open(g.dir .. "/access.log", "rb")
      local text = file:read "*a"
      file:close()
      assert.is_nil(text:find("secret", 1, true) or text:find("sk-up", 1, true))
      assert.is_nil(text:find "[%z\1-\9\11-\31\127]" or text:find "\194[\128-\159]")
    end)
  end)
end
