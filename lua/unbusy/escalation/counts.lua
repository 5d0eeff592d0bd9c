--- How many answers came from where, how many were weak, and what became of these.
--
-- The bound on second askings stands here too: of the answers that were judged within a minute,
-- somebody else is asked in place of so large a share and no more. An edge that has gone bad must
-- not send all of its calls on to a centre that was built for a part of them.
--
-- In a region all processes count as one.
local counters = require "unbusy.counters"
local monotonic = require "unbusy.clock"

local counts = {}
counts.__index = counts

local WINDOW = 60     -- seconds that the bound looks back
local NAMES = 1100    -- 1000 targets' and ours; in a region all processes must agree on it
local FOR_OURS = 100  -- of them, beside the targets'

local kinds = { answers = "answers ", weak = "weak ", kept = "kept " }

local function new_counters(client)
  local clock = client.now ~= monotonic and client.now or nil
  local common = client.common
  if common then
    local shared = counters.new(common:part({ counters = NAMES, clock = clock }, "escalation"))
    if shared then return shared end
  end
  return counters.new { counters = #client.targets + FOR_OURS, clock = clock }
end

--- The counts of a client, made when they are first asked for. Where its region has no room, they
--- are this process's own.
---@param client table
function counts.of(client)
  local known = client.escalation
  if known then return known end
  local made = setmetatable({ counters = assert(new_counters(client)) }, counts)
  client.escalation = made
  return made
end

local function add(self, kind, word)
  self.counters:add(kinds[kind] .. word)
end

--- A target has answered.
function counts:answered(target)
  add(self, "answers", target)
end

--- An answer of the targets that are judged.
function counts:judged()
  self.counters:add "judged"
  self.counters:add("judged lately", 1, WINDOW)
end

--- A weak answer, and why it is one.
function counts:weak(reason)
  add(self, "weak", reason)
end

--- May somebody else be asked in its place? If so, that is counted.
---@param o table { most = share, floor = in any case }
---@return boolean
function counts:may_ask(o)
  local judged = self.counters:get "judged lately" or 0
  local most = math.max(o.floor, o.most * judged)
  if most < 1 then return false end
  return self.counters:take("asked lately", 1, most, WINDOW) == true
end

--- It was asked.
function counts:asked()
  self.counters:add "asked"
end

--- The second answer was the caller's.
function counts:replaced()
  self.counters:add "replaced"
end

--- A weak answer was the caller's, since `why`.
---@param why "named"|"time"|"full"|"share"|"failed"|"stream"
function counts:kept(why)
  add(self, "kept", why)
end

--- What an operator wants to know: answers by target; of those judged how many there were, and
--- were weak, by reason; for how many somebody else was asked, and answered; how many weak ones
--- callers got, by why.
---@return table { answers =, judged =, weak =, asked =, replaced =, kept = }
function counts:status()
  local out = { answers = {}, weak = {}, kept = {}, judged = 0, asked = 0, replaced = 0 }
  for name, value in pairs(self.counters:list() or {}) do
    local kind, word = name:match "^(%l+) (.*)$"
    value = math.floor(value)
    if kinds[kind] then out[kind][word] = value elseif out[name] == 0 then out[name] = value end
  end
  return out
end

return counts
