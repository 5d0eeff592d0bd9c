--- chaos.lua: everything at once in virtual time, for as many calls as there is patience.
--
--     lua5.4 tools/chaos.lua [calls [part parts]]      make chaos
--
-- The run is a row of eras of 100,000 calls in 72 s each: ten million calls are two hours. Each era
-- has clients with other options, and what must hold is looked at all along (spec/support/chaos).
-- With `part` and `parts` only every parts-th era is run, so that several processes can share them.
-- UNBUSY_SEED repeats a run (else the eras differ from run to run), UNBUSY_ERA one of its eras;
-- UNBUSY_CHAOS_ERA is how many calls an era has. Ends with 1 where something does not hold.
local era = require "spec.support.chaos.era"

local RATE = 100000 / 72 -- calls a second of virtual time
local HEAP = { share = 1.25, slack = 4096 } -- kilobytes: what all eras after the second may hold

local calls = tonumber(arg and arg[1]) or 1e7
local part, parts = tonumber(arg and arg[2]) or 1, tonumber(arg and arg[3]) or 1
local seed = tonumber(os.getenv "UNBUSY_SEED") or os.time() % 1000000
local only = tonumber(os.getenv "UNBUSY_ERA")
local size = tonumber(os.getenv "UNBUSY_CHAOS_ERA") or 1e5

local sums = { calls = 0, requests = 0, tickets = 0, seconds = 0, restarts = 0, met = {} }
local faults, first_heap = 0, nil

local function add(told, given)
  sums.calls, sums.requests = sums.calls + given.calls, sums.requests + told.requests
  sums.tickets, sums.seconds = sums.tickets + told.tickets, sums.seconds + told.took
  sums.restarts = sums.restarts + told.restarts
  for name, n in pairs(told.met) do sums.met[name] = (sums.met[name] or 0) + n end
end

-- What is left on the Lua heap when an era is over does not grow.
local function check_heap(number)
  local heap = collectgarbage "count"
  if sums.calls < 2 * size then return end
  first_heap = first_heap or heap
  if heap > first_heap * HEAP.share + HEAP.slack then
    faults = faults + 1
    print(("era %d: %d KB on the heap, were %d"):format(number, heap, first_heap))
  end
end

local function run(number, n)
  local given = { seed = seed, number = number, calls = n, seconds = n / RATE }
  local began = os.clock()
  local told = era.run(given)
  add(told, given)
  local complaint = era.complaint(given, told)
  if complaint then
    faults = faults + 1
    print(complaint)
  else
    print(("era %d: %d calls, %d requests, %d tickets, %d clients, %d restarts: all is well "
      .. "(%.0f s)"):format(number, n, told.requests, told.tickets, told.clients, told.restarts,
      os.clock() - began))
  end
  check_heap(number)
  io.stdout:flush()
end

local function list(met)
  local out = {}
  for name, n in pairs(met) do out[#out + 1] = ("%s %d"):format(name, n) end
  table.sort(out)
  return table.concat(out, ", ")
end

print(("chaos: %d calls in eras of %d, seed %d, part %d of %d"):format(calls, size, seed, part,
  parts))
if only then
  run(only, size)
else
  local number = 0
  for first = 0, calls - 1, size do
    number = number + 1
    if number % parts == part % parts then run(number, math.min(size, calls - first)) end
  end
end
print(("%d calls in %.0f s of virtual time, %d requests, %d tickets, %d restarts; %d faults (%s)")
  :format(sums.calls, sums.seconds, sums.requests, sums.tickets, sums.restarts, faults,
  list(sums.met)))
os.exit(faults == 0 and 0 or 1, true)
