--- Who is in service and who waits: capacity and queue, first come first served across workers.
--
-- Each pool (all requests, or those of one key) has a count of slots in use and a queue of tickets
-- head+1 … tail in shared memory; a ticket holds the number of the worker where its request waits.
-- Whoever frees a slot hands it to the next ticket and puts that on the worker's list of grants.
-- A worker with waiting requests looks at its list every millisecond, and hands out slots that
-- came free because the programme changed.
local semaphore = require "ngx.semaphore"
local counters = require "server.counters"
local lock = require "server.lock"
local programme = require "server.programme"

local state = ngx.shared.busyd_state

local admission = {}

local TICK = 0.001
local FOREVER = 1e6

local waiting = {}   -- this worker's waiting requests by ticket
local ticking = false

local function count(name, pool)
  return state:get(name .. pool) or 0
end

--- The pool a key belongs to and how many of it may be in service (nil: no limit).
function admission.pool(fields, key)
  local own = key and fields.capacities[key]
  if own then return key, own end
  return fields.per_key and key or "", fields.capacity
end

local function take(pool)
  state:incr("in:" .. pool, 1, 0)
  counters.up("in_service", true)
end

-- Gives free slots to the first in the queue. Under the lock.
local function hand_out(pool, capacity)
  while count("waiting:", pool) > 0 and count("in:", pool) < (capacity or math.huge) do
    local ticket = pool .. "#" .. state:incr("head:" .. pool, 1, 0)
    local worker = state:get(ticket)
    if worker then  -- otherwise its client has left
      state:delete(ticket)
      state:incr("waiting:" .. pool, -1)
      counters.down "queued"
      take(pool)
      state:rpush("grants " .. worker, ticket)
    end
  end
end

-- Wakes this worker's requests that have been given a slot.
local function collect()
  local list = "grants " .. ngx.worker.id()
  local ticket = state:lpop(list)
  while ticket do
    local waiter = waiting[ticket]
    if waiter then
      waiter.granted = true
      waiter.semaphore:post()
    end
    ticket = state:lpop(list)
  end
end

local function tick(premature)
  while not premature and next(waiting) do
    local fields, seen = programme.now(), {}
    lock.take()
    for _, waiter in pairs(waiting) do
      if not seen[waiter.pool] then
        seen[waiter.pool] = true
        local _, capacity = admission.pool(fields, waiter.key)
        hand_out(waiter.pool, capacity)
      end
    end
    lock.give()
    collect()
    ngx.sleep(TICK)
  end
  ticking = false
end

local function start_ticking()
  if ticking then return end
  ticking = true
  assert(ngx.timer.at(0, tick))
end

-- Joins the queue. Under the lock.
local function queue(pool)
  local ticket = pool .. "#" .. state:incr("tail:" .. pool, 1, 0)
  state:set(ticket, ngx.worker.id())
  state:incr("waiting:" .. pool, 1, 0)
  counters.up("queued", true)
  return ticket
end

-- "in", or the ticket to wait with, or nil when there is no room.
local function ask(pool, capacity, room)
  lock.take()
  local waiters, result = count("waiting:", pool), nil
  if waiters == 0 and count("in:", pool) < capacity then
    take(pool)
    result = "in"
  elseif waiters < room then
    result = queue(pool)
  end
  lock.give()
  return result
end

local function wait(call, ticket, every, on_wait)
  local waiter = { semaphore = semaphore.new(), pool = call.pool, key = call.key }
  waiting[ticket], call.ticket = waiter, ticket
  start_ticking()
  while not waiter.granted do
    if not waiter.semaphore:wait(on_wait and every or FOREVER) and on_wait then on_wait() end
  end
  waiting[ticket], call.ticket = nil, nil
end

--- Lets a call into service, at once or after its turn in the queue.
---@param call table  gets `pool` and, while it waits, `ticket`
---@param fields table  the programme
---@param on_wait? function  called every `keepalive_every` seconds while it waits
---@return boolean entered  false when capacity and queue are full
function admission.enter(call, fields, on_wait)
  local pool, capacity = admission.pool(fields, call.key)
  call.pool = pool
  if not capacity then
    state:incr("in:" .. pool, 1, 0)
    counters.up("in_service", false)
  else
    local answer = ask(pool, capacity, fields.queue)
    if not answer then return false end
    if answer ~= "in" then wait(call, answer, fields.keepalive_every, on_wait) end
  end
  call.in_service = true
  return true
end

local function give_back(pool, key)
  local _, capacity = admission.pool(programme.now(), key)
  lock.take()
  state:incr("in:" .. pool, -1)
  counters.down "in_service"
  hand_out(pool, capacity)
  lock.give()
  collect()
end

-- A client left the queue; it may have been given a slot meanwhile.
local function abandon(call)
  waiting[call.ticket] = nil
  lock.take()
  local still = state:get(call.ticket)
  if still then
    state:delete(call.ticket)
    state:incr("waiting:" .. call.pool, -1)
    counters.down "queued"
  end
  lock.give()
  if not still then give_back(call.pool, call.key) end
end

--- Ends what `enter` began, wherever the call stands: in service, in the queue or neither.
function admission.leave(call)
  if call.in_service then
    call.in_service = false
    give_back(call.pool, call.key)
  elseif call.ticket then
    abandon(call)
    call.ticket = nil
  end
end

return admission
