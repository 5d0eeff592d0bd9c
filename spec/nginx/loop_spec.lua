local busyd = require "spec.support.busyd"
local sites = require "spec.support.site"

-- What `get_many(n, "/chat?q=n%d.")` must give.
local function echoes(n)
  local out = {}
  for i = 1, n do out[i] = ("echo: n%d."):format(i) end
  return out
end

describe("inside nginx", function()
  local up, site

  setup(function()
    up = busyd.start {}
    site = sites.start { targets = { { name = "a", url = up.url .. "/v1" } },
      limiter = { initial = 1000, max = 1000 }, locations = [[
        location /phase {
          rewrite_by_lua_block { if ngx.var.arg_at == "rewrite" then say(ask()) end }
          access_by_lua_block { if ngx.var.arg_at == "access" then say(ask()) end }
          content_by_lua_block { say(ask()) }
        }
        location /filter {
          header_filter_by_lua_block { ngx.header["x-said"] = ask() }
          content_by_lua_block { ngx.say "served" }
        }
        location /log {
          content_by_lua_block { ngx.say "served" }
          log_by_lua_block { said.last = ask() }
        }
        location /last { content_by_lua_block { ngx.print(said.last) } }
        location /wrapped { content_by_lua_block {
          local each = coroutine.wrap(function()
            for i = 1, 3 do coroutine.yield(ask("n" .. i)) end
          end)
          ngx.print(each(), " ", each(), " ", each())
        } }
        location /pieces { content_by_lua_block {
          for piece in client:stream(question "a b c"):pieces() do ngx.print(piece.text or "") end
        } }
        location /threads { content_by_lua_block {
          local threads = {}
          for i = 1, 20 do threads[i] = ngx.thread.spawn(ask, "t" .. i) end
          for i = 1, 20 do ngx.print(select(2, ngx.thread.wait(threads[i])), " ") end
        } }
        location /tasks { content_by_lua_block {
          local loop = require("unbusy.loops.nginx").loop
          local tasks = {}
          for i = 1, 20 do tasks[i] = loop.spawn(ask, "t" .. i) end
          for i = 1, 20 do ngx.print(tasks[i]:join(), " ") end
          local bad = loop.spawn(function() error("oh", 0) end)
          local ok, message = pcall(bad.join, bad)
          ngx.print(ok, " ", message, " ")
          local long = loop.spawn(function() loop.sleep(1000) end)
          loop.cancel(long)
          ngx.print(tostring(select(2, pcall(long.join, long))))
        } }
        location /begin { content_by_lua_block {
          local loop = require("unbusy.loops.nginx").loop
          said.sum, said.open = 0, 250
          for i = 1, 250 do
            assert(loop.nursery(function()
              if i % 50 == 0 then
                said.open = said.open - 1
                error("oh " .. i, 0)
              end
              if ask("t" .. i) == "echo: t" .. i then said.sum = said.sum + 1 end
              said.open = said.open - 1
            end))
            if i % 7 == 0 then ngx.sleep(0.001) end
          end
          ngx.print "begun"
        } }
        location /begun { content_by_lua_block {
          while said.open > 0 do ngx.sleep(0.01) end
          ngx.print(said.sum)
        } }
        location /timer { content_by_lua_block {
          local said
          ngx.timer.at(0, function() said = ask "from a timer" end)
          while not said do ngx.sleep(0.01) end
          ngx.print(said)
        } }
        location /misuse { content_by_lua_block {
          ngx.print(select(2, pcall(client.chat, client, {})))
        } }
      ]], init = [[
        function ask(text)
          local ok, reply, message = pcall(client.chat, client, question(text))
          return ok and (reply and reply.text or message) or reply
        end
        function say(text)
          ngx.print(text)
          ngx.exit(200)
        end
        said = {}
      ]] }
  end)
  teardown(function()
    site:stop()
    up:stop()
  end)
  before_each(function() up:programme { reset = true } end)
  after_each(function() assert.equal("", site:faults()) end)

  it("a call waits and its worker does not: 200 calls at once, and who needs none is served",
    function()
      up:programme { latency = 1, reset = true }
      local pipe = io.popen(("for i in $(seq 20); do curl -s '%s/hi'; sleep 0.02; done")
        :format(site.url))
      assert.same(echoes(200), site:get_many(200, "/chat?q=n%d."))
      assert.equal(("hi"):rep(20), pipe:read "*a")
      pipe:close()
      local counts = up:counts()
      assert.equal(200, counts.completed)
      assert.is_true(counts.in_service_max > 100, counts.in_service_max)
      local status = site:status()
      assert.same({ 0, 0 }, { status.active, status.core.transfers })
    end)

  it("in rewrite, access and content", function()
    for _, phase in ipairs { "rewrite", "access", "content" } do
      assert.equal("echo: hi", (site:get("/phase?at=" .. phase)))
    end
  end)

  it("in timers, light threads, tasks, and coroutines of the user's", function()
    assert.equal("echo: from a timer", (site:get "/timer"))
    assert.equal("echo: n1 echo: n2 echo: n3", (site:get "/wrapped"))
    assert.equal("echo: a b c", (site:get "/pieces"))
    local all = {}
    for i = 1, 20 do all[i] = "echo: t" .. i .. " " end
    assert.equal(table.concat(all), (site:get "/threads"))
    assert.equal(table.concat(all) .. "false oh cancelled", (site:get "/tasks"))
  end)

  it("in work that outlives its request", function()
    for _ = 1, 2 do
      assert.equal("begun", (site:get "/begin"))
      assert.equal("245", (site:get "/begun"))
    end
    local faults = {}
    for i in site:faults():gmatch "unbusy: oh (%d+)" do faults[#faults + 1] = i end
    assert.equal("50 100 150 200 250 50 100 150 200 250", table.concat(faults, " "))
    site:forget_faults()
  end)

  it("where nothing may wait, a call raises and says what to do", function()
    local log = "the phase '%s' of nginx cannot: make it in rewrite, access or content"
    local function in_phase(phase, text)
      assert.is_truthy(text:find(log:format(phase), 1, true), text)
    end
    assert.equal("served\n", (site:get "/log"))
    in_phase("log", (site:get "/last"))
    in_phase("header_filter", (site:get("/filter", "-i")))
    local other = sites.start { targets = { { name = "a", url = up.url .. "/v1" } },
      init = [[
        function ask()
          return select(2, pcall(function()
            local reply = client:chat(question())
            return reply
          end))
        end
        told = { ask() }
      ]], http = "init_worker_by_lua_block { told[2] = ask() }",
      locations = "location /told { content_by_lua_block { ngx.say(told[1], told[2]) } }" }
    local told = other:get "/told"
    other:stop()
    in_phase("init", told)
    in_phase("init_worker", told)
    assert.matches("^init_by_lua.-:%d+: unbusy: a call must wait", told) -- the caller's line
  end)

  it("wrong use raises at the caller's line", function()
    assert.matches("chat: 'messages' is missing", (site:get "/misuse"), 1, true)
  end)

  it("a reply as good as elsewhere, and failures too", function()
    up:programme { script = { { preset = "busy_503" } }, reset = true }
    assert.equal("echo: hi", (site:get "/chat"))
    up:programme { script = { { preset = "cut_stream" } }, reset = true }
    assert.matches("%[cut: a: body:", (site:get "/stream"))
    local down = sites.start { targets = { { name = "gone", url = "http://127.0.0.1:1/v1" } },
      retry = { attempts = 1 } }
    local said = down:get "/chat"
    down:stop()
    assert.matches("^network: gone: connect:", said)
  end)

  it("nothing is left when nothing is open: no thread, no descriptor, no file", function()
    site:get_many(50, "/chat?q=n%d.")
    local pid = site:workers()[1]
    sites.await("the thread's end", function() return select(2, site.of_process(pid)) == 1 end)
    local before = site.of_process(pid)
    for _ = 1, 3 do
      site:get_many(50, "/chat?q=n%d.")
      assert.equal(2, (select(2, site.of_process(pid))))
      sites.await("the thread's end", function() return select(2, site.of_process(pid)) == 1 end)
    end
    assert.is_true(site.of_process(pid) <= before + 5) -- kept connections differ by some
    local pipe = io.popen "ls -d /tmp/unbusy.* 2>/dev/null"
    assert.equal("", pipe:read "*a")
    pipe:close()
  end)
end)

describe("inside nginx, by the site's configuration", function()
  local up
  setup(function() up = busyd.start {} end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true } end)

  local function start(more)
    local given = { targets = { { name = "a", url = up.url .. "/v1" } } }
    for name, value in pairs(more) do given[name] = value end
    return sites.start(given)
  end

  it("two workers have an engine each", function()
    local site = start { workers = 2 }
    up:programme { latency = 0.2, reset = true }
    assert.same(echoes(100), site:get_many(100, "/chat?q=n%d."))
    assert.equal("", site:faults())
    site:stop()
  end)

  it("workers that gave up being root", function()
    local site = start { as_nobody = true }
    local body = site:get "/chat"
    local faults = site:faults()
    site:stop()
    if faults:find("Permission denied", 1, true) then return end -- the checkout is root's alone
    assert.equal("echo: hi", body)
  end)

  it("with lua_code_cache off each request's Lua ends soon after it", function()
    local site = start { http = "lua_code_cache off;" }
    for i = 1, 20 do
      assert.equal("echo: n" .. i, (site:get("/chat?q=n" .. i)))
    end
    local pid = site:workers()[1]
    sites.await("the threads' end", function() return select(2, site.of_process(pid)) == 1 end)
    local before, memory = site.of_process(pid), site.memory(pid)
    for i = 1, 60 do site:get("/chat?q=n" .. i) end
    sites.await("the threads' end", function() return select(2, site.of_process(pid)) == 1 end)
    assert.is_true(site.of_process(pid) <= before)
    assert.is_true(site.memory(pid) < memory + 3e7, site.memory(pid) - memory)
    assert.is_nil(site:faults():gsub("[^\n]*lua_code_cache is off[^\n]*", ""):match "%S")
    site:stop()
  end)

  it("without a bell it looks every few milliseconds, and says so once", function()
    local site = start { init = [[
      require("unbusy.core").bell = function() return nil, "bell: none today", "network" end
    ]] }
    assert.same(echoes(50), site:get_many(50, "/chat?q=n%d."))
    local faults = site:faults()
    site:stop()
    assert.matches("no bell, so this worker looks at its calls every 5 ms: bell: none today",
      faults, 1, true)
    assert.is_nil(faults:find("\n", 1, true))
  end)

  it("a bell that breaks is done without", function()
    local site = start { init = [[
      local core = require "unbusy.core"
      local bell = core.bell
      function core.bell(fd)
        local b = bell(fd)
        local broken = setmetatable({ begin = function() return nil, "no thread" end }, {
          __index = function(_, name) return function(_, ...) return b[name](b, ...) end end })
        return broken
      end
    ]] }
    assert.equal("echo: hi", (site:get "/chat"))
    assert.matches("every 5 ms: no thread", site:faults(), 1, true)
    site:stop()
  end)

  it("when nginx has no timer left, a call says so", function()
    local site = start { http = "lua_max_pending_timers 1;", locations = [[
      location /full { content_by_lua_block {
        ngx.timer.at(1000, function() end)
        local _, message, code = client:chat(question())
        ngx.print(code, ": ", message)
      } }
    ]] }
    assert.matches("^full: a: connect: nginx has no timer left: too many pending timers",
      (site:get "/full"))
    assert.equal(0, site:status().active)
    site:stop()
  end)
end)
