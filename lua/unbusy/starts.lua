--- How long targets take to begin an answer, lately.
--
--     s:note("deepseek", "deepseek-flash", "stream", 0.8, now)
--     s:quantile("deepseek", "deepseek-flash", "stream", 0.95, now)   --> seconds, or nil
--
-- Of each target, model and way apart: a stream begins with its first token, a whole answer of a
-- chat mostly with its end. Two histograms take turns, so that what is known follows:
--
--     ├── the turn before ──┼── this turn ──►      a quantile is of both
--
-- A turn ends with a number of answers, or with some time and fewer of them.
local histogram = require "unbusy.histogram"

local starts = {}
starts.__index = starts

local MODELS = 16           -- of a target, in one way; models beyond them share one place
local ENOUGH, MOST = 50, 1000 -- answers that a turn has, at least and at most …
local TURN, OLD = 60, 600   -- … seconds that it takes with enough of them, and with however few
local FRESH = 0.2           -- seconds for which a quantile is not worked out again

---@param least integer answers that must have been seen before a quantile is given
function starts.new(least)
  return setmetatable({ least = least, enough = math.max(ENOUGH, least), by_target = {},
    both = histogram.new {} }, starts)
end

local function new_place(now)
  return { turn = histogram.new {}, before = histogram.new {}, count = 0, counted = 0, since = now,
    quantile = false, seconds = false, until_then = 0 }
end

-- Where the answers of a target and way are counted, by model; nil where none have been.
local function find(self, target, model, way)
  local by_way = self.by_target[target]
  local models = by_way and by_way[way]
  if not models then return nil end
  return models.places[model or ""] or models.count >= MODELS and models.places[""] or nil
end

-- A place for one more model; they share one where they are too many.
local function make(self, target, model, way, now)
  local by_way = self.by_target[target] or {}
  self.by_target[target] = by_way
  local models = by_way[way] or { count = 0, places = {} }
  by_way[way] = models
  local key = models.count < MODELS and model or ""
  if not models.places[key] then
    models.places[key], models.count = new_place(now), models.count + 1
  end
  return models.places[key]
end

local function is_over(self, place, now)
  local age = now - place.since
  return place.count >= MOST or age >= TURN and place.count >= self.enough or age >= OLD
end

-- The next turn begins, and the one before the last is forgotten.
local function turn(place, now)
  place.turn, place.before = place.before, place.turn
  place.turn:clear()
  place.counted, place.count, place.since = place.count, 0, now
  place.quantile = false
end

--- An answer has begun, `seconds` after it was asked for; or, of one that was called off, had not
--- begun by then: it counts as one that took so long, or else only the quick ones would count.
---@param target string name
---@param model string?
---@param way string
---@param seconds number
---@param now number
function starts:note(target, model, way, seconds, now)
  local place = find(self, target, model, way) or make(self, target, model, way, now)
  if is_over(self, place, now) then turn(place, now) end
  place.turn:record(seconds)
  place.count = place.count + 1
end

--- The seconds within which a share `q` of the answers begins; nil where too few have been seen.
---@return number?
function starts:quantile(target, model, way, q, now)
  local place = find(self, target, model, way)
  if not place then return nil end
  if is_over(self, place, now) then turn(place, now) end
  if place.count + place.counted < self.least then return nil end
  if place.quantile == q and now < place.until_then then return place.seconds end
  local both = self.both
  both:clear()
  both:merge(place.before)
  both:merge(place.turn)
  place.quantile, place.seconds, place.until_then = q, both:quantile(q), now + FRESH
  return place.seconds
end

--- All that is known of a share `q`: { target =, model =, way =, seconds =, answers = }, …
---@param q number
---@param now number
---@return table[]
function starts:list(q, now)
  local out = {}
  for target, by_way in pairs(self.by_target) do
    for way, models in pairs(by_way) do
      for model, place in pairs(models.places) do
        out[#out + 1] = { target = target, model = model ~= "" and model or nil, way = way,
          seconds = self:quantile(target, model, way, q, now),
          answers = place.count + place.counted }
      end
    end
  end
  table.sort(out, function(a, b)
    if a.target ~= b.target then return a.target < b.target end
    if a.way ~= b.way then return a.way < b.way end
    return (a.model or "") < (b.model or "")
  end)
  return out
end

return starts
