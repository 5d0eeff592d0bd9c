-- performance.lua [RESULTS [PAGE]]: writes docs/performance.md and its plots out of what benches
-- have told (tools/bench.sh puts it into build/bench/results).
--   lua5.4 tools/performance.lua
local collected = require "tools.performance.collected"
local numbers = require "tools.performance.numbers"
local plot = require "tools.performance.plot"

local results = arg[1] or "build/bench/results"
local page = arg[2] or "docs/performance.md"
local plots = page:gsub("%.md$", "")

local out = {}

local function say(text, ...)
  out[#out + 1] = select("#", ...) > 0 and text:format(...) or text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function output_of(command)
  local pipe = assert(io.popen("{ " .. command .. "; } 2>/dev/null"))
  local text = pipe:read "a"
  pipe:close()
  return (text:gsub("%s+$", ""))
end

local function cell(text) return (tostring(text):gsub("|", "\\|")) end

local function row(cells)
  for i, text in ipairs(cells) do cells[i] = cell(text) end
  say("| " .. table.concat(cells, " | ") .. " |")
end

-- A table's head: its first column to the left, figures to the right.
local function head(cells, left)
  row(cells)
  local marks = {}
  for i = 1, #cells do marks[i] = i <= (left or 1) and "---" or "---:" end
  say("|" .. table.concat(marks, "|") .. "|")
end

-- The Luas of which there is something.
local function luas_of(by_lua)
  local list = {}
  for _, lua in ipairs(collected.luas) do
    if by_lua[lua] then list[#list + 1] = lua end
  end
  return list
end

local benches = collected.read(results)
assert(#benches > 0, "no results in " .. results)

-- {== What was measured, and where =========================================

local INTRO = {
  "# Performance\n",
  "<!-- Written by `make bench` (tools/performance.lua). Not by hand. -->\n",
  "What `make bench` has measured, on the machine below: beside other software that does the same,"
    .. " against the goals that were set, and how cost grows. Ratios are of one run, in which those"
    .. " that are compared took turns; of each the quickest turn counts. So they say more than the"
    .. " figures themselves, which differ from machine to machine and with what else it has to do."
    .. " Times are of CPU, unless something else is said.\n",
  "- `make bench` runs all of it and writes this page and its plots; what takes real time, or runs"
    .. " in nginx, runs on LuaJIT alone then.",
  "- `make bench NAME=cache` runs one bench, on both Luas, and prints what it finds.",
  "- How a bench works, and what each contestant does, stands at the head of `bench/NAME.lua`.\n",
}

local function field(path, pattern)
  local file = io.open(path)
  if not file then return nil end
  local found = file:read("a"):match(pattern)
  file:close()
  return found
end

local function versions()
  local list = {}
  local function add(name, command, pattern)
    local version = output_of(command):match(pattern)
    if version then list[#list + 1] = name .. " " .. version end
  end
  add("Lua", "lua5.4 -v 2>&1", "Lua ([%d.]+)")
  add("LuaJIT", "luajit -v 2>&1", "LuaJIT (%S+)")
  add("libcurl", "pkg-config --modversion libcurl", "(%S+)")
  add("nginx", "nginx -v 2>&1", "nginx/(%S+)")
  add("Redis", "redis-server --version", "v=(%S+)")
  add("Node.js", "node -v", "v(%S+)")
  add("Portkey", "cat bench/support/portkey/package.json", '"@portkey%-ai/gateway": "([%d.]+)"')
  add("opossum", "cat bench/support/breakers/package.json", '"opossum": "([%d.]+)"')
  add("cockatiel", "cat bench/support/breakers/package.json", '"cockatiel": "([%d.]+)"')
  return table.concat(list, ", ")
end

local function all_runs()
  local first, last, busiest, seconds
  for _, bench in ipairs(benches) do
    for _, run in pairs(bench.runs) do
      first = math.min(first or run.at, run.at)
      last = math.max(last or run.at, run.at)
      busiest = math.max(busiest or 0, run.load)
      seconds = (seconds or 0) + (run.seconds or 0)
    end
  end
  return first, last, busiest, seconds
end

local function failures()
  local list = {}
  for _, bench in ipairs(benches) do
    for _, lua in ipairs(luas_of(bench.runs)) do
      if bench.runs[lua].failed then
        list[#list + 1] = ("`%s` on %s"):format(bench.name, collected.shown[lua])
      end
    end
  end
  return table.concat(list, ", ")
end

local function machine()
  local first, last, busiest, seconds = all_runs()
  for _, text in ipairs(INTRO) do say(text) end
  say "| | |"
  say "|---|---|"
  row { "processor", ("%s, %s cores"):format(
    field("/proc/cpuinfo", "model name%s*:%s*([^\n]+)") or output_of "uname -m",
    output_of "nproc") }
  row { "memory", ("%.0f GiB"):format(
    (tonumber(field("/proc/meminfo", "MemTotal:%s*(%d+)")) or 0) / 2 ^ 20) }
  row { "system", output_of "uname -sr" .. ", " .. (field("/etc/os-release",
    'PRETTY_NAME="([^"]+)"') or "") }
  row { "software", versions() }
  row { "measured", ("%s to %s UTC, %.0f minutes in all"):format(os.date("!%Y-%m-%d %H:%M", first),
    os.date("!%Y-%m-%d %H:%M", last), seconds / 60) }
  row { "other work", ("before the benches began, up to %.1f processes were waiting or running "
    .. "(load average of a minute; the benches themselves are in it, all but the first)"):format(
    busiest) }
  if failures() ~= "" then row { "failed", failures() } end
end

-- }=========================================================================

-- {== Beside others =========================================================

local PEERS = {
  "", "Who they are:", "",
  "- **bare libcurl**, **hiredis**: the libraries driven from C as cheaply as can be"
    .. " (`bench/c`), that is, what is left when there is no Lua and nothing is decided.",
  "- **LuaCURL**: Debian's `lua-curl` 0.3, a kept handle (Lua-cURLv3 is not packaged there).",
  "- **a cosocket client**, **a cosocket proxy**: HTTP over nginx's cosockets with the work that"
    .. " clients like lua-resty-http do for each call: options copied, headers in a table that"
    .. " ignores case, bodies in parts. Written here, since that one is not packaged there either.",
  "- **ngx.shared.DICT**, **lua-resty-lrucache**: the latter copies nothing, is not shared, and"
    .. " finds by strings that Lua has already.",
  "- **nginx proxy_pass**: passes on and does nothing else; **Portkey**: its gateway on Node.js.",
  "- **opossum**, **cockatiel**: breakers of Node.js, less what awaiting a call takes there.",
}

local function peers_of(benches_too)
  local list = {}
  for _, bench in ipairs(benches_too) do
    for _, peer in ipairs(bench.peers) do
      peer.bench = bench.name
      list[#list + 1] = peer
    end
  end
  return list
end

local function ratio_of(by_lua, lua)
  local fact = by_lua[lua]
  return fact and ("× " .. numbers.text(fact.ratio)) or ""
end

local function beside_others()
  local list, bars = peers_of(benches), {}
  if #list == 0 then return end
  for _, peer in ipairs(list) do
    local fact = peer.by_lua.luajit or peer.by_lua["lua5.4"]
    bars[#bars + 1] = { name = ("%s · %s"):format(peer.what, peer.peer), ratio = fact.ratio }
  end
  table.sort(bars, function(a, b) return a.ratio < b.ratio end)
  write(plots .. "/peers.svg", plot.ratios { title = "What ours takes of what the peer takes"
    .. " (LuaJIT where it was measured there)", less = "ours takes less",
    more = "ours takes more", bars = bars })
  say "\n## Beside others\n"
  say("What ours takes (of CPU), of what the peer takes for the same: less than 1 is less. The"
    .. " peer often does less: see the bench.\n")
  say("![what ours takes of what each peer takes](%s/peers.svg)\n", plots:match "[^/]+$")
  head({ "what", "peer", "Lua 5.4", "LuaJIT", "bench" }, 2)
  for _, peer in ipairs(list) do
    row { peer.what, peer.peer, ratio_of(peer.by_lua, "lua5.4"), ratio_of(peer.by_lua, "luajit"),
      ("`%s`"):format(peer.bench) }
  end
  for _, text in ipairs(PEERS) do say(text) end
end

-- }=========================================================================

-- {== Goals =================================================================

local function limit_of(goal, fact)
  return ("%s %s %s"):format(goal.at_least and "≥" or "≤", numbers.text(fact.limit), goal.unit)
end

-- "≤ 250 ns", or what it is on each Lua.
local function limits(goal)
  local list, texts = luas_of(goal.by_lua), {}
  for _, lua in ipairs(list) do
    local text = limit_of(goal, goal.by_lua[lua])
    if texts[#texts] ~= text then texts[#texts + 1] = text end
  end
  return table.concat(texts, "; LuaJIT ")
end

local function value_of(goal, lua)
  local fact = goal.by_lua[lua]
  if not fact then return "" end
  if not fact.value then return fact.met and "met" or "**missed**" end
  return fact.met and numbers.text(fact.value) or "**" .. numbers.text(fact.value) .. "**"
end

local function goals()
  local met, count, lines = 0, 0, {}
  for _, bench in ipairs(benches) do
    for _, goal in ipairs(bench.goals) do
      for _, fact in pairs(goal.by_lua) do
        count, met = count + 1, met + (fact.met and 1 or 0)
      end
      lines[#lines + 1] = { ("`%s`"):format(bench.name), goal.what, limits(goal),
        value_of(goal, "lua5.4"), value_of(goal, "luajit") }
    end
  end
  say "\n## Goals\n"
  say("%d of %d were met. Those that were missed are **bold**.\n", met, count)
  head({ "bench", "what", "goal", "Lua 5.4", "LuaJIT" }, 3)
  for _, cells in ipairs(lines) do row(cells) end
end

-- }=========================================================================

-- {== How cost grows ========================================================

-- A line of the plot for each line on each Lua; on Lua 5.4 dashed, if both have it.
local function lines_of(curve)
  local lines, luas = {}, luas_of(curve.by_lua)
  for colour, line in ipairs(curve.lines) do
    for _, lua in ipairs(luas_of(line.by_lua)) do
      lines[#lines + 1] = { points = line.by_lua[lua], colour = colour,
        dashed = #luas > 1 and lua == "lua5.4",
        name = #luas > 1 and ("%s, %s"):format(line.name, collected.shown[lua]) or line.name }
    end
  end
  return lines
end

local function table_of(curve, lines)
  local at, list = {}, {}
  for _, line in ipairs(lines) do
    for _, p in ipairs(line.points) do
      if not at[p.x] then
        at[p.x] = {}
        list[#list + 1] = p.x
      end
      at[p.x][line] = p.y
    end
  end
  table.sort(list)
  local cells = { curve.of }
  for i, line in ipairs(lines) do cells[i + 1] = ("%s, %s"):format(line.name, curve.unit) end
  head(cells, 0)
  for _, x in ipairs(list) do
    cells = { curve.of == "bytes" and numbers.mark(x, "bytes") or numbers.text(x) }
    for i, line in ipairs(lines) do
      local y = at[x][line]
      cells[i + 1] = y and numbers.text(y) or ""
    end
    row(cells)
  end
end

local function curves()
  say "\n## How cost grows"
  for _, bench in ipairs(benches) do
    for i, curve in ipairs(bench.curves) do
      local lines, name = lines_of(curve), ("%s-%d.svg"):format(bench.name, i)
      write(plots .. "/" .. name, plot.curves { title = curve.title, of = curve.of,
        unit = curve.unit, lines = lines })
      say("\n### %s\n", (curve.title:gsub("^%l", string.upper)))
      say("`make bench NAME=%s`. Both axes are logarithmic.\n", bench.name)
      say("![%s](%s/%s)\n", curve.title, plots:match "[^/]+$", name)
      table_of(curve, lines)
    end
  end
end

-- }=========================================================================

-- {== Bench by bench ========================================================

-- The first paragraph of the comment at a bench's head.
local function about(name)
  local words = {}
  local file = io.open(("bench/%s.lua"):format(name))
  for line in file and file:lines() or function() end do
    local text = line:match "^%-%-%-? (%S.*)$"
    if not text then break end
    words[#words + 1] = text
  end
  if file then file:close() end
  return table.concat(words, " ")
end

local function results_of(table_)
  local luas = luas_of(table_.by_lua)
  local cells = { table_.title }
  for _, lua in ipairs(luas) do
    cells[#cells + 1] = collected.shown[lua]
    cells[#cells + 1] = "of the first"
  end
  head(cells)
  for _, r in ipairs(table_.rows) do
    cells = { r.name }
    for _, lua in ipairs(luas) do
      local fact = r.by_lua[lua]
      cells[#cells + 1] = fact and fact.value and numbers.text(fact.value) .. " " .. fact.unit or ""
      cells[#cells + 1] = fact and fact.ratio and "× " .. numbers.text(fact.ratio) or ""
    end
    row(cells)
  end
  say ""
end

local function bench_by_bench()
  say "\n## Bench by bench"
  for _, bench in ipairs(benches) do
    if #bench.tables > 0 then
      say("\n### %s\n", bench.name)
      say("%s\n", about(bench.name))
      for _, t in ipairs(bench.tables) do results_of(t) end
      out[#out] = nil
    end
  end
end

-- }=========================================================================

assert(os.execute(("mkdir -p '%s' && rm -f '%s'/*.svg"):format(plots, plots)))
machine()
beside_others()
goals()
curves()
bench_by_bench()
write(page, table.concat(out, "\n") .. "\n")
print(("%s: %d benches"):format(page, #benches))
