--- A burst at a busy server, and four clients that meet it: `make demo`.
--
-- Each client has a busy upstream of its own (spec/support/busyd) and gets the same questions at
-- the same times, over HTTP. Nothing is set for unbusy beyond its defaults.
local chart = require "examples.demo.chart"
local clients = require "examples.demo.clients"
local figures = require "examples.demo.figures"
local layout = require "examples.demo.table"
local meet = require "examples.demo.meet"
local options = require "examples.demo.options"
local plan = require "examples.demo.plan"
local unbusy = require "unbusy"
local json = require "unbusy.json"
local words = require "examples.demo.words"

local function print_lines(lines)
  io.stdout:write(table.concat(lines, "\n"), "\n")
  io.stdout:flush()
end

-- All clients: side by side, or one after the other.
local function measure_all(o, p, questions)
  if not o.apart then return meet.measure(clients.names, p, questions, o.json) end
  local all = {}
  for i, name in ipairs(clients.names) do
    all[i] = meet.measure({ name }, p, questions, o.json)[1]
  end
  return all
end

-- {== Telling =============================================================

local function columns_of(all, p)
  local columns, moments = chart.columns(p.total, p.total / 30), {}
  for i, each in ipairs(all) do
    moments[i] = figures.over_time(each.run.records, p.total, columns)
  end
  return columns, moments
end

-- One value for each moment: nil where `f` gives none.
local function values(moments, columns, f)
  local out = {}
  for i = 1, columns do out[i] = f(moments[i]) end
  return out
end

local function asked_row(moments, columns, p, style)
  local most = 1.2 * p.times * p.capacity * p.total / columns
  return chart.row("asked", values(moments, columns, function(m)
    return math.min(m.asked / most, 0.999)
  end), columns, style)
end

local function charts(all, p)
  local style = chart.is_utf8(os.getenv) and "utf8" or "ascii"
  local columns, moments = columns_of(all, p)
  local axis = chart.axis(p.burst, p.total, columns, style)
  local shares = { "Answered, of what was asked at each moment (full: all of it)",
    asked_row(moments[1], columns, p, style) }
  local waits = { ("Seconds until the answer, by when it was asked (full: %g s)"):format(
    p.deadline) }
  for i, each in ipairs(all) do
    shares[#shares + 1] = chart.row(each.figures.name, values(moments[i], columns, function(m)
      return m.asked > 0 and m.answered / m.asked or nil
    end), columns, style)
    waits[#waits + 1] = chart.row(each.figures.name, values(moments[i], columns, function(m)
      return m.seconds and m.seconds / p.deadline
    end), columns, style)
  end
  return { table.concat(shares, "\n"), axis, "", table.concat(waits, "\n"), axis }
end

local function list_of(all)
  local list, by, faults, late = {}, {}, {}, 0
  for i, each in ipairs(all) do
    local f = each.figures
    list[i], by[f.name], late = f, f, math.max(late, f.late)
    for _, fault in ipairs(f.faults) do faults[#faults + 1] = fault end
  end
  return list, by, faults, late
end

local function tell(all, p)
  local list, by, faults, late = list_of(all)
  local good, sentence = words.verdict(by)
  print_lines { "" }
  print_lines(charts(all, p))
  print_lines { "" }
  print_lines(layout.lines(layout.compare(list)))
  print_lines { "" }
  for _, text in ipairs(words.story(p, by)) do print_lines { words.wrap(text, "") } end
  print_lines { "", words.wrap(sentence, "") }
  for _, fault in ipairs(faults) do print_lines { "THE COUNTS DO NOT AGREE: " .. fault } end
  if #faults == 0 then
    print_lines { words.wrap(("Calls and refusals are the servers' own counts; they agree with the "
      .. "clients'. No question was asked more than %.0f ms late."):format(math.ceil(late * 1000)),
      "") }
  end
  print_lines { "", words.closing(by) }
  return good and #faults == 0
end

local function tell_json(all, p)
  local list, by, faults = list_of(all)
  local good, sentence = words.verdict(by)
  for _, f in ipairs(list) do f.faults = nil end
  print_lines { (assert(json.encode { plan = p, clients = list, faults = unbusy.array(faults),
    good = good, verdict = sentence, closing = words.closing(by) })) }
  return good and #faults == 0
end

-- }========================================================================

local function main(args)
  local o, message = options.read(args)
  local p = o and plan.new(o)
  if p and p.deadline < p.least_deadline then
    message = ("--deadline: less than %g s is no fair test here"):format(p.least_deadline)
  end
  if message then
    io.stderr:write("demo: ", message, "; --help says more\n")
    return 2
  end
  if o.help then
    io.stdout:write(options.HELP)
    return 0
  end
  local questions = plan.questions(p)
  if not o.json then print_lines(words.plan(p, questions)) end
  local ok, all = pcall(measure_all, o, p, questions)
  if not ok then
    io.stderr:write("demo: ", tostring(all), "\n")
    return tostring(all):find("interrupted", 1, true) and 130 or 1
  end
  return (o.json and tell_json or tell)(all, p) and 0 or 1
end

os.exit(main(arg), true)
