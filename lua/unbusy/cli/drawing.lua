--- What goes on, as lines of a terminal: the same as the page of /status shows.
--
--     unbusy 0.1.0: 1 of 2 targets is out; in flight 2, waiting 0; …
--
--     target  state   model  in flight                      first token     failures
--     up      open    m      [--------------------] 0 of 5  16 ms .. 62 ms  4 of 4
--
-- What is told may come from anywhere: a number that is none counts as 0, and a text is shown
-- without what a terminal would obey.
local bar = require "unbusy.cli.bar"
local terminal = require "unbusy.cli.terminal"

local drawing = {}

local NAME, WORD = 24, 16   -- columns of a target's name and of a state, at most
local LEVELS = " .:-=+*#"   -- of a column that is one character high
local MOST = 2 ^ 53         -- a larger number is none: their sums would not be finite

-- {== What may be shown ===================================================

local function number(n)
  return type(n) == "number" and n >= -MOST and n <= MOST and n or 0
end

local function of(t)
  return type(t) == "table" and t or {}
end

local function plain(s)
  return type(s) == "string" and (terminal.clean(s):gsub("%s+", " ")) or ""
end

local CHARACTER = "[%z\1-\127\192-\255][\128-\191]*"

-- From and to: characters that take two columns of a terminal, as far as they are in use (Unicode's
-- East Asian Width "W" and "F": kana, Hangul, Han, full-width forms, pictures).
local wide = { { 0x1100, 0x115F }, { 0x2E80, 0xA4CF }, { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF },
  { 0xFE30, 0xFE6F }, { 0xFF00, 0xFF60 }, { 0xFFE0, 0xFFE6 }, { 0x1F300, 0x1FAFF },
  { 0x20000, 0x3FFFD } }

local function columns_of(character)
  local a, b, c, d = character:byte(1, 4)
  if not c then return 1 end
  local code = a % 16 * 4096 + b % 64 * 64 + c % 64
  if d then code = code % 4096 * 64 + a % 8 * 262144 + d % 64 end
  for _, range in ipairs(wide) do
    if code >= range[1] and code <= range[2] then return 2 end
  end
  return 1
end

local function width_of(s)
  if not s:find "[\224-\255]" then return select(2, s:gsub("[^\128-\191]", "")) end
  local sum = 0
  for character in s:gmatch(CHARACTER) do sum = sum + columns_of(character) end
  return sum
end

-- The beginning of a text, of so many columns.
local function cut(s, most)
  if width_of(s) <= most then return s end
  local kept, columns = {}, 0
  for character in s:gmatch(CHARACTER) do
    columns = columns + columns_of(character)
    if columns > most - 1 then break end
    kept[#kept + 1] = character
  end
  return table.concat(kept) .. "~"
end

local function left(s, columns)
  return s .. (" "):rep(columns - width_of(s))
end

local function right(s, columns)
  return (" "):rep(columns - width_of(s)) .. s
end

local function whole(n)
  return ("%.0f"):format(number(n))
end

local function percent(part, all)
  return ("%.1f %%"):format(all > 0 and 100 * part / all or 0)
end

local function duration(s)
  s = number(s)
  if s < 0.9995 then return ("%.0f ms"):format(1000 * s) end
  if s < 60 then return (s < 9.95 and "%.1f s" or "%.0f s"):format(s) end
  if s < 3600 then return ("%.0f min"):format(s / 60) end
  return ("%.1f h"):format(s / 3600)
end

-- Rows of texts as columns, each as wide as it must be; `aligns`: how each is set, left or right.
local function in_columns(rows, aligns)
  local widths, out = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, width_of(cell)) end
  end
  for r, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = (aligns[i] or left)(cell, widths[i]) end
    out[r] = table.concat(cells, "  "):match "^(.-)%s*$"
  end
  return out
end

local function add(out, lines)
  for _, line in ipairs(lines) do out[#out + 1] = line end
end

-- }========================================================================

-- {== Targets =============================================================

local out_states = { open = true, forced_open = true }

local function is_out(t)
  return out_states[t.state] or type(t.refused) == "string"
end

local function state_of(t)
  if t.refused == "quota" then return "no credit" end
  if t.refused then return "key refused" end
  if number(t.rests) > 0 then return "rests " .. duration(t.rests) end
  return cut((plain(t.state):gsub("_", " ")), WORD)
end

-- The models of an account, in an order that stays.
local function models_of(t)
  local out = {}
  for model in pairs(of(t.limits)) do
    if type(model) == "string" then out[#out + 1] = model end
  end
  table.sort(out)
  return out
end

local function flight(l)
  local limit, n = math.floor(number(l.limit)), number(l.in_flight)
  if limit <= 0 then return whole(n) end
  return ("%s %s of %d"):format(bar.gauge(n / limit), whole(n), limit)
end

local function first_token(t)
  local start = of(t.start)
  if not t.start then return "-" end
  return ("%s .. %s"):format(duration(start.half), duration(start.most))
end

local function failures_of(t)
  local b = of(t.breaker)
  if number(b.calls) == 0 then return "-" end
  return ("%s of %s"):format(whole(b.failures), whole(b.calls))
end

-- A target's rows: one for each model that it was asked for.
local function rows_of(t)
  local rows = { { cut(plain(t.name), NAME), state_of(t), "", "", first_token(t),
    failures_of(t) } }
  for i, model in ipairs(models_of(t)) do
    rows[i] = rows[i] or { "", "", "", "", "", "" }
    rows[i][3], rows[i][4] = cut(plain(model), NAME), flight(of(t.limits[model]))
  end
  return rows
end

local function targets_of(told)
  local rows = { { "target", "state", "model", "in flight", "first token", "failures" } }
  for _, t in ipairs(of(told.targets)) do add(rows, rows_of(of(t))) end
  return in_columns(rows, {})
end

-- }========================================================================

-- {== The whole ===========================================================

local function in_flight(told)
  local seen, sum, known = {}, 0, false
  for _, t in ipairs(of(told.targets)) do
    for model, l in pairs(of(of(t).limits)) do
      local key = plain(of(t).account) .. "\n" .. tostring(model)
      if not seen[key] then
        seen[key], known, sum = true, true, sum + number(of(l).in_flight)
      end
    end
  end
  return known and sum or number(told.active)
end

local function found(cache)
  local near = type(cache.near) == "table" and cache.near or cache
  local all = number(near.hits) + number(near.stale) + number(near.misses)
  return all > 0 and ("; %s of all lookups found a fresh answer"):format(
    percent(number(near.hits), all)) or ""
end

local function head_of(told)
  local targets, out = of(told.targets), 0
  for _, t in ipairs(targets) do
    if is_out(of(t)) then out = out + 1 end
  end
  local state = out == 0 and "no target is out" or ("%d of %d targets %s out"):format(out,
    #targets, out == 1 and "is" or "are")
  local waiting = type(told.region) == "table" and told.region.waiting or told.waiting
  return ("unbusy %s: %s; in flight %s, waiting %s%s"):format(plain(told.version), state,
    whole(in_flight(told)), whole(waiting), found(of(told.cache)))
end

-- }========================================================================

-- {== The hour ============================================================

local sources = { "upstream", "cache", "coalesced", "batch", "stale", "fallback", "failed" }

local function sum(list)
  local n = 0
  for i = 1, 60 do n = n + number(of(list)[i]) end
  return n
end

-- The minutes as characters, the more the darker.
local function minutes_of(answers)
  local by, most = {}, 0
  for i = 1, 60 do
    by[i] = 0
    for _, name in ipairs(sources) do by[i] = by[i] + number(of(answers[name])[i]) end
    most = math.max(most, by[i])
  end
  for i = 1, 60 do
    local level = most > 0 and math.ceil((#LEVELS - 1) * by[i] / most) or 0
    by[i] = LEVELS:sub(level + 1, level + 1)
  end
  return ("  by minute |%s| at most %s"):format(table.concat(by), whole(most))
end

local function hour_of(hour)
  local answers, sums, all = of(hour.answers), {}, 0
  for _, name in ipairs(sources) do
    sums[name] = sum(answers[name])
    all = all + sums[name]
  end
  local out, rows = { ("calls in the last hour: %s"):format(whole(all)) }, {}
  if all == 0 then return out end
  for _, name in ipairs(sources) do
    if sums[name] > 0 then
      rows[#rows + 1] = { "  " .. name, bar.gauge(sums[name] / all), whole(sums[name]),
        percent(sums[name], all) }
    end
  end
  add(out, in_columns(rows, { left, left, right, right }))
  out[#out + 1] = minutes_of(answers)
  return out
end

local function failed_of(list)
  local rows, out = {}, { "failures in the last hour" }
  for _, f in ipairs(list) do
    f = of(f)
    local name = plain(f.target)
    rows[#rows + 1] = { "  " .. (name ~= "" and cut(name, NAME) or "-"), cut(plain(f.code), WORD),
      whole(f.count), number(f.ago) < 1 and "just now" or duration(f.ago) .. " ago" }
  end
  if not rows[1] then return {} end
  add(out, in_columns(rows, { left, left, right, right }))
  return out
end

-- }========================================================================

-- {== Questions ===========================================================

local function count(n)
  return (n >= 99.5 and "%.0f" or "%.1f"):format(n)
end

--- The questions that are asked most, with a line above them.
---@param told table with `questions`, which have been checked
---@param columns integer
---@param alone boolean? is nothing else shown?
---@return string[]
function drawing.questions(told, columns, alone)
  local counts, rate = of(told.top), alone and found(of(told.cache)) or ""
  local out = { ("%s questions lately, %s of them told apart%s"):format(
    count(number(counts.asked)), whole(counts.used), rate) }
  if not told.questions[1] then return out end
  out[2] = "   #     asked  +-     hash              model"
  for i, e in ipairs(told.questions) do
    local line = ("%4d  %8s  %-5s  %s  %s"):format(i, count(e.count),
      e.error > 0.05 and "-" .. count(e.error) or "", e.hash, plain(e.model))
    if e.question then
      line = line .. "  " .. cut(plain(e.question), math.max(columns - width_of(line) - 2, 10))
    end
    out[#out + 1] = line:match "^(.-)%s*$"
  end
  return out
end

-- }========================================================================

--- A text as one line.
---@param text string
---@param columns integer it is cut there
---@return string
function drawing.line(text, columns)
  return cut(plain(text), columns)
end

--- All of it.
---@param told table see `unbusy.gateway.facts`; `questions` have been checked
---@param columns integer lines are cut there
---@return string[] lines
function drawing.lines(told, columns)
  local parts, out = {}, {}
  if type(told.targets) == "table" then
    parts = { { head_of(told) }, targets_of(told) }
    if type(told.hour) == "table" then
      parts[3], parts[4] = hour_of(told.hour), failed_of(of(told.hour.failures))
    end
  end
  if type(told.questions) == "table" then
    parts[#parts + 1] = drawing.questions(told, columns)
  end
  for _, part in ipairs(parts) do
    if out[1] and part[1] then out[#out + 1] = "" end
    add(out, part)
  end
  for i, line in ipairs(out) do out[i] = cut(line, columns) end
  return out
end

return drawing
