-- Feeds chunks that nobody else holds while the collector is always at work, and prints how many
-- events came out wrong. In a process of its own: with a small heap the collector is quick to come
-- round.
local sse = require "unbusy.sse"

local wrong = 0
collectgarbage("setpause", 0)
collectgarbage("setstepmul", 200)

-- (The sanitizers see the first one, and take their time.)
local last = os.getenv "UNBUSY_SANITIZED" and 1000 or 20000

for _ = 1, 6 do
  local p = sse.new {}
  for i = 1, last do
    local data = i .. ("y"):rep(i % 50)
    local got = p:feed("id: " .. i .. "\ndata: " .. data .. "\n\n"
      .. ("event: e%d\ndata: %d\n\n"):format(i, i):rep(i % 3))
    if got[1].data ~= data or got[1].id ~= tostring(i) then wrong = wrong + 1 end
    for k = 2, #got do
      if got[k].event ~= "e" .. i or got[k].data ~= tostring(i) then wrong = wrong + 1 end
    end
  end
end

print(wrong)
