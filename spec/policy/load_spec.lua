-- Where policies come from: a name, a path, a table of functions.
local policy = require "unbusy.policy"
local unbusy = require "unbusy"

local TARGETS = { { name = "a", url = "http://a.test/v1", key = "k" } }

describe("loading a policy", function()
  local dir
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. dir))
  end)
  teardown(function() os.execute("rm -rf " .. dir) end)

  local function write(name, text)
    local path = dir .. "/" .. name
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    return path
  end

  local good = "return { retry = function() return 1 end }"

  it("takes a file", function()
    local path = write("good.lua", good)
    local loaded = assert(policy.load(path))
    assert.same({ true, 1 }, { loaded:decide(nil, "retry", {}) })
    assert.same({ false }, { loaded:decide(nil, "route", {}) })
    local status = loaded:status()
    assert.same({ path, path, 1, 1 }, { status.name, status.path, status.version, status.asked })
    assert.equal("unbusy policy: " .. path, tostring(loaded))
    assert.is_not_nil(policy.load(write("plain name", good))) -- a slash makes a path
  end)

  it("takes a name, which it finds where the module's own are", function()
    local old = package.path
    package.path = dir .. "/?.lua;" .. old
    os.execute(("mkdir -p %s/unbusy/policies %s/unbusy/batch"):format(dir, dir))
    write("unbusy/policies/mine.lua", good)
    write("unbusy/batch/mine.lua", "return { batch = function() return false end }")
    local loaded, message = policy.load "mine"
    local rule = policy.load("mine", "batch")
    package.path = old
    assert.is_nil(message)
    assert.same({ true, 1 }, { loaded:decide(nil, "retry", {}) })
    assert.equal("mine", loaded.name)
    assert.same({ true, false }, { rule:decide(nil, "batch", {}) })
    assert.same({ nil, "there is no 'mine' among the policies" }, { policy.load "mine" })
    assert.same({ nil, "there is no 'mine' among the batch rules" },
      { policy.load("mine", "batch") })
  end)

  it("takes a table of the program's functions, as they are then", function()
    local count = 0
    local t = { retry = function() count = count + 1 return count end }
    local loaded = assert(policy.load(t))
    t.retry = nil
    assert.same({ true, 1 }, { loaded:decide(nil, "retry", {}) })
    assert.same({ true, 2 }, { loaded:decide(nil, "retry", {}) })
    local inherited = assert(policy.load(setmetatable({}, { __index = { retry = math.max } })))
    assert.is_not_nil(inherited.functions.retry)
  end)

  it("refuses what is no policy, and says where and why", function()
    local fifo = dir .. "/fifo"
    os.execute("mkfifo " .. fifo)
    local bytecode = string.dump(load(good))
    local cases = {
      { dir .. "/none.lua", "none.lua: No such file or directory" },
      { dir .. "/", "Is a directory" }, { "/dev/zero", "not supported" },
      { fifo, "not supported" },
      { write("empty.lua", ""), "empty.lua: a table of functions expected, got nothing" },
      { write("blank.lua", "\n\n-- nothing\n"), "got nothing" },
      { write("half.lua", "return { retry = function() retu"), "half.lua:1: " },
      { write("bytes.lua", bytecode), "bytes.lua: a text expected, got bytecode" },
      { write("number.lua", "return 1"), "got a number" },
      { write("string.lua", "return 'x'"), "got a string" },
      { write("throws.lua", "error 'not today'"), "throws.lua:1: not today" },
      { write("loops.lua", "\nwhile true do end"), "loops.lua:2: it ran too long" },
      { write("grows.lua", "local t = {} for i = 1, 1e9 do t[i] = {} end"),
        os.getenv "UNBUSY_COLLECTOR" and "it " or "it took too much memory" }, -- or too long
      { write("reads.lua", "return io.open '/etc/passwd'"), "reads.lua:1: attempt to index" },
      { write("typo.lua", "return { clasify = function() end }"),
        "no decision is called 'clasify', did you mean 'classify'?" },
      { write("value.lua", "return { hedge = 2 }"), "hedge: a function expected, got a number" },
      { write("large.lua", ("-"):rep(1024 * 1024) .. "\n" .. good), "larger than 1048576 bytes" },
      { { retry = "fast" }, "retry: a function expected, got a string" },
      { { retries = print }, "no decision is called 'retries'" },
      { { [1] = print }, "no decision is called '?'" },
      { setmetatable({}, { __index = error }), "a table of functions expected" },
      { "no such name", "a name, a path" }, { "", "a name, a path" }, { "a/b\0c", "control" },
      { 42, "a name, a path" }, { print, "a name, a path" }, { false, "a name, a path" },
    }
    for _, case in ipairs(cases) do
      local loaded, message = policy.load(case[1])
      assert.is_nil(loaded, tostring(case[1]))
      assert.is_true(message:find(case[2], 1, true) ~= nil, message)
    end
  end)

  it("fails at the line that wanted it, in a client's, a target's and a call's options", function()
    local path = write("broken.lua", "return {\n  retry = function( +\n}")
    local function at_here(f, what)
      local ok, message = pcall(f)
      assert.is_false(ok)
      assert.matches("^spec/policy/load_spec.lua:%d+: " .. what, message)
      assert.matches("broken.lua:%d+: ", message)
    end
    at_here(function() unbusy.new { targets = TARGETS, policy = path } end, "unbusy: policy: ")
    local target = { name = "a", url = "http://a.test/v1", key = "k", policy = path }
    at_here(function() unbusy.new { targets = { target } } end,
      "unbusy: targets%[1%].policy: ")
    local client = unbusy.new { targets = TARGETS }
    local question = { messages = { { role = "user", content = "x" } } }
    at_here(function() client:chat(question, { policy = path }) end, "chat: policy: ")
    at_here(function() client:stream(question, { policy = path }) end, "stream: policy: ")
    assert.has_error(function() client:chat(question, { policy = 5 }) end)
    client:close()
  end)
end)
