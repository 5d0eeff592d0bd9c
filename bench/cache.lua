--- A hit of the cache, against plain C and against an LRU in pure Lua.
--
-- Keys of 1 KB, values of 2 KB. Compared are
--   C floor        bench/c/cache_floor.c: XXH3, look-up, whole key compared, marked as used, copied
--   get, key       c:get of a key made before: what the cache itself costs
--   get, string    c:get of the body, a string that Lua has already
--   a Lua string   string.sub: what Lua takes to make the 2 KB that a hit gives, or, on LuaJIT,
--                  to find that it has them already (it keeps each string once)
--   pure Lua       a table keyed by the body and a doubly linked list of use; values are handed out
--                  as they are, nothing ever expires: less than the cache does
--
-- The first race looks 1,000 entries up under the same strings again and again, which no server
-- does. In the second each look-up gets a fresh body, as a request is: 10,000 prompts that differ
-- in the middle only. There the price of making the body, which all pay who key by it, is in the
-- figures, and on LuaJIT it is nearly all of them: such strings collide in its table of strings, in
-- most runs (its hash is seeded by chance; where they do not, pure Lua is ahead, for it copies
-- nothing). "pieces" makes a key of the same three parts instead, and takes the same in every run.
-- The third race takes a request as a table: its key, against its JSON, which who keys by a string
-- must write first. Then misses, sets, and all of it in a region. Several processes on one cache
-- (bench/support/cache_workers.lua) come before all of that. Caches of more and more entries are in
-- bench/entries.lua, what shares memory in nginx in bench/shared.lua, and how often it hits in
-- bench/hits.lua.
local cache = require "unbusy.cache"
local json = require "unbusy.json"
local gets = require "bench.support.gets"
local measure = require "bench.support.measure"
local region = require "unbusy.region"

local KEY, VALUE = 1024, 2048

-- {== The peer ============================================================

local function pure_lua(capacity)
  local map, size, head = {}, 0, {}
  head.newer, head.older = head, head
  local lru = {}
  local function unlist(e) e.newer.older, e.older.newer = e.older, e.newer end
  local function enlist(e)
    e.newer, e.older = head, head.older
    head.older.newer, head.older = e, e
  end
  function lru:get(key) -- luacheck: ignore self
    local e = map[key]
    if not e then return nil end
    if e ~= head.older then
      unlist(e)
      enlist(e)
    end
    return e.value
  end
  function lru:set(key, value) -- luacheck: ignore self
    local e = map[key]
    if e then
      e.value = value
      unlist(e)
    else
      if size == capacity then
        map[head.newer.key] = nil
        unlist(head.newer)
      else
        size = size + 1
      end
      e = { key = key, value = value }
      map[key] = e
    end
    enlist(e)
  end
  return lru
end

-- }========================================================================

-- Bodies that differ in eight bytes in their middle. Each contestant has a head of its own: LuaJIT
-- keeps all strings in one table, and those of one must not be in the other's way.
local function head_of(letter) return letter:rep(KEY / 2 - 4) end
local head, tail = head_of "h", head_of "t"

local function middle(i) return ("%08d"):format(i) end

local state = 1
local function random(n)
  state = state * 16807 % 2147483647
  return state % n + 1
end

