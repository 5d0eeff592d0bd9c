-- The engine, asked for the rest of a body in one piece.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"

local WORDS = 60000

describe("the engine gathers", function()
  local up, raw, e

  after_each(function()
    e:close()
    e = nil
  end)
  guard.watch(before_each, after_each)

  setup(function()
    up = busyd.start { tls = true }
    raw = raw_server.start()
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)
  before_each(function()
    up:programme { reset = true }
    e = assert(core.engine())
  end)

  local function numbered()
    local list = {}
    for i = 1, WORDS do list[i] = "w" .. i end
    return table.concat(list, " ")
  end

  -- Takes pieces until there are that many bytes, gives them back, and takes the rest.
  local function gathered(id, first)
    local parts, size, got = {}, 0, { pieces = {} }
    engines.await_head(e, id)
    engines.drive(e, function()
      local kind, bytes = e:take(id)
      if kind == "data" then parts[#parts + 1], size = bytes, size + #bytes end
      return size >= first
    end)
    assert.is_true(e:gather(id, table.concat(parts)))
    engines.drive(e, function()
      while e:next() do got.named = true end
      return engines.take(e, id, got)
    end)
    return got
  end

  it("what was taken and what comes, whatever the window is", function()
    local text = numbered()
    for _, make in ipairs { engines.chat, engines.secure } do
      for _, window in ipairs { 1, 65536, math.huge } do
        local got = gathered(assert(e:submit(make(up, text, { window = window }))), 1000)
        assert.is_nil(got.code)
        assert.equal(1, #got.pieces)
        assert.equal("echo: " .. text, got.body:match '"content":"(.-)"')
      end
    end
    assert.equal(0, e:active())
  end)

  it("a body that has ended already, and one that is compressed", function()
    local id = assert(e:submit(engines.chat(up, "hello", { window = math.huge })))
    engines.work(e, 30)
    local got = gathered(id, 1)
    assert.same({ nil, 1 }, { got.code, #got.pieces })
    assert.matches("echo: hello", got.body, 1, true)
    up:programme { script = { { preset = "gzip_bomb", bytes = 2 ^ 22 } } }
    got = gathered(assert(e:submit(engines.chat(up, "x"))), 100000)
    assert.is_nil(got.code)
    assert.is_true(#got.body >= 2 ^ 22)
  end)

  it("none of a body that is cut, or larger than allowed", function()
    local cut = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" .. ("x"):rep(300000)
    local got = gathered(assert(e:submit(engines.raw(raw, cut))), 1000)
    assert.same({ "cut", 0 }, { got.code, #got.pieces })
    got = gathered(assert(e:submit(engines.chat(up, numbered(), { most = 200000 }))), 1000)
    assert.same({ "upstream", 0 }, { got.code, #got.pieces })
    assert.equal("the answer is larger than allowed", got.message)
    assert.is_true(got.info.lasting)
  end)

  it("nothing of a length that nobody could have room for", function()
    local boast = "HTTP/1.1 200 OK\r\nContent-Length: 500000000000000000\r\n\r\n"
      .. ("x"):rep(300000)
    local got = gathered(assert(e:submit(engines.raw(raw, boast))), 1000)
    assert.same({ "cut", 0 }, { got.code, #got.pieces })
  end)

  it("and leaves all as it was without memory", function()
    local text = numbered()
    local id = assert(e:submit(engines.chat(up, text)))
    engines.await_head(e, id)
    local parts = {}
    engines.drive(e, function()
      local kind, bytes = e:take(id)
      if kind == "data" then parts[1] = bytes end
      return parts[1] ~= nil
    end)
    core.fail_alloc(1)
    assert.equal("nomem", select(3, e:gather(id, parts[1])))
    local got = { pieces = parts }
    engines.drive(e, function()
      while e:next() do got.named = true end
      return engines.take(e, id, got)
    end)
    assert.equal("echo: " .. text, got.body:match '"content":"(.-)"')
  end)

  it("what a client is answered at length", function()
    local client = unbusy.new { retry = false,
      targets = { { name = "up", url = up.url .. "/v1" } } }
    local text = numbered()
    local question = { model = "m", messages = { { role = "user", content = text } } }
    for _ = 1, 3 do assert.equal("echo: " .. text, assert(client:chat(question)).text) end
    up:programme { script = { { preset = "gzip_bomb", bytes = 2 ^ 27 } } }
    assert.equal("upstream", select(3, client:chat(question)))
    client:close()
  end)

  it("for no transfer that is not there", function()
    local id = assert(e:submit(engines.chat(up, "x")))
    e:cancel(id)
    assert.equal("cancelled", select(3, e:gather(id, "x")))
    assert.has_error(function() e:gather(1) end)
    assert.has_error(function() e:gather("x", "y") end)
  end)
end)
