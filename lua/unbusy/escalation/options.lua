--- The option `escalate`: which answers are weak, and who is asked in place of whom.
local pools = require "unbusy.pools"

local options = {}

--- Every option of `escalate`.
options.schema = {
  from = { type = "string", default = "edge", doc = "the pool whose answers are judged" },
  to = { type = "string", default = "centre", doc = "the pool that is asked in place of it" },
  cut = { type = "boolean", default = true,
    doc = "weak: cut for its length, where the request has not asked for so few tokens" },
  short = { type = "whole", default = 1, min = 0, max = 1e6, unit = "characters",
    doc = "weak: a text of fewer, blanks at its ends apart; tool calls are never too short" },
  refusals = { type = "boolean|list", default = true, max = 1000, each = { type = "string" },
    doc = "weak: it refuses, or says that it does not know, in one of eleven languages; a list: "
      .. "phrases of your own besides" },
  json = { type = "boolean", default = true,
    doc = "weak: no JSON, where the request asks for it, or in a tool call's arguments" },
  logprob = { type = "number", min = -1000, max = 0,
    doc = "weak: its tokens' mean log-probability is below, where the answer says it" },
  most = { type = "number", default = 0.2, min = 0, max = 1,
    doc = "share of the answers judged in a minute for which somebody else is asked" },
  floor = { type = "whole", default = 10, min = 0, max = 1e6, unit = "calls",
    doc = "for so many in a minute in any case" },
  hold = { type = "boolean", default = false,
    doc = "streams too: an answer of `from` is held back until it is whole and judged" },
}

local MOST_BYTES = 200 -- of a phrase: no more of an answer is looked at

local function phrase_fault(list)
  for i, phrase in ipairs(list) do
    if not phrase:find "%S" or #phrase > MOST_BYTES then
      return ("escalate.refusals[%d]: 1 to %d bytes expected"):format(i, MOST_BYTES)
    end
  end
end

--- What is wrong with checked options, among these pools; nil when nothing is.
---@param o table
---@param known table see `unbusy.pools`
---@return string?
function options.fault(o, known)
  for _, name in ipairs { "from", "to" } do
    local message = pools.fault(known, o[name])
    if message then return ("escalate.%s: %s"):format(name, message) end
  end
  if o.from == o.to then return "escalate: from and to: two pools expected" end
  return type(o.refusals) == "table" and phrase_fault(o.refusals) or nil
end

return options
