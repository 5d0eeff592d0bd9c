--- What a run comes to, in numbers.
local figures = {}

--- The value below which `share` of a sorted list lies (nearest rank); nil of an empty one.
function figures.quantile(sorted, share)
  if #sorted == 0 then return nil end
  return sorted[math.max(1, math.ceil(share * #sorted))]
end

--- A share as text, never rounded up: 99.96 % is not 100 %.
function figures.percent(part, whole)
  if whole == 0 then return "0.0 %" end
  return ("%.1f %%"):format(math.floor(part * 1000 / whole + 1e-9) / 10)
end

local function sorted_by(records, how, field)
  local list = {}
  for _, r in ipairs(records) do
    if r.how == how then list[#list + 1] = r[field] end
  end
  table.sort(list)
  return list
end

local function count(records, test)
  local n = 0
  for _, r in ipairs(records) do
    if test(r) then n = n + 1 end
  end
  return n
end

-- Why questions were not answered: code -> how many.
local function reasons(records)
  local out = {}
  for _, r in ipairs(records) do
    if r.how ~= "answered" then out[r.code] = (out[r.code] or 0) + 1 end
  end
  return out
end

-- What must be true if nothing was lost, doubled or made up; a list of what is not.
local function check_books(f, r, server)
  local faults = {}
  local function check(right, text, ...)
    if not right then faults[#faults + 1] = ("%s: %s"):format(f.name, text:format(...)) end
  end
  check(#r.records == f.asked, "%d questions were asked, and %d ended", f.asked, #r.records)
  check(f.answered + f.fallback + f.failed + f.wrong == f.asked, "the outcomes do not add up")
  check(f.wrong == 0, "%d ANSWERS WERE WRONG", f.wrong)
  check(r.tries == server.received, "it made %d calls, and the server saw %d", r.tries,
    server.received)
  check(f.answered <= server.completed, "%d answers, and the server gave %d", f.answered,
    server.completed)
  check(server.received == server.completed + server.refused + server.aborted_by_client,
    "the server's own counts do not add up")
  for _, record in ipairs(r.records) do
    if record.code and record.code:find "^raised" then check(false, "%s", record.code) end
  end
  return faults
end

--- The figures of a run. Calls and refusals are the server's own counts.
---@param r table a run that has ended
---@param server table what `busyd:counts()` gave
function figures.of(r, server)
  local f = {
    name = r.name, asked = r.asked, answered = r.counts.answered, fallback = r.counts.fallback,
    failed = r.counts.failed, wrong = r.counts.wrong, opened = r.opened, late = r.late,
    calls = server.received, refused = server.refused, completed = server.completed,
    aborted = server.aborted_by_client, took = r.took,
  }
  local seconds = sorted_by(r.records, "answered", "seconds")
  local queued = sorted_by(r.records, "answered", "queued")
  f.p50, f.p99 = figures.quantile(seconds, 0.5), figures.quantile(seconds, 0.99)
  f.queued_p50, f.queued_most = figures.quantile(queued, 0.5), queued[#queued]
  f.share, f.calls_each = f.answered / math.max(f.asked, 1), f.calls / math.max(f.asked, 1)
  local burst = r.plan.burst
  f.in_burst = count(r.records, function(x) return x.at < burst end)
  f.lost_in_burst = count(r.records, function(x) return x.how ~= "answered" and x.at < burst end)
  f.lost_later = count(r.records, function(x) return x.how ~= "answered" and x.at >= burst end)
  f.shut_out = count(r.records, function(x) return x.how ~= "answered" and x.code == "open" end)
  f.waited = count(r.records, function(x) return x.how == "answered" and x.queued >= 0.05 end)
  f.reasons = reasons(r.records)
  f.faults = check_books(f, r, server)
  return f
end

--- Of the questions asked in each of `columns` equal parts of the time: how many were `asked` and
--- `answered`, and the middle `seconds` of those answered (nil without any).
function figures.over_time(records, total, columns)
  local list = {}
  for i = 1, columns do list[i] = { asked = 0, answered = 0, all = {} } end
  for _, r in ipairs(records) do
    local column = list[math.min(columns, math.floor(r.at / total * columns) + 1)]
    column.asked = column.asked + 1
    if r.how == "answered" then
      column.answered = column.answered + 1
      column.all[#column.all + 1] = r.seconds
    end
  end
  for _, column in ipairs(list) do
    table.sort(column.all)
    column.seconds = figures.quantile(column.all, 0.5)
    column.all = nil
  end
  return list
end

return figures
