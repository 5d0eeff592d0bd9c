--- Exact counts across workers. Plain counts in one dictionary, named ones (paths, keys, statuses,
--- questions) in another that takes no new names once it is full.
local lock = require "server.lock"

local counts, names = ngx.shared.busyd_counts, ngx.shared.busyd_names

local counters = {}

local PLAIN = {
  "received", "refused", "rejected", "completed", "faulted", "aborted_by_client", "connections",
  "duplicates", "internal_errors", "streams_started", "streams_finished", "streams_cut",
  "streams_aborted", "in_service", "in_service_max", "queued", "queued_max", "bytes_received",
  "bytes_sent", "bytes_counted",
}
local GAUGES = { in_service = "in_service_max", queued = "queued_max" }
local GROUPS = { path = "paths", key = "keys", status = "statuses", question = "questions" }

--- Adds 1, or `n`, to a plain count.
---@return number  the new value
function counters.add(name, n)
  return counts:incr(name, n or 1, 0)
end

--- Adds 1 to a named count: `counters.add_named("key", "sk-1")`.
function counters.add_named(group, name)
  local id = group .. ":" .. name
  if not names:incr(id, 1) and not names:safe_add(id, 1) then
    names:incr(id, 1)  -- another worker was first, or there is no room
  end
end

--- True the first time this name is seen.
function counters.first_time(group, name)
  local added, problem = names:safe_add("seen " .. group .. ":" .. name, true)
  return added or problem ~= "exists"
end

--- Moves a gauge up by 1 and its high-water mark with it.
---@param locked boolean  whether the caller holds the lock
function counters.up(gauge, locked)
  local now, mark = counts:incr(gauge, 1, 0), GAUGES[gauge]
  if now <= (counts:get(mark) or 0) then return end
  if not locked then lock.take() end
  if now > (counts:get(mark) or 0) then counts:set(mark, now) end
  if not locked then lock.give() end
end

--- Moves a gauge down by 1.
function counters.down(gauge)
  counts:incr(gauge, -1, 0)
end

--- The value of a plain count or gauge.
function counters.get(name)
  return counts:get(name) or 0
end

--- All counts as one table, as `GET /__busy/counts` shows them.
function counters.all()
  local all = { streams = {} }
  for _, name in ipairs(PLAIN) do
    local stream = name:match "^streams_(.*)"
    if stream then all.streams[stream] = counters.get(name) else all[name] = counters.get(name) end
  end
  for _, plural in pairs(GROUPS) do all[plural] = {} end
  for _, id in ipairs(names:get_keys(0)) do
    local group, name = id:match "^(%a+):(.*)$"
    if group then all[GROUPS[group]][name] = names:get(id) end
  end
  return all
end

--- Sets everything to zero but the gauges, whose marks fall to where they stand.
function counters.reset()
  for _, name in ipairs(PLAIN) do
    if not GAUGES[name] then counts:set(name, 0) end
  end
  lock.take()
  for gauge, mark in pairs(GAUGES) do counts:set(mark, counters.get(gauge)) end
  lock.give()
  names:flush_all()
  names:flush_expired()
end

return counters
