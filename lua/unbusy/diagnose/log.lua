--- The periods of a gateway's log (docs/gateway.md, "The log"): the trouble, and the quiet time.
--
-- The log is cut into a hundred pieces, of a second at least. A piece is trouble where three times
-- as much goes wrong as in the quieter ones (and 2 % or more), or a fifth, where answers take twice
-- as long as there, or where calls wait in line for longer than an answer takes. Calls stand in the
-- piece in which they came.
local access_log = require "unbusy.simulate.access_log"
local lines = require "unbusy.simulate.lines"
local period = require "unbusy.diagnose.period"

local log = {}

local PIECES, MOST_CALLS = 100, 2e6

-- {== Reading =============================================================

local function read_calls(reader)
  local calls, skipped = {}, 0
  while true do
    local line, more = reader:next()
    if not line then
      if more then return nil, more end
      return calls, skipped
    end
    local call, message
    if line ~= "" then call, message = access_log.call_of(line) end
    if call then calls[#calls + 1] = call else skipped = skipped + 1 end
    -- a line without an end is being written, or was cut off
    local hopeless = message and not more and reader:damaged(message, #calls)
    if hopeless then return nil, hopeless end
    if #calls > MOST_CALLS then return nil, reader:fault "too many calls: take a part" end
  end
end

-- }========================================================================

-- {== Pieces ==============================================================

-- The value below which a share of a list lies; nil of an empty one. Sorts the list.
local function quantile(list, share)
  if #list == 0 then return nil end
  table.sort(list)
  return list[math.max(1, math.ceil(share * #list))]
end

-- Seconds to the first of an answer and to all of it, of one that was there at the first try.
local function took_of(call)
  if call.source ~= "upstream" or call.code or (call.tries or 1) > 1 then return nil end
  local whole = math.max(call.seconds - call.queued, 0)
  return math.min(call.start or whole, whole), whole
end

-- Might it have come to our line?
local function may_wait(call)
  return not period.elsewhere[call.source or ""]
end

local function cut(calls)
  local from, to = math.huge, -math.huge
  for _, call in ipairs(calls) do
    from, to = math.min(from, call.at), math.max(to, call.at + call.seconds)
  end
  local width = math.max(1, (to - from) / PIECES)
  local pieces, order = {}, {}
  for _, call in ipairs(calls) do
    local i = math.floor((call.at - from) / width)
    local piece = pieces[i]
    if not piece then
      piece = { index = i, calls = {}, bad = 0, gone = 0, took = {}, queued = 0, in_line = 0 }
      pieces[i], order[#order + 1] = piece, piece
    end
    local list = piece.calls
    list[#list + 1] = call
    if period.callers[call.code or false] then piece.gone = piece.gone + 1
    elseif call.code then piece.bad = piece.bad + 1 end
    piece.queued = piece.queued + call.queued
    if may_wait(call) then piece.in_line = piece.in_line + 1 end
    piece.took[#piece.took + 1] = (took_of(call))
  end
  table.sort(order, function(a, b) return a.index < b.index end)
  return order, width, from
end

-- Marks the pieces that are trouble. One in which nobody called but those who say nothing of us
-- does not say what is usual.
local function judge(pieces)
  local shares, took = {}, {}
  for _, piece in ipairs(pieces) do
    local counted = #piece.calls - piece.gone
    piece.share, piece.median = counted > 0 and piece.bad / counted or 0, quantile(piece.took, 0.5)
    if counted > 0 then shares[#shares + 1] = piece.share end
    took[#took + 1] = piece.median
  end
  local usual = { share = quantile(shares, 0.25) or 0, took = quantile(took, 0.25) }
  for _, piece in ipairs(pieces) do
    piece.trouble = period.is_trouble({ share = piece.share, took = piece.median,
      queued = piece.queued / math.max(piece.in_line, 1) }, usual)
  end
end

-- Shares out the seconds: those in which nobody called are of the trouble only in the midst of it.
local function share_out(pieces, width)
  for _, piece in ipairs(pieces) do piece.span = width end
  for i = 2, #pieces do
    local before, after = pieces[i - 1], pieces[i]
    local owner = before.trouble and not after.trouble and after or before
    owner.span = owner.span + (after.index - before.index - 1) * width
  end
end

-- }========================================================================

-- {== Periods =============================================================

-- The calls of pieces in sum; nil where there are none.
local function sum(pieces, is_trouble)
  local p, took, whole, queued, in_line, span = period.new(), {}, {}, 0, 0, 0
  for _, piece in ipairs(pieces) do
    if piece.trouble == is_trouble then
      span, in_line = span + piece.span, in_line + piece.in_line
      for _, call in ipairs(piece.calls) do
        period.add_calls(p, 1, call.code)
        queued = queued + call.queued
        local first, all = took_of(call)
        took[#took + 1], whole[#whole + 1] = first, all
        if call.target and call.turns > 0 then
          local before = call.turns - 1
          period.add_tries(p, call.target, 1, call.ended)
          p.tries, p.retried = p.tries + before, p.retried + before
        end
      end
    end
  end
  if p.calls == 0 then return nil end
  p.span, p.queued = span, queued / math.max(in_line, 1)
  p.took, p.whole = quantile(took, 0.5), quantile(whole, 0.5)
  return p
end

-- From when to when there was trouble, as Unix seconds.
local function times_of(pieces, width, from)
  local first, last
  for _, piece in ipairs(pieces) do
    if piece.trouble then
      first = first or from + piece.index * width
      last = from + (piece.index + 1) * width
    end
  end
  return first, last
end

--- Reads a log. What is wrong is told with the file's name and the line; lines that make no sense
--- are left out, unless they are more than the calls.
---@param path string
---@return table? facts { trouble = period or nil, quiet = period or nil, from =, to = Unix seconds,
--- calls =, skipped = lines that were no calls, damage = what is to be said of lines that make no
--- sense, or nil }, string? message, boolean? unreadable it is no
--- line that is wrong: the file cannot be read
function log.read(path)
  local reader, message = lines.open(path)
  if not reader then return nil, message, true end
  local calls, skipped = read_calls(reader)
  reader:close()
  local fault = calls and reader:mostly_damaged(#calls) or not calls and skipped
  if fault then return nil, fault end
  if #calls == 0 then return nil, path .. ": no call stands in it" end
  local pieces, width, from = cut(calls)
  judge(pieces)
  share_out(pieces, width)
  local first, last = times_of(pieces, width, from)
  return { trouble = sum(pieces, true), quiet = sum(pieces, false), from = first, to = last,
    calls = #calls, skipped = skipped, damage = reader:say_damage() }
end

-- }========================================================================

return log
