-- What a text uses and sets beyond its local variables: the same that Lua's own compilers find.
local files = require "spec.support.files"
local names = require "unbusy.policy.names"
local tokens = require "unbusy.policy.tokens"

local jit = rawget(_G, "jit")

local function lines_of(command) return files.output(command):gmatch "[^\n]+" end

local function count(counts, name, line, set)
  local key = ("%s:%d%s"):format(name, line, set and " =" or "")
  counts[key] = (counts[key] or 0) + 1
end

-- {== What the compilers say ==============================================

local compiler = {}

-- Of LuaJIT: the instructions of a function and of those in it.
local function walk(f, util, counts)
  local pc = 1
  while true do
    local instruction = util.funcbc(f, pc)
    if not instruction then break end
    local at = instruction % 256 * 6 -- of its name, in a row of names
    local op = require("jit.vmdef").bcnames:sub(at + 1, at + 4)
    if op == "GGET" or op == "GSET" then
      local constant = -math.floor(instruction / 65536) - 1
      count(counts, util.funck(f, constant), util.funcinfo(f, pc).currentline, op == "GSET")
    end
    pc = pc + 1
  end
  local i = -1
  while true do
    local constant = util.funck(f, i)
    if constant == nil then return end
    if type(constant) == "proto" then walk(constant, util, counts) end
    i = i - 1
  end
end

function compiler.luajit(path)
  local util, counts = require "jit.util", {}
  walk(assert(loadfile(path)), util, counts)
  return counts
end

function compiler.lua(path)
  local counts = {}
  for line in lines_of("luac5.4 -l -l -p " .. path) do
    local at, op, rest = line:match "^%s+%d+%s+%[(%d+)%]%s+(%u+)%s+(.*)$"
    local name = rest and rest:match ';%s*_ENV "([^"]*)"'
    if name and (op == "GETTABUP" or op == "SETTABUP") then
      count(counts, name, tonumber(at), op == "SETTABUP")
    end
  end
  return counts
end

-- }========================================================================

local function ours(text)
  local counts = {}
  for _, use in ipairs(names.of(text).globals) do
    count(counts, use.name, use.line, use.set and not use.field) -- a field's is a read of the name
  end
  return counts
end

local hard = [==[
local a <const>, b = 1, a
local function f(x, ...) return x, f, y, ... end
function g.h.i:j(k) return self, k, l end
function m(self) n = self; m.o = m end
for i = i, i do p[i] = i end
for q, r in pairs(q) do q, s = r, r.t end
repeat local u = v until u or w
while x do local x = x; goto done; y.z["aa"] = x ::done:: end
if aa then local aa; bb = aa elseif aa then return { aa, cc = cc, [dd] = ee; ff } else gg() end
local hh = function() return hh, "ii" .. jj, [[kk]], [=[ ]] ll ]=], #mm, -nn, not oo end
local pp = ("pp"):rep(2)
qq "rr" { ss = tt } :uu 'vv' [ww].xx = function(...) local xx; return xx, yy end, zz
-- ab = ac
--[[ ad
= ae ]] af = 0x1p-4 + 1e-3 .. 3.5
local ag = "\"ah\z
   ai\\", 'a\
j', am
do local aj; function aj.ak() end end
return function() return al end
]==]

describe("names that are no local variables", function()
  it("are those that the compiler sees, in every file of the project", function()
    local seen, uses = 0, 0
    for path in lines_of "find lua tools -name '*.lua' | sort" do
      local text = files.read(path)
      if path:find "policy" or seen % 4 == 0 or jit then
        local theirs = jit and compiler.luajit(path) or compiler.lua(path)
        assert.same(theirs, ours(text), path)
        for _, n in pairs(theirs) do uses = uses + n end
      end
      seen = seen + 1
    end
    assert.is_true(seen > 100 and uses > 500, ("%d files, %d uses"):format(seen, uses))
  end)

  it("are those that the compiler sees, in a text that makes it hard", function()
    local text = jit and hard:gsub("<const>", "") or hard
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local theirs = jit and compiler.luajit(path) or compiler.lua(path)
    os.remove(path)
    assert.same(theirs, ours(text))
  end)

  it("have the field that is taken of them, where it is a constant", function()
    local found = names.of [[
      a.b(c["d"], e[f], g:h(), i.j.k); l.m = n; function o.p.q() end
      r.s.t, u.v, w[x] = 1; function y.z() end]]
    local fields, set = {}, {}
    for _, use in ipairs(found.globals) do
      fields[use.name], set[use.name] = use.field or false, use.set
    end
    assert.same({ a = "b", c = "d", e = false, f = false, g = false, i = "j", l = "m", n = false,
      o = "p", r = "s", u = "v", w = false, x = false, y = "z" }, fields)
    assert.same({ l = true, u = true, y = true }, set)
  end)

  it("come with the lines where fields are given, and methods of texts", function()
    local found = names.of('local p = {\n retry = 1, ["cache"] = 2 }\np.route = 3\n'
      .. 'function p.batch() end\nfunction p.x.y:z() end\nreturn ("a"):dump(), ("b").rep')
    assert.same({ retry = 2, cache = 2, route = 3, batch = 4, z = 5 }, found.fields)
    assert.same({ { name = "dump", line = 6 }, { name = "rep", line = 6 } }, found.methods)
  end)

  it("stand where they do, behind long comments and texts", function()
    local found = names.of "--[==[\n\n]==] a = [[\n\n]]\n\nlocal c = 'x\\\n' b = 1"
    assert.same({ 3, 8 }, { found.globals[1].line, found.globals[2].line })
  end)

  it("are found at the end of anything that Lua compiles: texts by chance", function()
    local words = {}
    for _, token in ipairs(tokens.of((hard:gsub("<const>", "")))) do
      words[#words + 1] = token.text
    end
    local r = require("spec.support.random").new(5)
    local compiled = 0
    for _ = 1, 20000 do
      local from = r:int(#words)
      local text = table.concat(words, " ", from, math.min(#words, from + r:int(40)))
      if (loadstring or load)(text) then -- luacheck: ignore
        compiled = compiled + 1
        local done = false
        local thread = coroutine.create(function()
          names.of(text)
          done = true
        end)
        local was = { debug.gethook() } -- LuaJIT has one hook for all coroutines
        debug.sethook(thread, function() error "for ever" end, "", 5e5)
        local ok, message = coroutine.resume(thread)
        debug.sethook(thread)
        debug.sethook((table.unpack or unpack)(was)) -- luacheck: ignore
        assert.is_true(ok and done, text .. "\n" .. tostring(message))
      end
    end
    assert.is_true(compiled > 200, compiled)
  end)
end)