-- Text, no two alike: LuaJIT hashes a few bytes of a long string only.
local words = { "busy", "server", "again", "later", "answer", "question", "the", "a", "of", "is" }
local function value()
  local out = {}
  for i = 1, VALUE / 2 do out[i] = words[random(#words)] .. random(99) end
  return table.concat(out, " "):sub(1, VALUE)
end

local function filled(c, count, first)
  for i = 1, count do c:set((first or head) .. middle(i) .. tail, value()) end
  return c
end

local function floor()
  local best = math.huge
  for _ = 1, 3 do
    local pipe = assert(io.popen((os.getenv "UNBUSY_BENCH_DIR" or "build/bench") .. "/cache_floor"))
    local ns = tonumber(pipe:read "*l")
    pipe:close()
    best = math.min(best, ns or error "no figure of the C floor")
  end
  return best
end

-- Makes one string after the other out of a long one. Not compiled: that would leave them out.
local function subs(long)
  local sub, at, last = string.sub, 0, #long / VALUE
  local function run(n)
    for _ = 1, n do
      at = at % last + 1
      sub(long, (at - 1) * VALUE + 1, at * VALUE)
    end
  end
  if jit then jit.off(run) end -- luacheck: ignore 113
  return run
end

-- Runs over the list's items in turn.
local function each(list, f)
  local at, last = 0, #list
  return function(n)
    for _ = 1, n do
      at = at % last + 1
      f(list[at])
    end
  end
end

local function hit(c)
  return function(key) if not c:get(key) then error "a miss" end end
end

local function known()
  local bodies, keys = {}, {}
  for i = 1, 1000 do
    bodies[i] = head .. middle(i) .. tail
    keys[i] = cache.key(head .. middle(i) .. tail)
  end
  local ours, peer = filled(cache.new {}, 1000), filled(pure_lua(1000), 1000)
  local all = {}
  for i = 1, 1000 do all[i] = value() end
  local before, strings = floor(), subs(table.concat(all))
  local ns = measure.race("a hit, the same strings again and again", {
    { name = "get, key", run = gets(ours, keys) },
    { name = "get, string", run = gets(ours, bodies) },
    { name = "pure Lua", run = gets(peer, bodies) },
    { name = "a Lua string", run = strings },
  })
  local c_floor = math.min(before, floor())
  print(("  %-44s %10.1f ns"):format("C floor", c_floor))
  local own = ns["get, key"] - ns["a Lua string"]
  measure.goal("a hit, of the C floor", ns["get, key"] / c_floor, 2.5, "times")
  measure.goal("and without the Lua string it gives", own / c_floor, 2.5, "times")
end

local function fresh()
  local middles = {}
  for i = 1, 10000 do middles[i] = middle(i) end
  local a, b, c = head_of "a", head_of "b", head_of "c"
  local by_pieces = cache.new { entries = 10000 }
  for i = 1, 10000 do by_pieces:set(cache.key(a, middle(i), tail), value()) end
  local by_string = filled(cache.new { entries = 10000 }, 10000, b)
  local peer = filled(pure_lua(10000), 10000, c)
  local pieces_hit, string_hit, peer_hit = hit(by_pieces), hit(by_string), hit(peer)
  local ns = measure.race("a hit under a fresh body, 10,000 of the same head and tail", {
    { name = "get, pieces",
      run = each(middles, function(m) pieces_hit(cache.key(a, m, tail)) end) },
    { name = "get, string", run = each(middles, function(m) string_hit(b .. m .. tail) end) },
    { name = "pure Lua", run = each(middles, function(m) peer_hit(c .. m .. tail) end) },
  })
  measure.goal("ahead of pure Lua, by pieces", ns["pure Lua"] / ns["get, pieces"], 1, "times", true)
end

local function tables()
  local request = { model = "m", temperature = 0.7, max_tokens = 500, stream = false,
    messages = { { role = "system", content = ("s"):rep(300) },
      { role = "user", content = ("u"):rep(600) } } }
  local ns = measure.race("the key of a request of 1 KB", {
    { name = "cache.key", run = each({ request }, cache.key) },
    { name = "json.encode", run = each({ request }, json.encode) },
  })
  measure.goal("ahead of its JSON", ns["json.encode"] / ns["cache.key"], 1, "times", true)
end

-- Misses and sets, and the same with the cache in a region.
local function others()
  local r = assert(region.new { bytes = 128 * 1024 * 1024 })
  local private = cache.new { entries = 1000 }
  local shared = assert(cache.new { region = r, name = "bench", entries = 1000 })
  local keys, unknown, values = {}, {}, {}
  for i = 1, 1000 do
    keys[i] = cache.key(head .. middle(i) .. tail)
    unknown[i] = cache.key(head .. middle(-i) .. tail)
    private:set(keys[i], value())
    shared:set(keys[i], value())
  end
  local function sets(c)
    local at = 0
    return function(n)
      for _ = 1, n do
        at = at % 1000 + 1
        c:set(keys[at], values[at])
      end
    end
  end
  local all = {}
  for i = 1, 1000 do all[i] = value() end
  local c_floor, strings = floor(), subs(table.concat(all))
  local ns = measure.race("a hit, by key", {
    { name = "private", run = gets(private, keys) },
    { name = "shared", run = gets(shared, keys) },
    { name = "a Lua string", run = strings },
  })
  c_floor = math.min(c_floor, floor())
  print(("  %-44s %10.1f ns"):format("C floor", c_floor))
  measure.goal("a shared hit, of the C floor", ns.shared / c_floor, 2, "times")
  local own = ns.shared - ns["a Lua string"]
  measure.goal("and without the Lua string it gives", own / c_floor, 2, "times")
  measure.race("a miss", {
    { name = "private", run = gets(private, unknown) },
    { name = "shared", run = gets(shared, unknown) },
  })
  for i = 1, 1000 do values[i] = value() end
  measure.race("a set in place of another", {
    { name = "private", run = sets(private) },
    { name = "shared", run = sets(shared) },
  })
  private:close()
  shared:close()
  r:close()
end

require "bench.support.cache_workers"() -- first: what a process has is copied where a fork uses it
known()
fresh()
tables()
others()
